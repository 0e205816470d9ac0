#!/bin/bash
# --rotate: the model computes what it computed, in any layout, for any number of threads, under a memory bound, resumed.
set -u
. tests/cli/cli.bash
text=examples/text/test.txt
calibration=(--calibration examples/text/calib.txt --samples 8 --length 128)

"$VISE" convert "$MODEL" -o "$folder/r" --rotate r1+r2 -q || say FAIL "convert --rotate"
"$VISE" eval "$folder/r" --reference "$MODEL" --text $text --length 128 --samples 4 --json -q >"$folder/json"
expect "rotated in f32: the divergence is nothing" awk -F '[:,]' '/"kl"/ { inside = 1 } inside && /"max"/ { exit !($2 < 1e-7) }' "$folder/json"
expect "a tied head has become a weight" grep -q '"tie_word_embeddings": *false' "$folder/r/config.json"
check "and is in the file" 0 "lm_head" "" inspect "$folder/r"
check "another seed gives other weights" 0 "" "*" convert "$MODEL" -o "$folder/s" --rotate r1+r2 --seed 7 -q
expect "other bytes" bash -c "! cmp -s $folder/r/model.safetensors $folder/s/model.safetensors"

"$VISE" quant "$MODEL" -o "$folder/one" --rotate r1 --scheme int4-g4 "${calibration[@]}" --threads 1 -q 2>"$folder/log" || say FAIL "gptq: $(head -n 1 "$folder/log")"
"$VISE" quant "$MODEL" -o "$folder/two" --rotate r1 --scheme int4-g4 "${calibration[@]}" --threads 3 -q 2>"$folder/log" || say FAIL "gptq: $(head -n 1 "$folder/log")"
expect "the same bytes for any number of threads" cmp "$folder/one/model.safetensors" "$folder/two/model.safetensors"
check "under a memory bound" 0 "" "*" quant "$MODEL" -o "$folder/bound" --rotate r1 --scheme int4-g4 "${calibration[@]}" --threads 2 --memory 150MB -q
expect "and the same bytes again" cmp "$folder/one/model.safetensors" "$folder/bound/model.safetensors"
check "packed" 0 "" "*" quant "$MODEL" -o "$folder/packed" --rotate r1 --scheme int4-g4 "${calibration[@]}" --pack -q
check "unpacked again" 0 "" "*" convert "$folder/packed" -o "$folder/unpacked" --unpack -q
expect "the same bytes as never packed" cmp "$folder/one/model.safetensors" "$folder/unpacked/model.safetensors"
check "as GGUF" 0 "" "*" convert "$MODEL" -o "$folder/r.gguf" --rotate r1+r2 -q
"$VISE" eval "$folder/r.gguf" --reference "$MODEL" --text $text --length 128 --samples 4 --json -q >"$folder/json" 2>"$folder/log"
expect "computes the same" awk -F '[:,]' '/"kl"/ { inside = 1 } inside && /"max"/ { exit !($2 < 1e-7) }' "$folder/json"

check "what is quantized is not rotated" 2 "" "start from the float model" convert "$folder/one" -o "$folder/x" --rotate r1
check "LayerNorm families are refused" 5 "" "its norms take the mean away" plan convert tests/data/tiny-classifier --rotate r1
check "an unknown rotation" 2 "" "--rotate: unknown value 'r3'" convert "$MODEL" -o "$folder/x" --rotate r3
expect "nothing was written" test ! -e "$folder/x"
echo "{\"input\": \"$PWD/$MODEL\", \"passes\": [{\"pass\": \"quant\", \"scheme\": \"int8\", \"rotate\": \"r1+r2\"}]}" >"$folder/r.json"
check "in a recipe" 0 "" "*" run "$folder/r.json" -o "$folder/recipe" -q
check "the plan counts the head's own bytes" 0 "lm_head" "" plan quant "$MODEL" --target transformers --scheme int8 --rotate r1
finish
