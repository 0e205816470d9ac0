#!/bin/bash
# --target RUNTIME: every rule of the table refuses, or warns of, what breaks it, and nothing else; the message names
# weight, rule and remedy.
set -u
. tests/cli/cli.bash
tools=${BUILD:-build/release}/tools
"$tools/make_model" "$folder/wide" --hidden 256 --ffn 512 --layers 1
"$tools/make_model" "$folder/odd" --hidden 96 --ffn 192 --layers 1
wide=(plan quant "$folder/wide")
odd=(plan quant "$folder/odd")

# loads RUNTIME ARGUMENTS...: planned without a word
loads() {
    local runtime=$1
    shift
    check "$runtime loads $*" 0 "*" "" "${wide[@]}" --target "$runtime" "$@"
}
# refused TEXT RUNTIME PLAN...: exit 5 with the text
refused() {
    local text=$1 runtime=$2
    shift 2
    check "$runtime: $text" 5 "" "$text" "$@" --target "$runtime"
}

for scheme in int4-g128 int8-channel int8-channel+int8-token fp8-e4m3-channel+fp8-e4m3-token fp8-e4m3-128x128+fp8-e4m3-g128 nf4; do
    loads transformers --scheme $scheme
    loads vllm --scheme $scheme
done
loads llama.cpp --scheme q4_k
loads transformers --scheme int4-g128-asym --layout gptq-v2
loads vllm --scheme int4-g128-asym
loads vllm --scheme int4-g128 --set '*_proj=int8-g128'

refused "llama.cpp does not load layout compressed-tensors; use --layout gguf" llama.cpp "${wide[@]}" --scheme int4-g128
refused "does not load packed files; leave out --pack" vllm "${wide[@]}" --scheme int4-g128 --pack
refused "does not load packed files" transformers "${wide[@]}" --scheme int4-g128 --pack
refused "q_proj as int4-g128-asym would not load in transformers" transformers "${wide[@]}" --scheme int4-g128 --set '*.q_proj=int4-g128-asym'
refused "wrong shape while loading; use a symmetric scheme" transformers "${wide[@]}" --scheme int4-g128-asym
refused "asymmetric weights have 4 or 8 bits" vllm "${wide[@]}" --scheme int3-g128-asym
refused "need one scheme (model.layers.0" vllm "${wide[@]}" --scheme int4-g128 --set '*.k_proj=int8-channel'
refused "need one scheme (model.layers.0" vllm "${wide[@]}" --scheme int4-g128 --set '*.up_proj=float'
refused "by 64 (96)" vllm "${odd[@]}" --scheme int4-g32
refused "columns by 128 (96)" vllm "${odd[@]}" --scheme fp8-e4m3-128x128+fp8-e4m3-g128
check "quantized inputs take any rows" 0 "*" "" "${odd[@]}" --target vllm --scheme int8-channel+int8-token
check "few bits: older versions" 0 "*" "versions before 2026 load 4 and 8 bits alone" "${wide[@]}" --target vllm --scheme int3-g128
check "cut blocks: GPUs alone" 0 "*" "on GPUs alone" "${odd[@]}" --target transformers --scheme nf4
# Without a runtime the same is a warning, once for each rule and runtime that loads the layout.
warned() {
    local text=$1
    shift
    check "no runtime: $text" 0 "*" "$text" "$@"
    expect "told once" test "$(grep -c "$text" "$folder/stderr")" = 1
}
warned "would not load in vllm: q, k and v" "${wide[@]}" --scheme int4-g128 --set '*.k_proj=int8-channel'
warned "would not load in transformers: compressed-tensors gives packed zero points" "${wide[@]}" --scheme int4-g128-asym
warned "would not load in vllm: asymmetric weights have 4 or 8 bits" "${wide[@]}" --scheme int3-g128-asym
warned "by 64 (96)" "${odd[@]}" --scheme int4-g32
warned "columns by 128 (96)" "${odd[@]}" --scheme fp8-e4m3-128x128+fp8-e4m3-g128
check "no runtime, nothing to tell" 0 "*" "" "${wide[@]}" --scheme int4-g128
check "of what was quantized before nothing is said" 0 "" "" quant "$folder/odd" -o "$folder/was" --scheme int4-g32 --target transformers -q
check "when it is only converted" 0 "*" "" plan convert "$folder/was"
check "an unknown runtime" 2 "" "it is one of transformers, vllm, llama.cpp" "${wide[@]}" --target ollama --scheme int4-g128

