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
    for option in -o,\ --output --layout --leave-out --pack --max-shard-size --force --resume --report --dry-run; do
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

# The completion, asked as bash asks it.
check "completion" 0 "complete -F _vise vise" "" help --completion
cp "$folder/stdout" "$folder/completion"
complete_of() { # WORDS...: what bash offers for the last of them
    bash -c '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _vise "$1" 2>/dev/null; echo " ${COMPREPLY[*]} "' - "$folder/completion" "$@"
}
offers() { # TEXT WANTED WORDS...: the words are offered, or nothing that begins with "not "
    local text=$1 wanted=$2 word offered
    shift 2
    offered=$(complete_of "$@")
    for word in $wanted; do
        [[ $offered == *" $word "* ]] || { say FAIL "completion of $text lacks $word: $offered"; return; }
    done
    say ok "completion of $text"
}
offers "commands" "help inspect plan run convert quant prune eval size report" vise ""
offers "a begun command" "quant" vise qu
offers "a choice" "auto bar lines json none" vise eval MODEL --progress ""
offers "a choice behind =" "json" vise eval MODEL --progress = j
offers "the passes of plan" "convert quant prune" vise plan ""
offers "a pass in a plan" "--scheme --device-map --json" vise plan quant MODEL --
offers "help" "--man --completion quant" vise help ""
offers "a link" "--scheme --calibration" vise-quant MODEL --
offers "files" "Makefile" vise run Make
[ "$(complete_of vise eval MODEL --threads "")" = "  " ] && say ok "completion of a number offers nothing" || say FAIL "completion of a number"
for command in inspect plan run convert quant prune eval size report; do
    for option in $("$VISE" help $command | grep -oE '^ +(-[a-z], )?--[a-z-]+' | grep -oE -e '--[a-z-]+'); do
        [[ $(complete_of vise $command $option) == *" $option "* ]] || say FAIL "completion of $command lacks $option"
    done
done
check "unknown command" 2 "" "unknown command 'qaunt'; did you mean 'quant'?" qaunt
check "unknown command, nothing near" 2 "" "unknown command 'frobnicate'; \`vise --help\` lists" frobnicate
check "help of an unknown command" 2 "" "unknown command 'evla'" help evla
check "an option before the command" 2 "" "unknown option --quiet; a command comes first" --quiet eval
check "distill is known but not there" 5 "" "distill is not in this version" distill MODEL
check "--width is known but not there" 5 "" "--width is not in this version" prune "$MODEL" --width=8
for word in distill; do
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
