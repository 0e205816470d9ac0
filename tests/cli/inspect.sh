#!/bin/bash
# vise inspect: a model, a file, what it does not know, and the lists.
set -u
. tests/cli/cli.bash

check "a model" 0 "llama, 260 k parameters, 1.04 MB" "" inspect "$MODEL"
check "patterns that select" 0 "model.layers.*.mlp.down_proj.weight" "" inspect "$MODEL"
check "JSON" 0 '"name": "model.layers.0.mlp.down_proj.weight",' "" inspect "$MODEL" --json
check "one file" 0 "unknown family" "" inspect "$MODEL/model.safetensors"
"$VISE" quant "$MODEL" -o "$folder/q" --scheme int8 --pack -q || say FAIL "cannot make a quantized model"
check "what vise wrote" 0 "layout compressed-tensors, packed" "" inspect "$folder/q"
check "its schemes" 0 "int8-channel" "" inspect "$folder/q"
check "architectures" 0 "llama" "" inspect --architectures
check "schemes" 0 "int4" "" inspect --schemes
check "layouts" 0 "compressed-tensors" "" inspect --layouts
check "roles" 0 "q_proj" "" inspect --roles
check "devices" 0 "cpu" "" inspect --devices
check "a list as JSON" 0 '"name": "q_proj"' "" inspect --roles --json
check "two lists" 2 "" "one list at a time" inspect --roles --layouts
check "a list and a model" 2 "" "one argument too many" inspect --roles "$MODEL"
finish
