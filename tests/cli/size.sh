#!/bin/bash
# vise size: baseline, growth, totals, differences, and their three formats.
set -u
. tests/cli/cli.bash

"$VISE" quant "$MODEL" -o "$folder/small" --scheme int8 -q || say FAIL "cannot make a smaller model"
check "update" 0 "" "" size update "$folder/small" --baseline "$folder/b.json"
expect "the baseline's total" grep -q "\"total\": $(stat -c %s "$folder/small/model.safetensors")" "$folder/b.json"
check "check of the same" 0 "int8-channel" "" size check "$folder/small" --baseline "$folder/b.json"
check "growth" 1 "gone" "too large: grew by" size check "$MODEL" --baseline "$folder/b.json"
check "growth that is allowed" 0 "f32" "" size check "$MODEL" --baseline "$folder/b.json" --max-growth 400%
check "growth in bytes" 0 "f32" "" size check "$MODEL" --baseline "$folder/b.json" --max-growth 1MB
check "growth in too few bytes" 1 "f32" "too large" size check "$MODEL" --baseline "$folder/b.json" --max-growth 1kB
check "total" 1 "total" "100 kB allowed" size check "$folder/small" --baseline "$folder/b.json" --max-total 100kB
check "Markdown" 1 "**Too large:** grew by" "*" size check "$MODEL" --baseline "$folder/b.json" --format md
check "JSON" 1 '"met": false' "*" size check "$MODEL" --baseline "$folder/b.json" --format json
check "diff of models" 0 "-6" "" size diff "$MODEL" "$folder/small"
check "diff with a baseline" 0 "=" "" size diff "$folder/b.json" "$folder/small"
check "what is gone" 0 "gone" "" size diff "$folder/small" "$MODEL"
check "bad growth" 2 "" "--max-growth: '-2%' is no share" size check "$MODEL" --baseline "$folder/b.json" --max-growth=-2%
check "no verb" 2 "" "check, update or diff is missing" size
check "unknown verb" 2 "" "did you mean check" size chekc "$MODEL"
check "no baseline" 2 "" "--baseline FILE is missing" size check "$MODEL"
check "a baseline that is not there" 3 "" "none.json" size check "$MODEL" --baseline "$folder/none.json"
echo '{"schema": 1, "total": -1}' >"$folder/bad.json"
check "a broken baseline" 3 "" "total" size check "$MODEL" --baseline "$folder/bad.json"
echo '{"schema": 1, "total": 5, "files": {"a": "b"}}' >"$folder/bad.json"
check "a baseline with a text for a size" 3 "" "bad.json" size check "$MODEL" --baseline "$folder/bad.json"
finish
