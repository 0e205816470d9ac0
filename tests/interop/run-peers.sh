#!/bin/bash
# make interop-peers, outside CI: other quantizers, each in a virtual environment of its own, beside vise.
#
#   llama.cpp       built from PyPI's llama-cpp-python: its converter's files beside ours, our files in it
#   gptqmodel       transformers loads our gptq, gptq-v2 and awq files through it; it and auto-round write files that vise
#                   reads to the logits that transformers gives of them
#   llm-compressor  writes small models in every scheme that vise reads (round to nearest and GPTQ); vise reads them to the
#                   logits and weights that transformers and compressed-tensors make of them
#
# Ends with "N passed, N failed, N skipped".
#
#   tests/interop/run-peers.sh [MODEL...]     Llama folders for llm-compressor, too
#                                             PEERS="llama.cpp gptqmodel llm-compressor": those alone
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/interop/venv.sh
. tests/interop/llama_cpp.sh
export VISE=${VISE:-build/vise} BUILD=${BUILD:-build/release} HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1

peers=${PEERS:-llama.cpp gptqmodel llm-compressor}
venv build/venv tests/interop/requirements.txt || exit 1
folder=$(mktemp -d) || exit 2
trap 'rm -rf "$folder"' EXIT
: >"$folder/out"

chosen() { [[ " $peers " == *" $1 "* ]]; }

log_end() { tr '\r' '\n' <"$1" | grep -vE 'it/s\]|\?it/s' | tail -n 40 >&2; } # without progress bars

# checks PYTHON SCRIPT ARGUMENTS...: its lines; what ends badly without one gets one
checks() {
    local code
    "$@" 2>"$folder/err" | grep --line-buffered -aE '^(ok|FAIL|SKIP)\b' | tee "$folder/part"
    code=${PIPESTATUS[0]}
    cat "$folder/part" >>"$folder/out"
    [ "$code" -eq 0 ] && return
    log_end "$folder/err"
    grep -qE '^FAIL\b' "$folder/part" || echo "FAIL $(basename "$2" .py): exit status $code" | tee -a "$folder/out"
}

# writes NAME PYTHON SCRIPT ARGUMENTS...
writes() {
    local name=$1
    shift
    echo "-- $name writes"
    if "$@" >"$folder/log" 2>&1; then
        echo "   $(grep -ac ^wrote "$folder/log") models"
    else
        log_end "$folder/log"
        echo "FAIL $name did not write its models" | tee -a "$folder/out"
    fi
}

# gptqmodel asks for a later torch than the CPU build that is at hand, and runs with that.
gptqmodel_venv() {
    venv "$1" tests/interop/requirements-gptqmodel.txt && { "$1/bin/python" -c 'import importlib.metadata as m
assert m.version("gptqmodel") == "7.7.0"' 2>/dev/null ||
        "$1/bin/pip" --disable-pip-version-check -qq install --no-deps --no-build-isolation gptqmodel==7.7.0; }
}

if chosen llama.cpp; then
    echo "-- llama.cpp"
    if llama_cpp build/llama-cpp && gcc -O2 -I"$llama_sources/include" -I"$llama_sources/ggml/include" \
        tests/interop/llama_main.c -o "$folder/llama_main" -L"$llama_build/bin" -lllama -lggml -lggml-base \
        -Wl,-rpath,"$PWD/$llama_build/bin"; then
        checks build/venv/bin/python tests/interop/check_llama_cpp.py "$llama_sources" "$llama_build" "$folder/llama_main"
    else
        echo "FAIL llama.cpp was not built" | tee -a "$folder/out"
    fi
fi

if chosen gptqmodel; then
    mkdir "$folder/packed"
    if gptqmodel_venv build/venv-gptqmodel && venv build/venv-autoround tests/interop/requirements-autoround.txt; then
        writes GPTQModel build/venv-gptqmodel/bin/python tests/interop/write_gptqmodel.py "$folder/packed"
        writes auto-round build/venv-autoround/bin/python tests/interop/write_autoround.py "$folder/packed"
        echo "-- transformers with gptqmodel, and vise, read"
        checks build/venv-gptqmodel/bin/python tests/interop/check_packed.py gptqmodel "$folder/packed"
        checks build/venv-autoround/bin/python tests/interop/check_packed.py autoround "$folder/packed"
    else
        echo "FAIL gptqmodel and auto-round were not installed" | tee -a "$folder/out"
    fi
fi

if chosen llm-compressor; then
    models=("$@")
    if [ $# -eq 0 ]; then
        models=(examples/stories260K)
        for model in llama-baby105/bf16 llama-books; do
            [ ! -d "../shared/models/$model" ] || models+=("../shared/models/$model")
        done
    fi
    if venv build/venv-lc tests/interop/requirements-peers.txt; then
        writes llm-compressor build/venv-lc/bin/python tests/interop/peers_write.py "$folder/models" "${models[@]}"
        echo "-- vise reads"
        checks build/venv/bin/python tests/interop/check_peers.py "$folder/models"
        rm -rf "$folder/models-floats/source"
        checks build/venv/bin/python tests/interop/check_floats.py "$folder/models-floats"/*
    else
        echo "FAIL llm-compressor was not installed" | tee -a "$folder/out"
    fi
fi

passed=$(grep -cE '^ok\b' "$folder/out") failed=$(grep -cE '^FAIL\b' "$folder/out") skipped=$(grep -cE '^SKIP\b' "$folder/out")
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
