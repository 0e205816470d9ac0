#!/bin/bash
# make interop-peers, outside CI: llm-compressor writes small models in every scheme that vise reads (round to nearest and
# GPTQ), in a virtual environment of its own; vise reads them to the logits and weights that transformers and
# compressed-tensors make of them. Before that llama.cpp, built from PyPI's llama-cpp-python: its converter's files beside
# ours, our files in it. Ends with "N passed, N failed, N skipped".
#
#   tests/interop/run-peers.sh [MODEL...]     Llama folders to quantize, too
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/interop/venv.sh
. tests/interop/llama_cpp.sh
export VISE=${VISE:-build/vise} BUILD=${BUILD:-build/release} HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1

venv build/venv tests/interop/requirements.txt || exit 1
venv build/venv-lc tests/interop/requirements-peers.txt || exit 1
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT

echo "-- llama.cpp"
if llama_cpp build/llama-cpp && gcc -O2 -I"$llama_sources/include" -I"$llama_sources/ggml/include" tests/interop/llama_main.c \
    -o "$folder/llama_main" -L"$llama_build/bin" -lllama -lggml -lggml-base -Wl,-rpath,"$PWD/$llama_build/bin"; then
    build/venv/bin/python tests/interop/check_llama_cpp.py "$llama_sources" "$llama_build" "$folder/llama_main" \
        2>"$folder/err" | tee "$folder/out"
    code=${PIPESTATUS[0]}
    [ "$code" -eq 0 ] || tail -n 40 "$folder/err" >&2
    [ "$code" -eq 0 ] || grep -qE '^FAIL\b' "$folder/out" || echo "FAIL check_llama_cpp: exit status $code" | tee -a "$folder/out"
else
    echo "FAIL llama.cpp was not built" | tee "$folder/out"
fi

models=("$@")
if [ $# -eq 0 ]; then
    models=(examples/stories260K)
    for model in llama-baby105/bf16 llama-books; do
        [ ! -d "../shared/models/$model" ] || models+=("../shared/models/$model")
    done
fi
echo "-- llm-compressor writes"
if ! build/venv-lc/bin/python tests/interop/peers_write.py "$folder/models" "${models[@]}" >"$folder/log" 2>&1; then
    tr '\r' '\n' <"$folder/log" | grep -vE 'it/s\]|\?it/s' | tail -n 40 >&2
    echo "FAIL llm-compressor did not write its models"
    exit 1
fi
echo "   $(grep -c ^wrote "$folder/log") models"
echo "-- vise reads"
build/venv/bin/python tests/interop/check_peers.py "$folder/models" 2>"$folder/err" | tee -a "$folder/out"
code=${PIPESTATUS[0]}
[ "$code" -eq 0 ] || tr '\r' '\n' <"$folder/err" | grep -vE 'it/s\]|\?it/s' | tail -n 40 >&2
passed=$(grep -cE '^ok\b' "$folder/out") failed=$(grep -cE '^FAIL\b' "$folder/out") skipped=$(grep -cE '^SKIP\b' "$folder/out")
[ "$code" -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
