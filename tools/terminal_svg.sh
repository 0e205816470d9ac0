#!/usr/bin/env bash
# Draws text from standard input as a terminal window, in SVG: the picture of the README.
#   build/vise run examples/demo.json -o build/demo --force 2>/dev/null | tools/terminal_svg.sh 'make demo' >docs/demo.svg
set -euo pipefail
title=${1:-vise}
awk -v title="$title" '
    function escape(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); gsub(/>/, "\\&gt;", s); gsub(/ /, "\\&#160;", s); return s }
    { line[NR] = $0; if (length($0) > widest) widest = length($0) }
    END {
        width = widest * 8.4 + 40; height = NR * 19 + 64
        printf "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %d %d\">\n", width, height, width, height
        printf "<rect width=\"100%%\" height=\"100%%\" rx=\"8\" fill=\"#1d2129\"/>\n"
        for (i = 0; i < 3; i++)
            printf "<circle cx=\"%d\" cy=\"18\" r=\"6\" fill=\"%s\"/>\n", 20 + 20 * i, substr("#e0645c#e3b341#57a64a", 1 + 7 * i, 7)
        printf "<text x=\"90\" y=\"23\" fill=\"#9aa4b2\" font-family=\"monospace\" font-size=\"13\">%s</text>\n", escape(title)
        printf "<g fill=\"#d7dde6\" font-family=\"ui-monospace,Menlo,Consolas,monospace\" font-size=\"14\">\n"
        for (i = 1; i <= NR; i++)
            printf "<text x=\"20\" y=\"%d\"%s>%s</text>\n", 36 + 19 * i, i == 1 ? " fill=\"#ffffff\" font-weight=\"bold\"" : " fill=\"#d7dde6\"", escape(line[i])
        print "</g>\n</svg>"
    }'
