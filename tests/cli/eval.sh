#!/bin/bash
# vise eval: a text, rows of ids, a reference, a goal, and what is on which stream.
set -u
. tests/cli/cli.bash

text=examples/text/test.txt
"$VISE" quant "$MODEL" -o "$folder/q" --scheme int4-g32 --otherwise int8-channel -q || say FAIL "cannot make a model"
check "a text" 0 "perplexity" "*" eval "$MODEL" --text $text --samples 4
check "JSON alone on stdout" 0 '"accuracy": {' "" eval "$MODEL" --text $text --samples 4 --json -q
check "a reference" 0 "of tokens have the same first choice" "" eval "$folder/q" --text $text --samples 4 --reference "$MODEL" -q
check "the same model is its own equal" 0 "x1.0000" "" eval "$MODEL" --text $text --samples 4 --reference "$MODEL" -q --max-perplexity-ratio 1
check "a goal that is not met" 1 "NOT MET  max_perplexity_ratio" "goal not met" eval "$folder/q" --text $text --samples 4 --reference "$MODEL" -q --max-perplexity-ratio 0.5
echo '[[1, 2, 3, 4], [5, 6, 7, 8]]' >"$folder/ids.json"
check "rows of ids" 0 "ids.json, 6 tokens, windows of 4" "" eval "$MODEL" --ids "$folder/ids.json" -q
check "logits" 0 "*" "" eval "$MODEL" --ids "$folder/ids.json" --save-logits "$folder/l.safetensors" -q
check "their shape" 0 "2 x 4 x 512" "" inspect "$folder/l.safetensors"
mkdir "$folder/bare"
cp "$MODEL"/config.json "$MODEL"/model.safetensors "$folder/bare"
echo '{"input_ids": [1, 2, 3, 4, 5, 6, 7, 8]}' >"$folder/ids.jsonl"
check "lines of ids without a tokenizer" 0 "7 tokens, windows of 8" "" eval "$folder/bare" --text "$folder/ids.jsonl" --length 8 -q
check "text without a tokenizer" 2 "" "tokenizer.json" eval "$folder/bare" --text $text -q
check "windows longer than the text" 2 "" "examples/text/test.txt" eval "$MODEL" --text $text --length 1000000
check "fewer windows than asked" 0 "warnings" "warning" eval "$MODEL" --text $text --length 500 --skip 90 --samples 50 --progress none
"$VISE" eval "$MODEL" --text $text --samples 8 --json -q >"$folder/two" --threads 2
"$VISE" eval "$MODEL" --text $text --samples 8 --json -q >"$folder/one" --threads 1
expect "one and two threads agree to the last digit" cmp "$folder/one" "$folder/two"
finish
