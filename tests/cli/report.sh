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

# What LLM.int8 would leave in 16 bits.
calibration=(--calibration examples/text/calib.txt --samples 4 --length 64)
check "outliers are counted" 0 " of 35 linears; the largest is " "*" \
    quant "$MODEL" -o "$folder/int8" --scheme llm-int8 "${calibration[@]}"
check "and each linear's is told" 0 "| linear | outlier columns | largest input |" "" report "$folder/int8" --format md
check "by a threshold of one's own" 0 "0 of 2780 input columns reach 1000, in 0 of 35 linears" "*" \
    quant "$MODEL" -o "$folder/int8" --scheme llm-int8 "${calibration[@]}" --outlier-threshold 1000 --force
check "not without text" 0 "outliers     not measured" "*" quant "$MODEL" -o "$folder/int8" --scheme llm-int8 --force
check "a threshold that none can reach" 2 "" "--outlier-threshold" \
    quant "$MODEL" -o "$folder/int8" --scheme llm-int8 --outlier-threshold 0 --force
finish
