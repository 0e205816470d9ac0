# What the command-line tests share; sourced from the repository's root. Prints "ok ..." and "FAIL ..." lines; end a script
# with `finish`.
VISE=${VISE:-build/vise}
MODEL=examples/stories260K
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT
failed=0
test_name=$(basename "$0" .sh)

say() { # say ok|FAIL|SKIP TEXT
    echo "$1 $test_name: $2"
    [ "$1" != FAIL ] || failed=1
}

# check TEXT EXIT STDOUT STDERR ARGUMENTS...: runs vise; both streams must hold the given text ("" asks for an empty one,
# "*" for nothing in particular).
check() {
    local text=$1 wanted=$2 out=$3 err=$4 code what=""
    shift 4
    "$VISE" "$@" >"$folder/stdout" 2>"$folder/stderr" </dev/null
    code=$?
    [ $code -eq "$wanted" ] || what="exit $code, not $wanted"
    holds "$folder/stdout" "$out" || what="$what; stdout lacks: $out"
    holds "$folder/stderr" "$err" || what="$what; stderr lacks: $err"
    if [ -z "$what" ]; then
        say ok "$text"
    else
        say FAIL "$text: $what"
        head -n 5 "$folder/stdout" "$folder/stderr"
    fi
}

# holds FILE TEXT
holds() {
    case $2 in
    '*') return 0 ;;
    '') [ ! -s "$1" ] ;;
    *) grep -qF -e "$2" "$1" ;;
    esac
}

# expect TEXT COMMAND...: the command must succeed
expect() {
    local text=$1
    shift
    if "$@" >"$folder/expect" 2>&1; then say ok "$text"; else
        say FAIL "$text: $*"
        head -n 5 "$folder/expect"
    fi
}

# figures <JSON of eval: without what differs from run to run
figures() { sed '/^  "memory": {/,/^  }/d'; }

finish() { exit $failed; }
