#!/bin/bash
# GGUF both ways: what llama.cpp's converter writes, byte for byte; there and back; types and mixtures; files, folders, shards.
set -u
. tests/cli/cli.bash
shared=../shared

# There and back, without loss and through the rows' order of rotary pairs.
check "a folder becomes one GGUF file" 0 '*' '*' convert "$MODEL" -o "$folder/a.gguf" -q
check "which is read as a model of its family" 0 'layout gguf' '' inspect "$folder/a.gguf"
check "and becomes a folder again" 0 '*' '*' convert "$folder/a.gguf" -o "$folder/back" -q
expect "with the same weights" cmp "$MODEL/model.safetensors" "$folder/back/model.safetensors"
check "a GGUF file is carried over" 0 '*' '*' convert "$folder/a.gguf" -o "$folder/b.gguf" -q
check "its weights are the same" 0 '*' '*' convert "$folder/b.gguf" -o "$folder/again" -q
expect "bit for bit" cmp "$MODEL/model.safetensors" "$folder/again/model.safetensors"

if [ -d $shared/golden/gguf-converted ]; then
    check "llama-stories260K in f16" 0 '*' '*' convert $shared/models/llama-stories260K -o "$folder/f16.gguf" --dtype f16 -q
    expect "is llama.cpp's file, byte for byte" cmp "$folder/f16.gguf" $shared/golden/gguf-converted/llama-stories260K-f16.gguf
    check "BERT in f16" 0 '*' '*' convert $shared/models/bert-tiny-sst2-local -o "$folder/bert.gguf" --dtype f16 -q
    sum=$(sha256sum <"$folder/bert.gguf" | cut -d' ' -f1)
    expect "is the converter's file" test "$sum" = 63665c32d8c734208336c752963de226e4d211ccd9e4e4e2285d74bc3f74b79e
    check "GPT-2 with a tokenizer of characters" 0 '*' 'has no name for its way to cut words' convert $shared/models/gpt2-slm4096 -o "$folder/gpt2.gguf"
    check "Mixtral's experts are stacked" 0 '*' '*' convert $shared/models/mixtral-baby105-upcycled -o "$folder/mixtral.gguf" -q
    expect "into one tensor" grep -q 'blk.0.ffn_down_exps.weight' "$folder/mixtral.gguf"
else
    echo "skip $test_name: no $shared/golden/gguf-converted"
fi

# A text model among others: its part of config.json, its names; what sees images is told of and left out.
# with_tensor FILE NAME OUT: a safetensors file with one more, tiny tensor
with_tensor() {
    local n size header i
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    size=$(($(wc -c <"$1") - 8 - n))
    header=$(tail -c +9 "$1" | head -c "$n")
    header="{\"$2\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[$size,$((size + 4))]},${header#\{}"
    for i in 0 8 16 24 32 40 48 56; do printf "\\x$(printf %02x $((${#header} >> i & 255)))"; done >"$3"
    printf %s "$header" >>"$3"
    tail -c +$((9 + n)) "$1" >>"$3"
    printf '\0\0\0\0' >>"$3"
}
mkdir "$folder/images"
sed 's/"model_type": *"llama"/"model_type": "mistral"/; s/"rope_scaling": *null,*//' "$MODEL/config.json" >"$folder/text.json"
sed -i '1s/{/{"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 2, 3]},/' "$folder/text.json"
echo "{\"model_type\": \"mistral3\", \"architectures\": [\"Mistral3ForConditionalGeneration\"], \"text_config\": $(cat "$folder/text.json")}" >"$folder/images/config.json"
with_tensor "$MODEL/model.safetensors" vision_tower.probe "$folder/images/model.safetensors"
check "a text model among others" 0 '*' "1 tensors have no place in llama.cpp's mistral3 and are left out: vision_tower" convert "$folder/images" -o "$folder/images.gguf" -q
expect "has its own architecture" grep -qa 'mistral3.block_count' "$folder/images.gguf"
expect "and sections of its positions" grep -qa 'mistral3.rope.dimension_sections' "$folder/images.gguf"
expect "and the text's tensors alone" test "$(grep -oa 'blk[.][0-9]*[.][a-z_]*.weight' "$folder/images.gguf" | sort | sha256sum)" = "$(grep -oa 'blk[.][0-9]*[.][a-z_]*.weight' "$folder/a.gguf" | sort | sha256sum)"

