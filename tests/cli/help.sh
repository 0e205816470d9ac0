#!/bin/bash
# Help texts, versions, and what is typed wrong before any work.
set -u
. tests/cli/cli.bash

check "vise alone is wrong usage" 2 "" "Usage: vise COMMAND"
check "--help" 0 "Usage: vise COMMAND" "" --help
check "-h" 0 "Exit codes: 0 done" "" -h
check "help" 0 "Usage: vise COMMAND" "" help
check "--version" 0 "vise 0." "" --version
for command in inspect plan run convert quant prune eval size report; do
    check "help $command" 0 "vise $command: " "" help $command
    check "$command --help" 0 "Usage: vise $command" "" $command --help
    check "$command -h beside nonsense" 0 "-h, --help" "" $command --nonsense -h
    grep -q "  $command " <("$VISE" --help) || say FAIL "vise --help names $command"
    for option in --device --threads --memory --seed --quiet --progress; do
        grep -q -- " $option" <("$VISE" help $command) || say FAIL "help $command lacks $option"
    done
done
for command in run convert quant prune; do
    for option in -o,\ --output --layout --pack --max-shard-size --force --resume --report --dry-run; do
        grep -q -- " $option" <("$VISE" help $command) || say FAIL "help $command lacks $option"
    done
done
for command in convert quant prune; do
    for option in --include --exclude; do
        grep -q -- " $option" <("$VISE" help $command) || say FAIL "help $command lacks $option"
    done
done
wide=$(for c in inspect plan run convert quant prune eval size report; do "$VISE" help $c; done | awk 'length > 100')
[ -z "$wide" ] && say ok "no line of help is wider than 100 columns" || say FAIL "wide lines: $wide"

check "man page" 0 ".TH VISE 1" "" help --man
for command in inspect plan run convert quant prune eval size report; do
    grep -qx ".SS $command" "$folder/stdout" || say FAIL "the man page lacks $command"
done
check "unknown command" 2 "" "unknown command 'qaunt'; did you mean 'quant'?" qaunt
check "unknown command, nothing near" 2 "" "unknown command 'frobnicate'; \`vise --help\` lists" frobnicate
check "help of an unknown command" 2 "" "unknown command 'evla'" help evla
check "an option before the command" 2 "" "unknown option --quiet; a command comes first" --quiet eval
check "distill is known but not there" 5 "" "distill is not in this version" distill MODEL
check "--kv-scheme is known but not there" 5 "" "--kv-scheme is not in this version" quant "$MODEL" --kv-scheme=int8
for word in distill kv-scheme; do
    if { "$VISE" --help; "$VISE" help eval; "$VISE" help quant; } | grep -qw -e "$word"; then
        say FAIL "help names $word, which is not there"
    fi
done

# The links that `make install` makes.
ln -s "$PWD/$VISE" "$folder/vise-quant"
VISE=$folder/vise-quant
check "vise-quant is vise quant" 0 "Usage: vise quant MODEL" "" --help
check "vise-quant without a model" 2 "" "vise quant: MODEL is missing"
finish
