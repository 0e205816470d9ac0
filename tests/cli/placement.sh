#!/bin/bash
# Where a model's modules go: vise plan --device-map, and vise convert --offload-folder.
set -u
# Thousands of fsyncs: in memory where there is room for it.
[ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 500000 ] && export TMPDIR=/dev/shm
. tests/cli/cli.bash
map=$folder/map.json

check "a map" 0 "devices   for 1 sequence of 512 tokens" "" plan "$MODEL" --memory gpu0=2700kB,cpu=4MB --device-map "$map"
expect "it is written" grep -qx '  "model.layers.4": "cpu",' "$map"
expect "with the tied head beside the embedding" grep -qx '  "lm_head": 0,' "$map"
check "as JSON" 0 '"device_map": {' "" plan "$MODEL" --memory gpu0=2700kB,cpu=4MB --device-map "$map" --json
check "without a file" 0 "devices   for weights alone" "" plan "$MODEL" --memory gpu0=2MB --context 0
check "all on one" 0 "*" "" plan "$MODEL" --memory 1GB --device-map "$map" --json --quiet
expect "is one entry" grep -qx '  "": "cpu"' "$map"
check "of what a pass leaves" 0 "gpu0" "" plan quant "$MODEL" --target transformers --scheme int8 --memory gpu0=380kB --context 0 --device-map "$map"
expect "quantized weights count as they are stored" grep -qx '  "": 0' "$map"
check "bytes that are too few" 4 "" "--memory gpu0=300 kB is too small" plan "$MODEL" --memory gpu0=300kB,cpu=4MB --context 512
check "no memory" 2 "" "--device-map needs --memory" plan "$MODEL" --device-map "$map"
check "a GPU twice" 2 "" "gpu1 is given twice" plan "$MODEL" --memory gpu1=1GB,gpu0=1GB,gpu1=1GB
check "no number of a GPU" 2 "" "write gpu0=SIZE" plan "$MODEL" --memory gpux=1GB
check "a file of the model" 2 "" "model.safetensors" plan "$MODEL" --memory 1GB --device-map "$MODEL/model.safetensors"
check "a GGUF" 5 "" "loaders of safetensors" plan convert "$MODEL" --layout gguf --memory 1GB --device-map "$map"

# ---- weights for accelerate's disk offload
tools=${BUILD:-build/release}/tools
off=$folder/off
out=$folder/out
check "an offload" 0 "" "" convert "$MODEL" -o "$out" --dtype bf16 --offload-folder "$off" -q
expect "has a file for each tensor, two links for the tied" [ "$(find "$off" -name '*.dat' | wc -l)" -eq 48 ]
expect "of the output's bytes" [ "$(find "$off" -name '*.dat' ! -name 'lm_head*' -exec cat {} + | wc -c)" -eq 520064 ]
expect "with an index" grep -q '"dtype": "bfloat16"' "$off/index.json"
sums=$(cd "$off" && sha256sum ./* | sort -k 2)
check "a folder that exists" 2 "" "off exists" convert "$MODEL" -o "$folder/out2" --offload-folder "$off"
expect "leaves no output" [ ! -e "$folder/out2" ]
check "--force" 0 "" "" convert "$MODEL" -o "$out" --dtype bf16 --offload-folder "$off" -q --force
expect "replaces it" [ "$sums" = "$(cd "$off" && sha256sum ./* | sort -k 2)" ]
mkdir "$folder/mine"
check "a folder of something else" 2 "" "holds no offloaded weights" convert "$MODEL" -o "$out" --offload-folder "$folder/mine" --force
check "inside the output" 2 "" "beside the output" convert "$MODEL" -o "$folder/new" --offload-folder "$folder/new/off"
check "the input" 2 "" "vise never writes over what it reads" convert "$MODEL" -o "$folder/new" --offload-folder "$MODEL" --force
check "no such parent" 2 "" "none" convert "$MODEL" -o "$folder/new" --offload-folder "$folder/none/off"
check "GGUF" 5 "" "not for GGUF" convert "$MODEL" -o "$folder/new" --layout gguf --offload-folder "$folder/off2"
expect "nothing is left of what was refused" [ ! -e "$folder/new" ]
check "packed shards are unpacked" 0 "" "" convert "$MODEL" -o "$folder/packed" --dtype bf16 --pack --offload-folder "$folder/off3" -q
expect "to the same bytes" [ "$sums" = "$(cd "$folder/off3" && sha256sum ./* | sort -k 2)" ]
check "the plan" 0 "offload   47 files in" "" plan convert "$MODEL" --dtype bf16 -o "$folder/new" --offload-folder "$folder/off4"

# Killed anywhere, there is a whole folder or none, and --resume ends with the same.
[ "${CONF:-release}" = asan ] && export ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0
rm -rf "$out" "$off"
VISE_KILL_COUNT=$folder/calls LD_PRELOAD=$tools/preload_kill.so "$VISE" convert "$MODEL" -o "$out" --dtype bf16 --offload-folder "$off" -q
calls=$(cat "$folder/calls")
bad="" killed=0
for ((n = calls / 4; n <= calls; n += calls / 20)); do
    rm -rf "$out" "$off"
    { VISE_KILL_AT=$n LD_PRELOAD=$tools/preload_kill.so "$VISE" convert "$MODEL" -o "$out" --dtype bf16 --offload-folder "$off" -q; } 2>/dev/null
    [ $? -eq 137 ] && killed=$((killed + 1))
    [ -e "$off" ] && [ "$sums" != "$(cd "$off" && sha256sum ./* | sort -k 2)" ] && bad="$bad half a folder after call $n;"
    [ -e "$out" ] && continue
    "$VISE" convert "$MODEL" -o "$out" --dtype bf16 --offload-folder "$off" -q --resume || bad="$bad call $n: not resumed;"
    [ "$sums" = "$(cd "$off" && sha256sum ./* | sort -k 2)" ] || bad="$bad call $n: other bytes;"
    [ -e "$folder/.off.vise-partial" ] && bad="$bad call $n: leftovers;"
done
if [ -z "$bad" ] && [ $killed -gt 8 ]; then say ok "killed $killed times, resumed"; else say FAIL "killed $killed times:$bad"; fi
finish
