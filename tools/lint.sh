#!/bin/bash
# House rules that a compiler does not know. Comments and string literals are blanked before names are looked for.
#
#   everywhere         no sprintf strcpy strcat atoi gets strtok system; lines of 120 columns, files of 1000 lines at most
#   library and cli    allocation and stdio files only through core (core/mem.h, core/file.h); no assert
#   library            no exit, no abort
set -u
cd "$(dirname "$0")/.." || exit 2

library=(core tensor compute formats text model eval pipeline convert quant prune distill)
mapfile -t files < <(find "${library[@]}" cli tests bench -name '*.[ch]' -o -name '*.cu' 2>/dev/null | sort)

awk '
function report(what) { printf "%s:%d: %s\n", FILENAME, FNR, what; bad = 1 }
function has(name) { return code ~ ("(^|[^A-Za-z0-9_.>])" name "[ \t]*\\(") }
function ban(list, why,    names, n, i) {
    n = split(list, names, " ")
    for (i = 1; i <= n; i++) if (has(names[i])) report(names[i] "(): " why)
}
# The line without string and character literals and without comments. Remembers an open comment in `in_comment`.
function strip(line,    out, i, c, two, quote) {
    out = ""
    quote = ""
    for (i = 1; i <= length(line); i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (in_comment) { if (two == "*/") { in_comment = 0; i++ } }
        else if (quote != "") { if (c == "\\") i++; else if (c == quote) quote = "" }
        else if (two == "/*") { in_comment = 1; i++; out = out " " }
        else if (two == "//") break
        else if (c == "\"" || c == "\047") quote = c
        else out = out c
    }
    return out
}
FNR == 1 {
    in_comment = 0
    room = FILENAME; sub(/\/.*/, "", room)
    product = room != "tests" && room != "bench"
}
{
    if (length($0) > 120) report("line longer than 120 columns")
    if ($0 ~ /[ \t]$/) report("space at the end of the line")
    if ($0 ~ /\t/) report("tab")
    if (FNR == 1001) report("file longer than 1000 lines: split it")
    code = strip($0)
    ban("sprintf vsprintf strcpy strcat atoi atol atof gets strtok system", "banned; see CONTRIBUTING.md")
    if (product && room != "core") {
        ban("malloc calloc realloc free aligned_alloc posix_memalign strdup strndup asprintf", "allocate through core/mem.h")
        ban("fopen freopen fdopen", "open files through core/file.h")
    }
    if (product) ban("assert", "errors are values: return a status")
    if (product && room != "cli") ban("exit _exit abort quick_exit", "the library never ends the process")
    if (code ~ /TODO|FIXME|XXX/) report("unfinished: leave out what is not built")
}
END { exit bad }
' "${files[@]}" || exit 1
echo "lint: ok (${#files[@]} files)"
