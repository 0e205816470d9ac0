#!/bin/bash
# Bad input: each kind has its own message and exit code, and nothing is written; odd but legal input works.
set -u
. tests/cli/cli.bash
tools=${BUILD:-build/release}/tools
out=$folder/out
text=examples/text/calib.txt
gptq=(--method gptq --calibration $text --samples 2 --length 64)

# bad TEXT EXIT MESSAGE ARGUMENTS...: fails so, and leaves nothing at or beside OUT
bad() {
    local text=$1 code=$2 message=$3
    shift 3
    check "$text" "$code" "" "$message" "$@" -q
    if [ -e "$out" ] || [ -e "$folder/.out.vise-partial" ]; then
        say FAIL "$text: something was written"
        rm -rf "$out" "$folder/.out.vise-partial"
    fi
}

# works TEXT ARGUMENTS...: -o OUT -q is added; the output is left at $out
works() {
    local text=$1
    shift
    rm -rf "$out"
    check "$text" 0 "*" "*" "$@" -o "$out" --progress none
}
drop() { rm -rf "$out"; }

# copy NAME: a writable copy of the model at $folder/NAME
copy() {
    rm -rf "${folder:?}/$1"
    mkdir "$folder/$1"
    cp "$MODEL"/* "$folder/$1"
    chmod u+w "$folder/$1"/*
}

# ---- safetensors ----

# file HEADER BYTES: one tensor file of that header and so many data bytes
file() {
    local length=${#1} i
    {
        for i in 0 8 16 24 32 40 48 56; do printf "\\x$(printf %x $((length >> i & 255)))"; done
        printf '%s' "$1"
        head -c "$2" /dev/zero
    } >"$folder/x.safetensors"
}
# st TEXT MESSAGE HEADER BYTES
st() {
    file "$3" "$4"
    bad "safetensors: $1" 3 "$2" convert "$folder/x.safetensors" -o "$out" --dtype bf16
}
st "no JSON" "x.safetensors" '{"a":' 0
st "a name twice" "twice" '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}' 8
st "unknown dtype" "F31" '{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}' 4
st "a shape that does not fit" "bytes" '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}' 4
st "a shape that overflows" "a" '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}' 4
st "an integer beyond 2^53" "a" '{"a":{"dtype":"F32","shape":[18014398509481985],"data_offsets":[0,4]}}' 4
st "a negative dimension" "a" '{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}' 4
st "a hole" "b" '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}}' 12
st "an overlap" "b" '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}' 6
st "bytes behind the data" "x.safetensors" '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' 8
st "a file cut short" "x.safetensors" '{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}' 2
: >"$folder/x.safetensors"
bad "safetensors: empty" 3 "x.safetensors" convert "$folder/x.safetensors" -o "$out" --dtype bf16
printf '\377\377\377\377\377\377\377\377{}' >"$folder/x.safetensors"
bad "safetensors: a header longer than the file" 3 "header" convert "$folder/x.safetensors" -o "$out" --dtype bf16
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n' >"$folder/x.safetensors"
bad "safetensors: an LFS pointer" 3 "LFS" convert "$folder/x.safetensors" -o "$out" --dtype bf16

# ---- folders and configurations ----

"$VISE" convert "$MODEL" -o "$folder/sharded" --max-shard-size 300KB --dtype f32 -q
mv "$folder/sharded/model-00002-of-"* "$folder/gone"
bad "missing shard" 3 "model-00002-of" convert "$folder/sharded" -o "$out" --dtype bf16
cp "$folder/gone" "$folder/sharded/$(cd "$folder/sharded" && grep -o 'model-00002-of[^"]*' model.safetensors.index.json | head -n 1)"
sed -i 's/"model.norm.weight"/"model.nrom.weight"/' "$folder/sharded/model.safetensors.index.json"
bad "an index naming a missing tensor" 3 "model.nrom.weight" convert "$folder/sharded" -o "$out" --dtype bf16
sed -i 's,"model-00001-of,"../model-00001-of,' "$folder/sharded/model.safetensors.index.json"
bad "an index naming a path outside" 3 "../model-00001-of" convert "$folder/sharded" -o "$out" --dtype bf16
mkdir "$folder/empty"
bad "an empty folder" 3 "$folder/empty" convert "$folder/empty" -o "$out" --dtype bf16

# config TEXT EXIT MESSAGE SED: an edited config.json, under an evaluation and a calibrated pass
config() {
    copy edited
    sed -i "$4" "$folder/edited/config.json"
    bad "config $1, calibrated" "$2" "$3" quant "$folder/edited" -o "$out" --scheme int4-g4 "${gptq[@]}"
}
config "without hidden_size" 3 "hidden_size" '/"hidden_size"/d'
config "without num_hidden_layers" 3 "num_hidden_layers" '/"num_hidden_layers"/d'
config "with a negative number" 3 "intermediate_size" 's/"intermediate_size": 172/"intermediate_size": -172/'
config "with a huge number" 3 "num_hidden_layers" 's/"num_hidden_layers": 5/"num_hidden_layers": 99999999999999999999/'
config "with a large number" 3 "num_hidden_layers" 's/"num_hidden_layers": 5/"num_hidden_layers": 2000000000/'
config "with a fraction" 3 "num_attention_heads" 's/"num_attention_heads": 8/"num_attention_heads": 8.5/'
config "with a text for a number" 3 "hidden_size" 's/"hidden_size": 64/"hidden_size": "64"/'
config "with heads that do not divide" 3 "num_key_value_heads" 's/"num_key_value_heads": 4/"num_key_value_heads": 3/'
config "with zero layers" 3 "num_hidden_layers" 's/"num_hidden_layers": 5/"num_hidden_layers": 0/'
config "at odds with the shapes" 3 "shape" 's/"intermediate_size": 172/"intermediate_size": 176/'
config "at odds with the layers" 3 "model.layers.5" 's/"num_hidden_layers": 5/"num_hidden_layers": 6/'
config "that is no JSON" 3 "config.json" 's/^{/[/'
config "of an activation that is not known" 5 "hidden_act" 's/"hidden_act": "silu"/"hidden_act": "swish9"/'
copy plain
rm "$folder/plain/config.json"
bad "no config.json, calibrated" 5 "config.json" quant "$folder/plain" -o "$out" --scheme int4-g4 "${gptq[@]}"

copy unknown
sed -i 's/"model_type": "llama"/"model_type": "lambda"/; s/LlamaForCausalLM/LambdaForCausalLM/' "$folder/unknown/config.json"
bad "unknown architecture, gptq" 5 "lambda" quant "$folder/unknown" -o "$out" --scheme int4-g4 "${gptq[@]}"
bad "unknown architecture, wanda" 5 "lambda" prune "$folder/unknown" -o "$out" --method wanda --pattern 2:4 --calibration $text
check "unknown architecture, eval" 5 "" "lambda" eval "$folder/unknown" --text $text
works "unknown architecture, rtn" quant "$folder/unknown" --scheme int4-g4 --include 'model.layers.*_proj'
works "unknown architecture, magnitude" prune "$folder/unknown" --method magnitude --pattern 2:4 --include 'model.layers.*_proj'
works "unknown architecture, cast" convert "$folder/unknown" --dtype bf16
drop

# ---- values ----

small=(--hidden 64 --ffn 128 --layers 2 --heads 4 --kv-heads 2 --tied)
down=model.layers.1.mlp.down_proj.weight
for value in nan inf -inf; do
    "$tools/make_model" "$folder/odd" "${small[@]}" --put "$down:3:7=$value"
    bad "$value, rtn" 3 "$down" quant "$folder/odd" -o "$out" --scheme int4-g32
    bad "$value, rtn per tensor" 3 "$down" quant "$folder/odd" -o "$out" --scheme int8-tensor
    bad "$value, magnitude" 3 "$down" prune "$folder/odd" -o "$out" --method magnitude --sparsity 0.5
    bad "$value, gptq" 3 "$down" quant "$folder/odd" -o "$out" --scheme int4-g32 "${gptq[@]}"
    bad "$value, cast" 3 "$down" convert "$folder/odd" -o "$out" --dtype f16
    check "$value, eval" 3 "" "$down" eval "$folder/odd" --text $text --samples 1
done
"$tools/make_model" "$folder/odd" "${small[@]}" --put "$down:3:7=1e6"
bad "a value beyond f16" 2 "f16" convert "$folder/odd" -o "$out" --dtype f16
"$tools/make_model" "$folder/odd" "${small[@]}" --dtype F32 --put "model.layers.0.mlp.down_proj.weight:3:*=3e38"
bad "activations that overflow" 3 "block 0" quant "$folder/odd" -o "$out" --scheme int4-g32 "${gptq[@]}"
"$tools/make_model" "$folder/zero" "${small[@]}" --put "$down:*:*=0" --put "model.layers.0.self_attn.q_proj.weight:*:*=0"
for scheme in int2-g32 int3-g32-asym int4-g32 int4-g32-asym int5-channel int6-tensor int7-tensor-asym int8-channel int8-channel-asym \
    int8-channel+int8-token; do
    works "an all-zero tensor, rtn $scheme" quant "$folder/zero" --scheme $scheme
    expect "it stays zero under $scheme" "$tools/check_pattern" "$out" like "$folder/zero"
    works "an all-zero tensor, rtn $scheme with mse" quant "$folder/zero" --scheme $scheme --clip mse
    works "an all-zero tensor, gptq $scheme" quant "$folder/zero" --scheme $scheme "${gptq[@]}"
done
works "an all-zero tensor, magnitude" prune "$folder/zero" --method magnitude --pattern 2:4
works "an all-zero tensor, wanda" prune "$folder/zero" --method wanda --sparsity 0.5 --calibration $text --samples 2 --length 64
works "an all-zero tensor, packed" convert "$folder/zero" --pack
check "an all-zero tensor, eval" 0 "perplexity" "*" eval "$out" --text $text --samples 2 --length 64
"$tools/make_model" "$folder/dead" "${small[@]}" --put "model.layers.0.input_layernorm.weight:0:5=0"
works "a dead input column, gptq" quant "$folder/dead" --scheme int4-g32 "${gptq[@]}"
works "a dead input column, wanda" prune "$folder/dead" --method wanda --pattern 2:4 --calibration $text --samples 2 --length 64
"$tools/make_model" "$folder/dead" "${small[@]}" --put "model.layers.0.input_layernorm.weight:*:*=0"
works "a dead input, gptq" quant "$folder/dead" --scheme int4-g32 "${gptq[@]}"
works "a dead input, wanda" prune "$folder/dead" --method wanda --sparsity 0.5 --calibration $text --samples 2 --length 64

drop

# ---- text ----

head -c 100 $text >"$folder/short.txt"
: >"$folder/empty.txt"
quant=(quant "$MODEL" -o "$out" --scheme int4-g4 --method gptq)
bad "text shorter than one window" 2 "short.txt" "${quant[@]}" --calibration "$folder/short.txt" --length 128
bad "empty text" 2 "empty.txt" "${quant[@]}" --calibration "$folder/empty.txt" --length 128
bad "no such text" 3 "none.txt" "${quant[@]}" --calibration "$folder/none.txt"
# A table of positions ends; rotary positions do not, and a warning says that the model was not made for them.
gpt2=../shared/models/gpt2-slm4096
if [ -d $gpt2 ]; then
    bad "windows longer than the table of positions" 2 "128" prune $gpt2 -o "$out" --method wanda --sparsity 0.5 \
        --calibration $text --length 129
else
    say SKIP "windows longer than the table of positions: no $gpt2"
fi
bad "all windows skipped" 2 "calib.txt" "${quant[@]}" --calibration $text --skip 100000 --length 128
bad "calibration missing, gptq" 2 "--calibration" "${quant[@]}"
bad "calibration missing, wanda" 2 "--calibration" prune "$MODEL" -o "$out" --method wanda --sparsity 0.5
echo '{"txet": "once"}' >"$folder/bad.jsonl"
bad "a line without text" 3 "line 1" "${quant[@]}" --calibration "$folder/bad.jsonl"
echo '{"input_ids": [1, 2, 3, 512]}' >"$folder/bad.jsonl"
bad "an id beyond the vocabulary" 3 "511" "${quant[@]}" --calibration "$folder/bad.jsonl" --length 3
{ cat $text; printf 'caf\351 \377\376'; } >"$folder/latin.txt"
works "text that is not UTF-8 is read with a warning" quant "$MODEL" --scheme int4-g4 --method gptq --calibration "$folder/latin.txt" --length 128
expect "the warning" grep -q "UTF-8" "$folder/stderr"
drop
copy mute
rm "$folder/mute/tokenizer.json"
bad "tokenizer missing" 2 "tokenizer.json" quant "$folder/mute" -o "$out" --scheme int4-g4 "${gptq[@]}"
copy mute
echo '{"model": {"type": "WordLevel", "vocab": {}}}' >"$folder/mute/tokenizer.json"
bad "a tokenizer of another kind" 5 "WordLevel" quant "$folder/mute" -o "$out" --scheme int4-g4 "${gptq[@]}"

# ---- options that the model cannot meet ----

bad "a group that does not divide" 2 "model.layers.0.mlp.down_proj" quant "$MODEL" -o "$out" --scheme int4-g32
works "with --otherwise" quant "$MODEL" --scheme int4-g32 --otherwise int8-channel
expect "it is listed" grep -q '"model.layers.0.mlp.down_proj' "$out/report.json"
expect "as a fallback" grep -q '"fallbacks"' "$out/report.json"
drop
bad "--otherwise does not divide either" 2 "int4-g128" quant "$MODEL" -o "$out" --scheme int4-g32 --otherwise int4-g128
bad "a pattern that does not divide" 2 "model.layers.0.mlp.down_proj" prune "$MODEL" -o "$out" --method magnitude --pattern 4:8
bad "a pattern that keeps more than there is" 2 "5:4" prune "$MODEL" -o "$out" --method magnitude --pattern 5:4
bad "a layout that holds other schemes" 5 "layout fp8 holds" quant "$MODEL" -o "$out" --scheme int4-g4 --layout fp8
bad "neither" 2 "--sparsity" prune "$MODEL" -o "$out" --method magnitude
bad "a selector that matches nothing" 2 "model.layer.*" quant "$MODEL" -o "$out" --scheme int8 --include 'model.layer.*'
bad "everything excluded" 2 "exclude" quant "$MODEL" -o "$out" --scheme int8 --exclude 'model.layers.*'
bad "a misspelt scheme" 2 "did you mean int4?" quant "$MODEL" -o "$out" --scheme itn4-g128
bad "a misspelt granularity" 2 "channel" quant "$MODEL" -o "$out" --scheme int8-chanel
bad "a scheme that nothing loads" 5 "no runtime loads weights in fp8-e5m2; use fp8-e4m3" quant "$MODEL" -o "$out" --scheme fp8-e5m2
bad "a scale that is calibrated" 2 "give --calibration" quant "$MODEL" -o "$out" --scheme fp8-e4m3+fp8-e4m3-tensor
bad "inputs that do not go with the weights" 5 "int8-token" quant "$MODEL" -o "$out" --scheme int8+fp8-e4m3-g128
bad "a layout that is not written" 5 "gptq" quant "$MODEL" -o "$out" --scheme int4-g4 --layout gptq
bad "a layout that cannot hold it" 5 "safetensors" quant "$MODEL" -o "$out" --scheme int4-g4 --layout safetensors
bad "a layout of other kinds names those that hold it" 5 "not nf4-b64; use layout bitsandbytes, or exclude it" quant "$MODEL" -o "$out" --scheme nf4 --otherwise float --layout gptq
bad "GGUF's types or another layout" 5 "not int4-g4; use layout compressed-tensors or awq, or exclude it" quant "$MODEL" -o "$out" --scheme int4-g4 --layout gguf
bad "a type of GGUF's elsewhere" 5 "not q8_0; use layout gguf, or exclude it" quant "$MODEL" -o "$out" --scheme q8_0 --otherwise float --layout awq
bad "a misspelt layout" 2 "compressed-tensors" quant "$MODEL" -o "$out" --scheme int4-g4 --layout compressed-tensor
bad "a device that is not there" 5 "cuda" quant "$MODEL" -o "$out" --scheme int8 --device cuda:9
"$VISE" quant "$MODEL" -o "$folder/q" --scheme int8 -q
bad "quantizing what is quantized" 2 "--allow-requantize" quant "$folder/q" -o "$out" --scheme int4-g4
works "with --allow-requantize" quant "$folder/q" --scheme int4-g4 --allow-requantize
drop
"$VISE" quant "$MODEL" -o "$folder/q.gguf" --scheme q8_0 --otherwise float -q
bad "blocks of GGUF again" 2 "already quantized as q8_0" quant "$folder/q.gguf" -o "$out" --scheme q4_0 --otherwise float --layout gguf
works "unpacking what is not packed" convert "$MODEL" --unpack
drop
bad "a bound that is too small" 4 "smallest that would do" quant "$MODEL" -o "$out" --scheme int8 --memory 10MB

# ---- the place for the output ----

mkdir "$out"
touch "$out/mine"
check "the output exists" 2 "" "exists" quant "$MODEL" -o "$out" --scheme int8 -q
expect "it is as it was" test -e "$out/mine"
check "--force replaces it" 0 "*" "*" quant "$MODEL" -o "$out" --scheme int8 -q --force
expect "it is replaced" test ! -e "$out/mine" -a -s "$out/model.safetensors"
drop
copy self
check "OUT is the input" 2 "" "input" quant "$folder/self" -o "$folder/self" --scheme int8 -q --force
check "OUT is the input by another path" 2 "" "input" quant "$folder/self" -o "$folder/../$(basename "$folder")/self/" --scheme int8 -q --force
check "OUT is a file of the input" 2 "" "input" quant "$folder/self" -o "$folder/self/model.safetensors" --scheme int8 -q --force
check "OUT holds the input" 2 "" "holds the input" quant "$folder/self" -o "$folder" --scheme int8 -q --force
mkdir "$folder/links"
ln -s ../self/model.safetensors ../self/config.json "$folder/links"
check "OUT holds what the input links to" 2 "" "holds the input" quant "$folder/links" -o "$folder/self" --scheme int8 -q --force
cp $text "$folder/calib.txt"
check "OUT is the text" 2 "" "calib.txt" quant "$folder/self" -o "$folder/calib.txt" --scheme int8 -q --force --calibration "$folder/calib.txt"
check "the report over the input" 2 "" "input" quant "$folder/self" -o "$out" --scheme int8 -q --report "$folder/self/model.safetensors"
check "logits over the model" 2 "" "input" eval "$folder/self" --text $text --save-logits "$folder/self/model.safetensors"
check "logits over a folder" 2 "" "is a folder" eval "$folder/self" --text $text --save-logits "$folder/self"
expect "the input is as it was" diff -r "$MODEL" "$folder/self"
bad "a folder that is not there" 2 "none" quant "$MODEL" -o "$folder/none/out" --scheme int8
bad "no name" 2 "empty" quant "$MODEL" -o "" --scheme int8
touch "$folder/afile"
bad "a file as a folder" 2 "afile" quant "$MODEL" -o "$folder/afile/out" --scheme int8

if [ "$(id -u)" -ne 0 ]; then
    mkdir -m 555 "$folder/locked"
    bad "an unwritable folder" 2 "locked" quant "$MODEL" -o "$folder/locked/out" --scheme int8
elif [ -w /proc ] && ! mkdir /proc/vise-test 2>/dev/null; then
    check "an unwritable folder" 2 "" "/proc" quant "$MODEL" -o /proc/vise-test --scheme int8 -q
fi

mkdir "$folder/disk"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=600k tmpfs "$folder/disk" 2>/dev/null; then
    trap 'umount "$folder/disk"; rm -rf "$folder"' EXIT
    check "disk full, told before the work" 4 "" "bytes" convert "$MODEL" -o "$folder/disk/out" --dtype f32 -q
    expect "nothing is left" test -z "$(ls -A "$folder/disk")"
    # How small packed shards become is known when they are there: it is tried, and can be continued.
    packed=(convert "$MODEL" -o "$folder/disk/out" --dtype bf16 --pack --max-shard-size 100KB -q)
    head -c 300000 /dev/zero >"$folder/disk/ballast"
    check "disk full, packed" 4 "" "bytes" "${packed[@]}"
    expect "no half output" test ! -e "$folder/disk/out"
    rm "$folder/disk/ballast"
    check "with room it is resumed" 0 "" "" "${packed[@]}" --resume
else
    echo "SKIP $test_name: disk full needs root, to mount a small tmpfs"
fi

# ---- goals ----

cat >"$folder/goals.json" <<END
{"input": "$PWD/$MODEL", "evaluate": {"text": "$PWD/examples/text/test.txt", "samples": 2, "length": 64},
 "passes": [{"pass": "quant", "scheme": "int2-g4"}], "goals": {"max_perplexity_ratio": 1.0, "max_bytes": "1GB"}}
END
check "a goal that is missed" 1 "*" "max_perplexity_ratio" run "$folder/goals.json" -o "$out" -q
expect "the output is written all the same" test -s "$out/model.safetensors"
expect "and the report says so" grep -q '"met": false' "$out/report.json"
finish
