#!/bin/bash
# --target-bits and --target-size: what they choose fits, loses less than one scheme for all of the same size, is the same
# for any number of threads and under a memory bound; what cannot be met is refused before work, with what can.
set -u
. tests/cli/cli.bash
tools=${BUILD:-build/release}/tools
calibration=(--calibration examples/text/calib.txt --samples 8 --length 64)
"$tools/make_model" "$folder/in" --hidden 128 --ffn 256 --layers 2
"$VISE" convert $MODEL -o "$folder/small" --dtype bf16 -q
small=$folder/small # int3-g4 takes 7 bits a weight there
groups=int2-g4,int3-g4,int4-g4,int5-g4

check "too few bits: the least that can be is told" 2 "" "take 2.9" plan quant $MODEL --target-bits 1.5 "${calibration[@]}"
check "what is told can be reached" 0 "2.91 bits a weight" "" plan quant $MODEL --target-bits 2.91 "${calibration[@]}"
check "too small: the least bytes are told" 2 "" "229976 bytes" plan quant $MODEL --target-size 10KB "${calibration[@]}"
check "what is told can be reached in bytes" 0 "target    files of 230 kB" "" plan quant $MODEL --target-size 229976 "${calibration[@]}"
check "more than there is to spend" 0 "*" "unused: every weight gets its largest candidate" plan quant $MODEL --target-bits 20 "${calibration[@]}"
check "two targets" 2 "" "exclude each other" plan quant $MODEL --target-bits 4 --target-size 1MB "${calibration[@]}"
check "a target without text" 2 "" "needs calibration text" plan quant $MODEL --target-bits 5
check "candidates without a target" 2 "" "goes with --target-bits" plan quant $MODEL --scheme int4-g4 --candidates int4-g4
check "an unknown candidate" 2 "" '"foo" is no scheme' plan quant $MODEL --target-bits 4 --candidates int3-g4,foo "${calibration[@]}"
check "a mixture" 2 "" "fixes what every weight becomes" plan quant $MODEL --target-bits 4 --scheme q4_k_m "${calibration[@]}"
check "a layout of one scheme" 5 "" "a target mixes schemes, and layout awq has one" plan quant "$folder/in" --target-bits 4.3 --layout awq "${calibration[@]}"
check "candidates that the layout lacks" 5 "" "layouts gptq and gptq-v2 hold" plan quant "$folder/in" --target-bits 4.3 --layout gptq --candidates int5-g32,int4-g32 "${calibration[@]}"
check "nothing left to choose" 2 "" "all are given one with --set" plan quant $MODEL --target-bits 4 --set '*=int4-g4' "${calibration[@]}"
check "a plan in JSON" 0 '"choices": 20' "" plan quant $MODEL --target-bits 5 "${calibration[@]}" --json
check "fused weights let go" 0 '"choices": 35' "" plan quant $MODEL --target-bits 5 "${calibration[@]}" --split-fused --json

# made NAME ARGUMENTS...: quantizes into $folder/NAME
made() {
    local name=$1
    shift
    "$VISE" quant "$@" "${calibration[@]}" -o "$folder/$name" -q >"$folder/log" 2>&1 || say FAIL "$name: $(head -n 1 "$folder/log")"
}
# number NAME KEY: of its report
number() { grep -o "\"$2\": [0-9.e+-]*" "$folder/$1/report.json" | head -n 1 | cut -d ' ' -f 2; }
# divergence NAME MODEL: mean KL from the model
divergence() {
    "$VISE" eval "$folder/$1" --text examples/text/test.txt --samples 8 --length 128 --reference "$2" --json -q | grep -A 1 '"kl"' |
        grep -o '"mean": [0-9.e+-]*' | cut -d ' ' -f 2
}
less() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a > 0 && a <= b) }'; }

made bits "$small" --target-bits 7 --candidates $groups
expect "bits are kept to: $(number bits reached) of 7" less "$(number bits reached)" 7
expect "and used" less 6.95 "$(number bits reached)"
made even "$small" --scheme int3-g4
expect "no worse than one scheme of the same bits: KL $(divergence bits "$small"), int3-g4 $(divergence even "$small")" \
    less "$(divergence bits "$small")" "$(divergence even "$small")"
for member in q_proj:k_proj:v_proj gate_proj:up_proj; do
    for layer in 0 1 2 3 4; do
        grep -A 8 -E "layers.$layer.[a-z_]*.(${member//:/|})" "$folder/bits/report.json" | grep '"scheme"' | sort -u | wc -l
    done >"$folder/schemes"
    expect "$member get one scheme in a layer" test "$(sort -u "$folder/schemes")" = 1
done
made one "$small" --target-bits 7 --candidates $groups --threads 1
expect "one thread, the same bytes" cmp "$folder/bits/model.safetensors" "$folder/one/model.safetensors"

size=$(stat -c %s "$folder/even/model.safetensors")
made size "$small" --target-size "$size" --candidates $groups
expect "a size is kept to" test "$(stat -c %s "$folder/size/model.safetensors")" -le "$size"
made weights "$small" --target-bits 7.5 --candidates $groups --method rtn --set 'model.layers.0.*=int5-g4'
expect "rounding to nearest, some given: $(number weights reached)" less "$(number weights reached)" 7.5
made blocks "$folder/in" --target-bits 5 --scheme q4_0 --candidates q4_0,q5_0,q8_0,q4_1 --method rtn
expect "GGUF: $(number blocks reached)" less "$(number blocks reached)" 5

least=$("$VISE" quant "$folder/in" --target-bits 3.3 "${calibration[@]}" -o "$folder/bound" -q --memory 9MB 2>&1 | grep -o 'do is [0-9]*MB' | grep -o '[0-9]*')
expect "too little memory: the least is told" test -n "$least"
if [ "${CONF:-release}" != asan ] && [ -n "$least" ]; then
    made bound "$folder/in" --target-bits 3.3 --memory "$(awk -v m="$least" 'BEGIN { printf "%dMB", m + 1 }')"
    made free "$folder/in" --target-bits 3.3
    expect "a memory bound, the same bytes" cmp "$folder/bound/model.safetensors" "$folder/free/model.safetensors"
    expect "and it holds" less "$(number bound peak_rss)" "$(number bound budget)"
fi

echo "{\"input\": \"$small\", \"calibration\": {\"text\": \"$PWD/examples/text/calib.txt\", \"samples\": 8, \"length\": 64}, \"evaluate\": {\"text\": \"$PWD/examples/text/test.txt\", \"samples\": 4, \"length\": 64}, \"passes\": [{\"pass\": \"quant\", \"target_bits\": 7, \"candidates\": \"$groups\"}]}" >"$folder/r.json"
check "a recipe tells what was expected and what came" 0 "of 7 bits a weight; expected KL" "*" run "$folder/r.json" -o "$folder/recipe"
expect "and both are of one order" awk -v a="$(number recipe expected_kl)" -v b="$(grep -A 1 '"kl"' "$folder/recipe/report.json" | grep -o '"mean": [0-9.e+-]*' | cut -d ' ' -f 2)" \
    'BEGIN { exit !(a > 0 && b > 0 && a < 4 * b && b < 4 * a) }'
expect "the same bytes as by options" cmp "$folder/bits/model.safetensors" "$folder/recipe/model.safetensors"
finish
