#!/bin/bash
# What a model was quantized to stays what it is: codes go from layout to layout without loss, in every direction, and
# --dequantize makes floats of each layout, in each dtype, that compute the same logits.
set -u
. tests/cli/cli.bash
tools=${BUILD:-build/release}/tools
model=$folder/model
"$tools/make_model" "$model" --hidden 128 --ffn 256 --layers 1 --heads 4 --kv-heads 2 --dtype BF16
echo '[[1, 5, 9, 2, 30, 17, 4, 8, 11, 3, 20, 7]]' >"$folder/ids.json"
printf '{"input_ids": [1, 5, 9, 2, 30, 17, 4, 8]}\n{"input_ids": [1, 3, 3, 7, 21, 22, 23, 6]}\n' >"$folder/ids.jsonl"

# logits MODEL NAME: of its weights, to $folder/NAME.logits
logits() { "$VISE" eval "$1" --ids "$folder/ids.json" --weights-only --save-logits "$folder/$2.logits" -q >"$folder/out" 2>&1; }

# there FROM TO TEXT: $folder/from in layout FROM becomes layout TO, and FROM again
there() {
    check "$3: $1 to $2" 0 '*' '*' convert "$folder/from" -o "$folder/to" --layout "$2" -q --force
    logits "$folder/to" to
    expect "$3: $1 to $2, the same logits" cmp "$folder/from.logits" "$folder/to.logits"
    check "$3: $2 back to $1" 0 '*' '*' convert "$folder/to" -o "$folder/back" --layout "$1" -q --force
    expect "$3: $1 to $2 and back, the same bytes" cmp "$folder/from/model.safetensors" "$folder/back/model.safetensors"
}

for scheme in int4-g32 int4-g32-asym int3-channel; do
    layouts="gptq gptq-v2"
    case $scheme in int4*) layouts="$layouts awq" ;; esac
    for from in $layouts; do
        check "$scheme in $from" 0 '*' '*' quant "$model" -o "$folder/from" --scheme $scheme --layout "$from" -q --force
        logits "$folder/from" from
        for to in $layouts compressed-tensors; do
            [ "$from" = "$to" ] || there "$from" "$to" $scheme
        done
    done
done

# floats SCHEME LAYOUT: quantized, then floats again in each dtype
floats() {
    local out=$folder/from
    [ "$2" != gguf ] || out=$folder/from.gguf
    rm -rf "$folder/from" "$folder/from.gguf"
    check "$1 in $2" 0 '*' '*' quant "$model" -o "$out" --scheme "$1" --layout "$2" --calibration "$folder/ids.jsonl" --length 8 --samples 2 \
        --method rtn -q
    logits "$out" from
    for dtype in f32 f16 bf16; do
        check "$1 in $2 to $dtype" 0 '*' '*' convert "$out" -o "$folder/floats" --dequantize --dtype $dtype -q --force
        expect "$1 in $2 to $dtype: no configuration is left" test "$(grep -c quantization_config "$folder/floats/config.json")" = 0
        [ $dtype = f32 ] || continue
        logits "$folder/floats" floats
        expect "$1 in $2 to f32, the same logits" cmp "$folder/from.logits" "$folder/floats.logits"
    done
}
floats int4-g32-asym compressed-tensors
floats int8-channel+int8-token compressed-tensors
floats int8-channel+int8-tensor compressed-tensors
floats fp8-e4m3-channel+fp8-e4m3-token compressed-tensors
floats fp8-e4m3-channel compressed-tensors
floats nvfp4 compressed-tensors
floats mxfp4 compressed-tensors
floats mxfp8 compressed-tensors
floats int3-g32 gptq
floats int4-g32-asym gptq-v2
floats int4-g32-asym awq
floats nf4-b64-dq bitsandbytes
floats fp4 bitsandbytes
floats llm-int8 bitsandbytes
floats fp8-e4m3-128x128+fp8-e4m3-g128 fp8
floats iq4_nl gguf
floats q8_0 gguf
finish
