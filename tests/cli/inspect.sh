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

# ---- the table of memory
check "memory" 0 "bf16                     520 kB        0 B      520 kB     655 kB" "" inspect "$MODEL" --batch 2
check "memory as JSON" 0 '"checkpointed_total": ' "" inspect "$MODEL" --context 100 --json
# row NAME FILE: the weights of a row
row() { grep -A 1 "\"name\": \"$1\"" "$2" | sed -n 's/.*"weights": \([0-9]*\).*/\1/p'; }
"$VISE" inspect "$MODEL" --json >"$folder/before.json"
for scheme in int8-channel nf4-b64-dq; do
    "$VISE" quant "$MODEL" -o "$folder/$scheme" --scheme "$scheme" --otherwise float -q || say FAIL "cannot quantize to $scheme"
    "$VISE" inspect "$folder/$scheme" --json >"$folder/after.json"
    expect "the row of $scheme is what quant writes" [ "$(row "$scheme" "$folder/before.json")" = "$(row 'as stored' "$folder/after.json")" ]
    expect "and stays after it" [ "$(row bf16 "$folder/before.json")" = "$(row bf16 "$folder/after.json")" ]
done
finish
