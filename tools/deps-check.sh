#!/bin/bash
# Checks every #include "folder/..." against deps.allow: a folder includes itself and what its row names, nothing else.
set -u
cd "$(dirname "$0")/.." || exit 2

status=0 read_includes=0
while IFS= read -r row; do
    row=${row%%#*}
    [[ $row == *:* ]] || continue
    folder=${row%%:*}
    allowed=" $folder ${row#*:} "
    [ -d "$folder" ] || continue
    includes=$(grep -rnE --include='*.[ch]' --include='*.cu' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$folder")
    [ -n "$includes" ] || continue
    while IFS=: read -r file line text; do
        read_includes=$((read_includes + 1))
        included=${text#*\"}
        included=${included%%\"*}
        if [[ $included != */* ]]; then
            echo "$file:$line: include \"$included\" by its path from the root: \"$folder/$included\""
            status=1
        elif [[ $allowed != *" ${included%%/*} "* ]]; then
            echo "$file:$line: $folder may not include \"$included\" (deps.allow grants it:${row#*:})"
            status=1
        fi
    done <<<"$includes"
done < deps.allow
if [ $read_includes -eq 0 ]; then
    echo "deps-check: no #include was found; is this the right folder?"
    status=1
fi
[ $status -eq 0 ] && echo "deps-check: ok ($read_includes includes)"
exit $status
