#!/usr/bin/env bash
# Safetensors to GGUF by vise beside llama-quantize (of llama-cpp-python's sources) from its f16 GGUF of the same model, the same
# types for every weight. Both with two threads; processor seconds (user and system) count, rounds alternate, the least of each
# counts. What making the f16 file takes is not counted for llama-quantize; ours includes the decoding of every weight for the
# report's losses and SHA-256 of all that is read and written. The floor: reading the input and writing as many bytes as the
# output has; with openssl there is a second one that hashes both files too. "at floor" is the ratio that the first would give.
#   bench/bench_quant.sh [MODEL] [ROUNDS] [MIXTURE...]   MODEL: default a generated one (ROUNDS 2); fails when a goal is missed
set -euo pipefail
cd "$(dirname "$0")/.."
. tests/interop/venv.sh
. tests/interop/llama_cpp.sh
vise=${VISE:-build/vise}
model=${1:-build/bench-model}
rounds=${2:-2}
shift $(($# < 2 ? $# : 2))
[ $# -gt 0 ] || set -- q8_0-mix q4_0-mix q4_k_m q6_k-mix iq4_nl-mix
work=$(mktemp -d "${TMPDIR:-build}/bench-quant.XXXXXX")
trap 'rm -rf "$work"' EXIT
if [ ! -d "$model" ]; then
    python=${PYTHON:-build/venv/bin/python}
    if [ ! -x "$python" ] || [ ! -f ../shared/tools/make_synth_llama.py ]; then
        echo "bench-quant: skipped, no model: give a Hugging Face folder of 1 to 2 GB as the argument"
        exit 0
    fi
    "$python" ../shared/tools/make_synth_llama.py "$work/synth" --dtype bf16 >/dev/null
    mv "$work/synth/hf" "$model"
fi
llama_cpp build/llama-cpp
TIMEFORMAT='%U %S %R'
measure() { # NAME COMMAND...: appends "processor wall" seconds to NAME
    local name=$1
    shift
    { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ printf "%.2f %.2f\n", $1 + $2, $3 }' >>"$work/$name"
}
least() { sort -n "$work/$1" | head -1; }
floor() { # read all, write as much as the output has
    cat "$model"/*.safetensors >/dev/null
    head -c "$bytes" /dev/zero >"$work/out"
}
hash_floor() { # the floor with SHA-256 of input and output
    floor
    cat "$model"/*.safetensors "$work/out" | openssl dgst -sha256 >/dev/null
}
"$vise" convert "$model" -o "$work/f16.gguf" --dtype f16 -q
echo "input $(cat "$model"/*.safetensors | wc -c) bytes, 2 threads, $(uname -m), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
printf '%-12s %20s %17s %17s %17s %8s %9s %6s\n' mixture 'vise: CPU s, wall s' 'llama-quantize' floor 'floor, hashes' ratio \
    'at floor' goal
missed=0
for mixture in "$@"; do
    theirs=$(tr a-z A-Z <<<"${mixture%-mix}")
    goal=$([[ $mixture == q8_0* || $mixture == q4_0* ]] && echo 10 || echo 5)
    rm -f "$work"/ours "$work"/peer "$work"/floor "$work"/hashes
    for _ in $(seq "$rounds"); do
        measure ours "$vise" quant "$model" -o "$work/out.gguf" --scheme "$mixture" --threads 2 --force -q
        measure peer "$llama_build/bin/llama-quantize" "$work/f16.gguf" "$work/theirs.gguf" "$theirs" 2
        bytes=$(stat -c %s "$work/out.gguf")
        measure floor floor
        if command -v openssl >/dev/null; then measure hashes hash_floor; else echo '- -' >"$work/hashes"; fi
    done
    read -r a a_wall <<<"$(least ours)"
    read -r b b_wall <<<"$(least peer)"
    read -r c c_wall <<<"$(least floor)"
    read -r h h_wall <<<"$(least hashes)"
    at_floor=$(awk -v a="$c" -v b="$b" 'BEGIN { printf "%.1f", b / a }')
    ratio=$(awk -v a="$a" -v b="$b" 'BEGIN { printf "%.1f", b / a }')
    printf '%-12s %11s %8s %8s %8s %8s %8s %8s %8s %7sx %8sx %5sx\n' "$mixture" "$a" "$a_wall" "$b" "$b_wall" "$c" "$c_wall" \
        "$h" "$h_wall" "$ratio" "$at_floor" "$goal"
    awk -v r="$ratio" -v g="$goal" 'BEGIN { exit r < g }' || missed=1
    rm -f "$work/out.gguf" "$work/theirs.gguf" "$work/out"
done
exit $missed
