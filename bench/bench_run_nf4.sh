#!/usr/bin/env bash
# The whole `vise quant --scheme nf4` (and nf4-dq) of a generated model beside bitsandbytes on the same linears (behind its
# imports) and beside the floor: reading the input and writing as many bytes as the output has. Processor seconds (user and
# system) count, two threads each; the least of the rounds.
#   bench/bench_run_nf4.sh [MODEL] [ROUNDS]      MODEL: default a generated one (ROUNDS 2); fails when ours is not 10x faster
set -euo pipefail
cd "$(dirname "$0")/.."
vise=${VISE:-build/vise}
model=${1:-build/bench-model}
rounds=${2:-2}
python=${PEER_PYTHON:-build/venv/bin/python}
work=$(mktemp -d build/bench-nf4.XXXXXX)
trap 'rm -rf "$work"' EXIT
if [ ! -d "$model" ]; then
    if [ ! -x "$python" ] || [ ! -f ../shared/tools/make_synth_llama.py ]; then
        echo "bench-run-nf4: skipped, no model: give a Hugging Face folder of 1 to 2 GB as the argument"
        exit 0
    fi
    "$python" ../shared/tools/make_synth_llama.py "$work/synth" --dtype bf16 >/dev/null
    mv "$work/synth/hf" "$model"
fi
TIMEFORMAT='%U %S %R'
measure() { # NAME COMMAND...: appends "processor wall" seconds to NAME
    local name=$1
    shift
    { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ printf "%.2f %.2f\n", $1 + $2, $3 }' >>"$work/$name"
}
least() { sort -n "$work/$1" 2>/dev/null | head -1; }
floor() { # read all, write as much as the output has
    cat "$model"/*.safetensors >/dev/null
    head -c "$bytes" /dev/zero >"$work/floor.out"
}
echo "input $(cat "$model"/*.safetensors | wc -c) bytes, 2 threads, $(uname -m), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
printf '%-8s %20s %17s %17s %8s\n' scheme 'vise: CPU s, wall s' bitsandbytes floor ratio
missed=0
for scheme in nf4 nf4-dq; do
    rm -f "$work"/ours "$work"/peer "$work"/floor
    for _ in $(seq "$rounds"); do
        measure ours "$vise" quant "$model" -o "$work/out" --scheme "$scheme" --threads 2 --force -q
        bytes=$(cat "$work"/out/*.safetensors | wc -c)
        measure floor floor
        OMP_NUM_THREADS=2 "$python" bench/peers/nf4_model.py "$model" "$work/theirs" \
            "$([ "$scheme" = nf4 ] && echo plain || echo nested)" 2>/dev/null >>"$work/peer" || echo '- -' >>"$work/peer"
        rm -rf "$work/out" "$work/theirs" "$work/floor.out"
    done
    read -r a a_wall <<<"$(least ours)"
    read -r b b_wall <<<"$(least peer)"
    read -r c c_wall <<<"$(least floor)"
    ratio=$(awk -v a="$a" -v b="$b" 'BEGIN { if (b == "-") print "-"; else printf "%.1f", b / a }')
    printf '%-8s %11s %8s %8s %8s %8s %8s %7sx\n' "$scheme" "$a" "$a_wall" "$b" "$b_wall" "$c" "$c_wall" "$ratio"
    [ "$ratio" = - ] || awk -v r="$ratio" 'BEGIN { exit r < 10 }' || missed=1
done
exit $missed
