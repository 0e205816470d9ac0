#!/bin/bash
# Runs test programs and scripts one after another and ends with one line: N passed, N failed, N skipped.
#
#   tests/run.sh PROGRAM-OR-SCRIPT...
#
# cmocka programs count by test ("[  PASSED  ] 12 test(s)."), scripts and replays by the lines "ok ...", "FAIL ...",
# "SKIP ..." that they print; a program that fails without saying where counts as one failure. Exits non-zero if
# anything failed or nothing was run. Output of cmocka programs is shown from their closing lines on, in full on failure.
set -u

passed=0 failed=0 skipped=0
log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT

sum() { awk "$1 { n += \$${2} } END { print n + 0 }" "$log"; }

for program in "$@"; do
    name=${program##*/}
    short=${name%.sh}
    printf -- '-- %s\n' "$short"
    case $program in
    *.sh) bash "$program" 2>&1 | tee "$log"; code=${PIPESTATUS[0]} ;;
    */replay_*) "$program" "tests/fuzz/corpus/${short#replay_}" 2>&1 | tee "$log"; code=${PIPESTATUS[0]} ;;
    *) "$program" >"$log" 2>&1; code=$? ;;
    esac
    if grep -q '^\[=====' "$log"; then
        p=$(sum '/^\[  PASSED  \] [0-9]+ test/' 4)
        f=$(sum '/^\[  FAILED  \] [0-9]+ test/' 4)
        s=$(sum '/^\[  SKIPPED \] [0-9]+ test/' 4)
        if [ "$code" -ne 0 ] || [ "$f" -ne 0 ]; then
            cat "$log"
        else
            grep -E '^SKIP|^\[  SKIPPED \]' "$log"
            grep -E '^\[(=====|  PASSED|  FAILED)' "$log" | grep -v 'Running'
        fi
    else
        [[ $program == *.sh || $program == */replay_* ]] || cat "$log"
        p=$(grep -cE '^ok\b' "$log")
        f=$(grep -cE '^FAIL\b' "$log")
        s=$(grep -cE '^SKIP\b' "$log")
        if [ "$code" -eq 0 ] && [ $((p + f + s)) -eq 0 ]; then
            p=1
        fi
    fi
    if [ "$code" -ne 0 ] && [ "$f" -eq 0 ]; then
        echo "FAIL $short: exit status $code"
        f=1
    elif [ "$code" -eq 0 ] && [ "$f" -ne 0 ]; then
        echo "FAIL $short: reports failures but exits 0"
    fi
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
