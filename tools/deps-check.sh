#!/bin/bash
# Checks every #include "folder/..." against deps.allow: a folder includes itself and what its row names, nothing else.
set -u
cd "$(dirname "$0")/.." || exit 2

status=0
while IFS= read -r row; do
    row=${row%%#*}
    [[ $row == *:* ]] || continue
    folder=${row%%:*}
    allowed=" $folder ${row#*:} "
    [ -d "$folder" ] || continue
    while IFS=: read -r file line text; do
        included=${text#*\"}
        included=${included%%\"*}
        if [[ $included != */* ]]; then
            echo "$file:$line: include \"$included\" by its path from the root: \"$folder/$included\""
            status=1
        elif [[ $allowed != *" ${included%%/*} "* ]]; then
            echo "$file:$line: $folder may not include \"$included\" (deps.allow grants it:${row#*:})"
            status=1
        fi
    done < <(grep -rnE --include='*.[ch]' --include='*.cu' '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' "$folder")
done < deps.allow
[ $status -eq 0 ] && echo "deps-check: ok"
exit $status
