#!/bin/bash
# --kv-scheme: static scales of the key-value cache are calibrated, stored, kept, left out where a layout has no place for
# them, and count in evaluation; what cannot be is refused.
set -u
. tests/cli/cli.bash
tools=${BUILD:-build/release}/tools
text=(--calibration examples/text/calib.txt --samples 4 --length 64)
out=$folder/out
cache() { check "$1" "$2" "$3" "$4" quant "${5:-$MODEL}" -o "$out" --progress none --force "${@:6}"; }

# has N FILE: so many scales of keys and values
has() { [ "$(grep -aoE 'self_attn\.[kv]_scale"' "$2" | wc -l)" -eq "$1" ]; }
kl() { "$VISE" eval "$1" --reference "$MODEL" --text examples/text/test.txt --samples 2 --length 64 --json "${@:2}" 2>/dev/null |
    grep -A1 '"kl"' | grep -oE '[0-9][0-9.e-]*'; }

cache "the cache alone" 0 "kv cache     int8-head, 320 B a token" "" "" --kv-scheme int8-head "${text[@]}"
expect "keeps weights" sh -c "'$VISE' inspect '$out' | grep -q 'q_proj .* f32 '"
expect "and has a scale for keys and for values of each layer" has 10 "$out/model.safetensors"
check "inspect tells" 0 "layout compressed-tensors, key-value cache int8-head" "" inspect "$out"
expect "costs accuracy" awk "BEGIN { exit !($(kl "$out") > 1e-5) }"
expect "but not with --weights-only" awk "BEGIN { exit $(kl "$out" --weights-only) != 0 }"
expect "the report tells" grep -q '"kv_cache": "int8-head"' "$out/report.json"
mv "$out" "$folder/alone"
check "generate" 0 "*" "*" generate "$folder/alone" --prompt "Once" --tokens 4 --progress none
check "convert keeps them" 0 "" "" convert "$folder/alone" -o "$folder/again" --layout compressed-tensors -q
expect "all of them" has 10 "$folder/again/model.safetensors"
expect "and configuration" cmp "$folder/alone/config.json" "$folder/again/config.json"
check "into safetensors they have no place" 0 "" "are left out" convert "$folder/alone" -o "$folder/plain" --layout safetensors -q
expect "which gives the model back" cmp "$MODEL/model.safetensors" "$folder/plain/model.safetensors"
check "--dequantize means that" 0 "" "" convert "$folder/alone" -o "$folder/float" --dequantize -q
expect "and gives the model back" cmp "$MODEL/model.safetensors" "$folder/float/model.safetensors"
expect "with nothing in its configuration" sh -c "! grep -q quantization_config '$folder/float/config.json'"
check "GGUF" 0 "*" "are left out" convert "$folder/alone" -o "$folder/out.gguf" --progress none
cache "with weights" 0 "kv cache     fp8-e4m3-tensor" "*" "" --scheme int4-g4 --kv-scheme fp8-e4m3-tensor "${text[@]}"
expect "has scales" has 10 "$out/model.safetensors"
check "plan" 0 "kv cache  int8-tensor, scales calibrated" "" plan quant "$MODEL" --kv-scheme int8-tensor "${text[@]}"
"$VISE" quant "$MODEL" -o "$folder/quiet" --scheme int4-g4 -q 2>"$folder/log"
check "weights may be quantized already" 0 "kv cache" "*" quant "$folder/quiet" -o "$folder/both" --kv-scheme int8-tensor "${text[@]}"

cache "without text" 2 "" "--kv-scheme needs calibration text" "" --kv-scheme int8-head
cache "without anything" 2 "" "give --scheme, such as" "" "${text[@]}"
cache "no such scheme" 2 "" "unknown value 'fp8'; it is one of none, fp8-e4m3-tensor" "" --kv-scheme fp8 "${text[@]}"
cache "twice" 2 "" "has its scales, which are kept" "$folder/alone" --kv-scheme int8-head "${text[@]}"
for moves in "--smooth 0.5" "--rotate r1+r2" "--method awq"; do
    # shellcheck disable=SC2086
    cache "what moves values, $moves" 2 "" "would not fit" "$folder/alone" --scheme int4-g4 $moves "${text[@]}"
done
cache "an encoder" 5 "" "keeps no keys and values" tests/data/tiny-classifier --kv-scheme int8-head "${text[@]}" --length 8
for layout in gguf gptq awq safetensors bitsandbytes fp8; do
    cache "layout $layout" 5 "" "layout $layout holds no scales of a key-value cache; those that do: compressed-tensors" "" \
        --kv-scheme int8-head --layout $layout "${text[@]}"
done
cp -r "$MODEL" "$folder/strange" && chmod -R u+w "$folder/strange"
sed -i 's/"model_type": *"llama"/"model_type": "strange"/' "$folder/strange/config.json"
cache "an unknown family" 5 "" "strange" "$folder/strange" --kv-scheme int8-head "${text[@]}"

"$tools/make_model" "$folder/wide" --hidden 256 --ffn 512 --layers 1
wide=(plan quant "$folder/wide" --scheme int4-g128 --method rtn "${text[@]}" --target)
check "vllm takes fp8" 0 "*" "" "${wide[@]}" vllm --kv-scheme fp8-e4m3-tensor
check "vllm and heads" 0 "*" "may not load in vllm" "${wide[@]}" vllm --kv-scheme fp8-e4m3-head
check "vllm and int8" 5 "" "use --kv-scheme fp8-e4m3-tensor" "${wide[@]}" vllm --kv-scheme int8-tensor
check "transformers takes all" 0 "*" "" "${wide[@]}" transformers --kv-scheme int8-head
finish