# Tensors that the network is not made of and llama.cpp has no name for.
mkdir -p "$folder/with/m" "$folder/plain/m"
cp "$MODEL/config.json" "$folder/with/m"
cp "$MODEL/config.json" "$MODEL/model.safetensors" "$folder/plain/m"
layers=$(sed -n 's/.*"num_hidden_layers": *\([0-9]*\).*/\1/p' "$MODEL/config.json")
with_tensor "$MODEL/model.safetensors" model.mtp.0.fc.weight "$folder/one"
with_tensor "$folder/one" model.mtp.0.norm.weight "$folder/two"
with_tensor "$folder/two" "model.layers.$layers.mlp.up_proj.weight" "$folder/with/m/model.safetensors"
check "a block behind the last has no name" 5 '' "--leave-out 'model.layers.$layers.*'" convert "$folder/with/m" -o "$folder/mtp.gguf" --leave-out 'model.mtp*'
check "what predicts further tokens has none" 5 '' "--leave-out 'model.mtp.*'" convert "$folder/with/m" -o "$folder/mtp.gguf" --leave-out "model.layers.$layers.*"
check "they are left out" 0 '' 'lacks 2 tensors that --leave-out model.mtp.* names' convert "$folder/with/m" -o "$folder/mtp.gguf" --leave-out 'model.mtp.*' --leave-out "model.layers.$layers.*" -q
check "of a model without them" 0 '*' '*' convert "$folder/plain/m" -o "$folder/plain.gguf" -q
expect "it is the file" cmp "$folder/mtp.gguf" "$folder/plain.gguf"
check "the plan tells, too" 0 '*' 'lacks 2 tensors' plan quant "$folder/with/m" --scheme q4_k_m --leave-out 'model.mtp.*' --leave-out "model.layers.$layers.*"
check "what has a place stays" 2 '' 'names model.layers.0' convert "$folder/with/m" -o "$folder/mtp.gguf" --leave-out 'model.mtp.*' --leave-out 'model.layers.*' --force
check "a selector names something" 2 '' 'matches no module' convert "$folder/plain/m" -o "$folder/no.gguf" --leave-out 'model.mtp.*'
check "other layouts hold all" 2 '' 'layout safetensors' convert "$folder/with/m" -o "$folder/no" --leave-out 'model.mtp.*'

# Types and mixtures. Rows of 64 are no whole super blocks: the mixture falls back, a type is refused.
check "q8_0 goes to a GGUF file" 0 '*' '*' quant "$MODEL" -o "$folder/q8.gguf" --scheme q8_0 --include '*_proj' --otherwise float -q
check "which says so" 0 'q8_0' '' inspect "$folder/q8.gguf"
check "q4_k_m" 0 '*' '*' quant "$MODEL" -o "$folder/m.gguf" --scheme q4_k_m -q
check "falls back where rows are short" 0 'q5_0' '' inspect "$folder/m.gguf"
check "with the head in q8_0" 0 'q8_0' '' inspect "$folder/m.gguf"
check "q4_k does not hold rows of 64" 2 '' 'q4_k' quant "$MODEL" -o "$folder/no.gguf" --scheme q4_k
check "a quantized file is not quantized again" 2 '' 'allow-requantize' quant "$folder/q8.gguf" -o "$folder/no.gguf" --scheme q4_0 --include '*q_proj'
check "unless asked" 0 '*' '*' quant "$folder/q8.gguf" -o "$folder/q4.gguf" --scheme q4_0 --allow-requantize --exclude '*down_proj' -q
check "blocks become floats" 0 '*' '*' convert "$folder/q8.gguf" -o "$folder/floats" --dequantize -q
check "which load" 0 'layout safetensors' '' inspect "$folder/floats"

check "a mixture with the name of a type" 0 '*' '*' quant "$MODEL" -o "$folder/mix.gguf" --scheme q4_0-mix -q
expect "reaches the embedding" test "$(wc -c <"$folder/mix.gguf")" -lt "$(wc -c <"$folder/q4.gguf")"
check "q2_k_s wants importances" 0 '*' '*' quant "$MODEL" -o "$folder/s.gguf" --scheme q2_k_s -q # rows of 64 fall back