"$VISE" convert "$folder/wide" -o "$folder/extra" --max-shard-size 400KB -q
header='{"mtp.fc.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}}'
{
    printf "\\x$(printf %x ${#header})\0\0\0\0\0\0\0%s" "$header"
    printf '\0\0\200\077%.0s' 1 2 3 4
} >"$folder/extra/more.safetensors"
sed -i 's/"weight_map": *{/"weight_map": {"mtp.fc.weight": "more.safetensors",/' "$folder/extra/model.safetensors.index.json"
check "weights beside the family's" 0 "*" "mtp.fc.weight: not among the family's weights; vllm may lose" plan quant "$folder/extra" --target vllm --scheme int4-g128
check "without a runtime, too" 0 "*" "mtp.fc.weight: not among the family's weights; runtimes may lose" plan quant "$folder/extra" --scheme int4-g128
cp -r "$folder/wide" "$folder/strange"
sed -i 's/"model_type": *"llama"/"model_type": "strange"/' "$folder/strange/config.json"
check "a family that is not known, without a runtime" 0 "*" "" plan quant "$folder/strange" --scheme int4-g128
check "a family that is not known" 0 "*" "whether vllm finds its names is not checked" plan quant "$folder/strange" --target vllm --scheme int4-g128

mixtral=../shared/models/mixtral-baby105-upcycled
if [ -d $mixtral ]; then
    experts=(plan quant $mixtral)
    loads_experts() { check "transformers loads experts: $*" 0 "*" "" "${experts[@]}" --target transformers "$@"; }
    loads_experts --scheme int4-g32
    loads_experts --scheme int8-channel --set '*.experts.*=int4-g32'
    loads_experts --scheme fp8-e4m3-channel+fp8-e4m3-token
    loads_experts --scheme nf4 --exclude '*.experts.*'
    refused "decodes the experts of all blocks by one scheme" transformers "${experts[@]}" --scheme int4-g32 --set '*.w2=int8-channel'
    refused "(model.layers.1.block_sparse_moe.experts.0.w1 is a float)" transformers "${experts[@]}" --scheme int4-g32 --exclude 'model.layers.1.*.experts.*'
    refused "experts.0.w1 as float would not load" transformers "${experts[@]}" --scheme int4-g32 --exclude '*.experts.*'
    refused "of experts it decodes packed integers" transformers "${experts[@]}" --scheme int8-channel+int8-token
    refused "bitsandbytes does not know experts" transformers "${experts[@]}" --scheme nf4
    refused "experts are symmetric" vllm "${experts[@]}" --scheme int4-g32-asym
    warned "by one scheme, and none is left out" "${experts[@]}" --scheme int4-g32 --set '*.w2=int8-channel'
    warned "bitsandbytes does not know experts" "${experts[@]}" --scheme nf4
else
    say SKIP "experts: no $mixtral"
fi

budget=(--calibration examples/text/calib.txt --samples 4 --length 32 --target-bits 4.5)
refused "leave out --split-fused" vllm "${wide[@]}" "${budget[@]}" --split-fused
refused "asymmetric weights have 4 or 8 bits" vllm "${wide[@]}" "${budget[@]}" --scheme int4-asym
check "a budget within what loads" 0 "*" "" "${wide[@]}" --target vllm "${budget[@]}" --candidates int4-g128,int8-channel
check "a run is held to the rules as its plan" 5 "" "need one scheme" quant "$folder/wide" -o "$folder/out" --scheme int4-g128 --set '*.k_proj=int8-channel' --target vllm
expect "and leaves nothing" test ! -e "$folder/out"
finish
