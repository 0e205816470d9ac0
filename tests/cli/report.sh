#!/bin/bash
# vise report: every format of a real run's report, and what is no report.
set -u
. tests/cli/cli.bash

"$VISE" quant "$MODEL" -o "$folder/out" --scheme int8 -q || say FAIL "cannot make a report"
report=$folder/out/report.json
check "text" 0 "smaller" "" report "$report"
check "of a folder" 0 "smaller" "" report "$folder/out"
check "Markdown" 0 "| size | 1.04 MB |" "" report "$report" --format md
check "HTML" 0 "<h2>Error by weight</h2>" "" report "$report" --format html
expect "the page loads nothing" sh -c "! grep -qE '<script|<link|src=|https?:' '$folder/stdout'"
check "JUnit" 0 '<testsuites tests="0" failures="0">' "" report "$report" --format junit
expect "report.md is the same" sh -c "'$VISE' report '$report' --format md | cmp - '$folder/out/report.md'"
check "unknown format" 2 "" "unknown value 'htlm'; did you mean 'html'?" report "$report" --format htlm
check "no report" 3 "" '"schema" is missing' report "$MODEL/config.json"
check "not there" 3 "" "none.json" report "$folder/none.json"
echo '{' >"$folder/broken.json"
check "no JSON" 3 "" "broken.json" report "$folder/broken.json"
for key in schema tool input output passes weights size memory goals warnings; do
    grep -q "^  \"$key\":" "$report" || say FAIL "report.json lacks $key"
done
expect "no key is null" sh -c "! grep -q null '$report'"
finish
