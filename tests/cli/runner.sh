#!/bin/bash
# The runner itself: whatever way a test fails, the run must end red and say so. A runner that cannot fail proves nothing.
set -u
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0

# expect NAME EXIT LAST-LINE: runs the programs in $folder/NAME*
expect() {
    local output code
    output=$(tests/run.sh "$folder/$1"* 2>&1)
    code=$?
    if [ "$code" -eq "$2" ] && [ "$(tail -n 1 <<<"$output")" = "$3" ]; then
        echo "ok runner: $1"
    else
        echo "FAIL runner: $1: exit $code, last line: $(tail -n 1 <<<"$output"); expected exit $2, $3"
        failed=1
    fi
}

# script NAME LINE...: a test program made of shell lines
script() {
    printf '%s\n' '#!/bin/bash' "${@:2}" >"$folder/$1"
    chmod +x "$folder/$1"
}

script good.sh 'echo "ok one"' 'echo "ok two"' 'echo "SKIP three: no network"'
script bad_line.sh 'echo "ok one"' 'echo "FAIL two: 1 is not 2"' 'exit 1'
script bad_exit.sh 'echo "ok one"' 'exit 3'
script bad_silent.sh 'echo "FAIL one: forgotten exit status"'
script cmocka_good 'echo "[==========] 4 test(s) run."' 'echo "[  PASSED  ] 3 test(s)."' \
    'echo "[  SKIPPED ] 1 test(s), listed below:"' 'echo "[  SKIPPED ] test_x"'
script cmocka_bad 'echo "[==========] 2 test(s) run."' 'echo "[  PASSED  ] 1 test(s)."' \
    'echo "[  FAILED  ] 1 test(s), listed below:"' 'exit 1'
script cmocka_crash 'echo "[==========] Running 2 test(s)."' 'kill -SEGV $$'
script plain 'exit 0'
script two_a.sh 'echo "ok one"'
script two_b.sh 'echo "FAIL one: the second program"' 'exit 1'

expect good 0 "2 passed, 0 failed, 1 skipped"
expect bad_line 1 "1 passed, 1 failed, 0 skipped"
expect bad_exit 1 "1 passed, 1 failed, 0 skipped"
expect bad_silent 1 "0 passed, 1 failed, 0 skipped"
expect cmocka_good 0 "3 passed, 0 failed, 1 skipped"
expect cmocka_bad 1 "1 passed, 1 failed, 0 skipped"
expect cmocka_crash 1 "0 passed, 1 failed, 0 skipped"
expect plain 0 "1 passed, 0 failed, 0 skipped"
expect two 1 "1 passed, 1 failed, 0 skipped"
expect missing 1 "0 passed, 1 failed, 0 skipped"
exit $failed
