#!/bin/bash
# Checkpoints of torch.save as MODEL of every command: same weights, same figures as the safetensors twin; malicious files.
set -u
. tests/cli/cli.bash
data=tests/data/torch
echo '[[1, 5, 9, 2, 30, 17, 4, 8], [1, 3, 3, 7, 21, 22, 23, 6]]' >"$folder/ids.json"
printf '{"input_ids": [1, 5, 9, 2, 30, 17, 4, 8]}\n{"input_ids": [1, 3, 3, 7, 21, 22, 23, 6]}\n' >"$folder/ids.jsonl"

check "a folder with pytorch_model.bin is inspected" 0 '20 tensors in 1 torch file' '' inspect $data/llama
check "its format is told" 0 '"format": "torch"' '' inspect $data/llama --json
check "it becomes safetensors" 0 '*' '*' convert $data/llama -o "$folder/plain" -q
expect "without the tied head" test "$(grep -c lm_head "$folder/plain/model.safetensors")" = 0
expect "with its configuration" cmp "$folder/plain/config.json" $data/llama/config.json

# Logits of two models, bit for bit.
same() {
    for model in "$2" "$3"; do
        check "$1 ($(basename "$model"))" 0 '*' '*' eval "$model" --ids "$folder/ids.json" --save-logits "$folder/$(basename "$model").logits" -q
    done
    expect "$1" cmp "$folder/$(basename "$2").logits" "$folder/$(basename "$3").logits"
}
for model in llama llama-safetensors; do
    check "$model is quantized" 0 '*' '*' quant $data/$model -o "$folder/$model.q" --scheme int8-channel -q
    check "$model is pruned and packed" 0 '*' '*' prune $data/$model -o "$folder/$model.p" --method magnitude --sparsity 0.5 --pack -q
    check "$model is quantized by calibration" 0 '*' '*' quant $data/$model -o "$folder/$model.g" --scheme int4-g16 --calibration "$folder/ids.jsonl" --length 8 --samples 2 -q
    check "$model becomes GGUF" 0 '*' '*' convert $data/$model -o "$folder/$model.gguf" -q
done
same "the logits are the twin's" $data/llama $data/llama-safetensors
same "so are those of the converted model" "$folder/plain" $data/llama-safetensors
for ending in q p g gguf; do same "and of .$ending" "$folder/llama.$ending" "$folder/llama-safetensors.$ending"; done

check "a single file" 0 '32 tensors in 1 torch file' '' inspect $data/zip.pt
check "of the old format" 0 '32 tensors in 1 torch file' '' inspect $data/legacy.bin
check "shards by their index" 0 '2 tensors in 2 torch files' '' inspect $data/sharded
check "of a training run the model is taken" 0 '*' 'left out: "set", "list", "optimizer", "rng_state"' convert $data/checkpoint.ckpt -o "$folder/part.safetensors"
expect "without the wrapper's prefix" grep -q '"weight":' "$folder/part.safetensors"
for n in 1 2; do
    check "views in $n threads" 0 '*' '*' convert $data/zip.pt -o "$folder/$n.safetensors" --memory 64MB --threads $n -q
done
expect "are the same bytes" cmp "$folder/1.safetensors" "$folder/2.safetensors"

# Nothing in a file is executed.
printf '\x80\x02cos\nsystem\nX\x10\0\0\0touch /tmp/vise-x\x85R.' >"$folder/evil.bin"
check "a pickle that calls is refused" 5 '' 'refuses to load: global os.system is not on the list' inspect "$folder/evil.bin"
expect "and not called" test ! -e /tmp/vise-x
check "so is one in an archive" 5 '' 'global torch.nn.modules.linear.Linear' convert $data/module.pt -o "$folder/no"
check "a program" 5 '' 'TorchScript' inspect $data/script.pt
head -c 3000 $data/zip.pt >"$folder/cut.pt"
check "a cut archive" 3 '' 'damaged or cut' inspect "$folder/cut.pt"
head -c 4000 $data/legacy.bin >"$folder/cut.bin"
check "a cut old file" 3 '' 'damaged' inspect "$folder/cut.bin"
echo 'version https://git-lfs.github.com/spec/v1' >"$folder/pointer.bin"
check "a Git LFS pointer" 3 '' 'git lfs pull' inspect "$folder/pointer.bin"
cp $data/zip.pt "$folder/zip.safetensors"
check "a wrong name is told" 3 '' 'a name that ends in .pt' inspect "$folder/zip.safetensors"
expect "nothing is left of what was refused" test ! -e "$folder/no"

finish