# Importance matrices: made, used, refused.
check "an importance matrix" 0 '*' '*' imatrix "$MODEL" --text examples/text/calib.txt --length 128 --samples 64 -o "$folder/im.gguf"
check "is not replaced" 2 '' 'exists' imatrix "$MODEL" --text examples/text/calib.txt -o "$folder/im.gguf"
check "unless asked" 0 '*' '*' imatrix "$MODEL" --text examples/text/calib.txt --length 128 --samples 64 -o "$folder/im2.gguf" --threads 1 -q
expect "for any number of threads the same" cmp "$folder/im.gguf" "$folder/im2.gguf"
check "weighs columns" 0 '*' '*' quant "$MODEL" -o "$folder/w.gguf" --scheme q4_0-mix --imatrix "$folder/im.gguf" -q
expect "and the codes are others" bash -c "! cmp -s '$folder/w.gguf' '$folder/mix.gguf'"
check "is no model" 2 '' 'importance matrix' inspect "$folder/im.gguf"
for key in file dataset entries_count chunks_count; do
    expect "and tells its $key" grep -qa "quantize.imatrix.$key" "$folder/w.gguf"
done
check "of a file that has them they are replaced" 0 '*' '*' quant "$folder/w.gguf" -o "$folder/w2.gguf" --scheme q4_0 --include '*q_proj' --imatrix "$folder/im2.gguf" --allow-requantize -q
expect "once" test "$(grep -oa "quantize.imatrix.file" "$folder/w2.gguf" | wc -l)" = 1
expect "by the newer" grep -qa "im2.gguf" "$folder/w2.gguf"
head -c 1000 "$folder/im.gguf" >"$folder/cut.gguf"
check "a plan reads it, too" 3 '' 'cut.gguf' plan quant "$MODEL" --layout gguf --scheme q4_0-mix --imatrix "$folder/cut.gguf"
check "a tokenizer whose file does not tell its merges is not guessed" 0 '*' 'no tokenizer.json is made: several of its tokens' convert "$folder/a.gguf" -o "$folder/untold" --quiet
expect "and not written" test ! -e "$folder/untold/tokenizer.json" -a -e "$folder/untold/config.json"
check "text needs one" 2 '' 'no tokenizer can be made of the metadata' eval "$folder/a.gguf" --text examples/text/test.txt
echo '{"input_ids": [1, 2, 3, 4, 5, 6, 7, 8]}' >"$folder/ids.jsonl"
check "ids do not" 0 '*' '*' eval "$folder/a.gguf" --text "$folder/ids.jsonl" --length 8
vocabulary=../shared/tokenizers/gpt2
if [ -d $vocabulary ]; then
    "${BUILD:-build/release}/tools/make_model" "$folder/words" --hidden 32 --ffn 64 --layers 1 --vocab 50257 --tied
    rm "$folder/words/tokenizer.json"
    sed -i 's/_token_id": *[0-9]*/_token_id": 50256/g' "$folder/words/config.json"
    cp $vocabulary/vocab.json $vocabulary/merges.txt "$folder/words"
    cat >"$folder/words/tokenizer_config.json" <<'END'
{"tokenizer_class": "GPT2Tokenizer", "eos_token": "<|endoftext|>", "chat_template": "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{{ eos_token }}\n{% endfor %}"}
END
    echo '{"messages": [{"role": "user", "content": "Who was there?"}, {"role": "assistant", "content": "A fox, and nobody else."}]}' >"$folder/chat.jsonl"
    check "a model with a tokenizer" 0 '*' '*' convert "$folder/words" -o "$folder/words.gguf" -q
    for model in words words.gguf; do
        check "text through $model" 0 '"perplexity"' '*' eval "$folder/$model" --text examples/text/test.txt --length 64 --samples 2 --json -q
        grep -o '"after": [0-9.]*' "$folder/stdout" | head -n 1 >"$folder/$model.ppl"
        check "an importance matrix of $model" 0 '*' '*' imatrix "$folder/$model" --text examples/text/calib.txt --length 64 --samples 2 -o "$folder/$model.im" -q
        check "messages through $model" 0 '"perplexity"' '*' eval "$folder/$model" --text "$folder/chat.jsonl" --length 16 --json -q
        grep -o '"after": [0-9.]*' "$folder/stdout" | head -n 1 >>"$folder/$model.ppl"
        check "text from $model" 0 '*' '*' generate "$folder/$model" --prompt 'Once upon' --tokens 4 --json -q
        grep -o '"prompt_ids": *[^]]*' "$folder/stdout" >"$folder/$model.ids"
    done
    expect "the file's tokenizer gives the same figures, through its chat template too" cmp "$folder/words.ppl" "$folder/words.gguf.ppl"
    expect "and the same ids" cmp "$folder/words.ids" "$folder/words.gguf.ids"
    check "calibration by it" 0 '*' '*' quant "$folder/words.gguf" -o "$folder/words-q" --scheme int4-g32 --calibration examples/text/calib.txt --length 64 --samples 2 -q
    expect "files of the tokenizer are written" test -e "$folder/words-q/tokenizer.json" -a -e "$folder/words-q/tokenizer_config.json"
    check "and read" 0 '*' '*' eval "$folder/words-q" --text examples/text/test.txt --length 64 --samples 2 -q
