#!/bin/bash
# Where a model's modules go: vise plan --device-map.
set -u
. tests/cli/cli.bash
map=$folder/map.json

check "a map" 0 "devices   for 1 sequence of 512 tokens" "" plan "$MODEL" --memory gpu0=2700kB,cpu=4MB --device-map "$map"
expect "it is written" grep -qx '  "model.layers.4": "cpu",' "$map"
expect "with the tied head beside the embedding" grep -qx '  "lm_head": 0,' "$map"
check "as JSON" 0 '"device_map": {' "" plan "$MODEL" --memory gpu0=2700kB,cpu=4MB --device-map "$map" --json
check "without a file" 0 "devices   for weights alone" "" plan "$MODEL" --memory gpu0=2MB --context 0
check "all on one" 0 "*" "" plan "$MODEL" --memory 1GB --device-map "$map" --json --quiet
expect "is one entry" grep -qx '  "": "cpu"' "$map"
check "of what a pass leaves" 0 "gpu0" "" plan quant "$MODEL" --scheme int8 --memory gpu0=380kB --context 0 --device-map "$map"
expect "quantized weights count as they are stored" grep -qx '  "": 0' "$map"
check "bytes that are too few" 4 "" "--memory gpu0=300 kB is too small" plan "$MODEL" --memory gpu0=300kB,cpu=4MB --context 512
check "no memory" 2 "" "--device-map needs --memory" plan "$MODEL" --device-map "$map"
check "a GPU twice" 2 "" "gpu1 is given twice" plan "$MODEL" --memory gpu1=1GB,gpu0=1GB,gpu1=1GB
check "no number of a GPU" 2 "" "write gpu0=SIZE" plan "$MODEL" --memory gpux=1GB
check "a file of the model" 2 "" "model.safetensors" plan "$MODEL" --memory 1GB --device-map "$MODEL/model.safetensors"
check "a GGUF" 5 "" "loaders of safetensors" plan convert "$MODEL" --layout gguf --memory 1GB --device-map "$map"
finish