else
    say SKIP "tokenizers of GGUF files: no $vocabulary"
fi
check "not over the model" 2 '' '*' imatrix "$folder/a.gguf" --text examples/text/calib.txt -o "$folder/a.gguf" --force
check "text and place are needed" 2 '' '--text FILE' imatrix "$MODEL"
head -c 4000 "$folder/im.gguf" >"$folder/cut.gguf"
check "a cut matrix" 3 '' 'cut.gguf' quant "$MODEL" -o "$folder/no.gguf" --scheme q4_0-mix --imatrix "$folder/cut.gguf"
check "a text is no matrix" 3 '' 'no importance matrix' quant "$MODEL" -o "$folder/no.gguf" --scheme q4_0-mix --imatrix examples/text/calib.txt

# Error feedback into blocks.
text=(--calibration examples/text/calib.txt --samples 12 --length 128)
check "gptq into a mixture" 0 '*' '*' quant "$MODEL" -o "$folder/g.gguf" --scheme q4_0-mix --method gptq "${text[@]}" -q --threads 1
expect "chooses other codes" bash -c "! cmp -s '$folder/g.gguf' '$folder/w.gguf'"
check "with two threads" 0 '*' '*' quant "$MODEL" -o "$folder/g2.gguf" --scheme q4_0-mix --method gptq "${text[@]}" -q --threads 2
expect "the same" cmp "$folder/g.gguf" "$folder/g2.gguf"
check "is read" 0 'q4_0' '' inspect "$folder/g.gguf"

# What does not go together.
check "GGUF has no int4" 5 '' 'layout gguf holds' quant "$MODEL" -o "$folder/no.gguf" --scheme int4-g32 --include '*q_proj'
check "compressed-tensors has no q8_0" 5 '' 'compressed-tensors' quant "$MODEL" -o "$folder/no" --scheme q8_0 --include '*q_proj' --layout compressed-tensors
check "a .gguf file is no other layout" 2 '' 'layout gguf' convert "$MODEL" -o "$folder/no.gguf" --layout safetensors
check "no packed form" 5 '' 'no packed form' convert "$MODEL" -o "$folder/no.gguf" --pack
check "importances are for GGUF's types" 2 '' '--imatrix' quant "$MODEL" -o "$folder/no" --scheme int4-g32 --imatrix "$folder/a.gguf"
check "a model is no importance matrix" 3 '' 'no importance matrix' quant "$MODEL" -o "$folder/no.gguf" --scheme q8_0 --include '*q_proj' --imatrix "$folder/a.gguf"
check "gptq does not choose codes of mxfp4" 5 '' 'rtn' quant "$MODEL" -o "$folder/no.gguf" --scheme mxfp4 --include '*q_proj' --method gptq --calibration examples/text/calib.txt
check "gptq measures importances itself" 2 '' 'imatrix' quant "$MODEL" -o "$folder/no.gguf" --scheme q4_0-mix --method gptq --calibration examples/text/calib.txt --imatrix "$folder/im.gguf"
check "a mixture is no scheme of one weight" 2 '' 'mixture' quant "$MODEL" -o "$folder/no.gguf" --scheme q8_0 --otherwise q4_k_m
head -c 100 "$folder/a.gguf" >"$folder/cut.gguf"
check "a cut file" 3 '' 'cut.gguf' inspect "$folder/cut.gguf"
expect "nothing is left of what was refused" test ! -e "$folder/no.gguf" -a ! -e "$folder/no"

# Folders and shards.
check "a folder with a GGUF file" 0 '*' '*' convert "$MODEL" -o "$folder/dir" --layout gguf -q
expect "beside the tokenizer" test -f "$folder/dir/model.gguf" -a -f "$folder/dir/tokenizer.json"
check "evaluates" 0 '*' '*' eval "$folder/dir" --text examples/text/test.txt --samples 1 --length 64
check "shards" 0 '*' '*' convert "$MODEL" -o "$folder/shards" --layout gguf --max-shard-size 300KB -q
expect "are numbered" test -f "$folder/shards/model-00001-of-00004.gguf"
check "are read by their folder" 0 '47 tensors in 4 files' '' inspect "$folder/shards"
check "and by the first" 0 '47 tensors in 4 files' '' inspect "$folder/shards/model-00001-of-00004.gguf"
finish
