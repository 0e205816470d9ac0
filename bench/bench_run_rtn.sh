#!/usr/bin/env bash
# The whole `vise quant --scheme int4-g128` of a generated model, beside the time that reading the input and writing and syncing
# as many bytes as the output takes by itself: what the machine's memory and disk allow. Rounds alternate; medians count.
#   bench/bench_run_rtn.sh [MODEL] [ROUNDS]      MODEL: default a generated one (ROUNDS 3)
set -euo pipefail
cd "$(dirname "$0")/.."
vise=${VISE:-build/vise}
model=${1:-build/bench-model}
rounds=${2:-3}
work=$(mktemp -d build/bench-rtn.XXXXXX)
trap 'rm -rf "$work"' EXIT
if [ ! -d "$model" ]; then
    python=${PYTHON:-build/venv/bin/python}
    if [ ! -x "$python" ] || [ ! -f ../shared/tools/make_synth_llama.py ]; then
        echo "bench-run-rtn: skipped, no model: give a Hugging Face folder of 1 to 2 GB as the argument"
        exit 0
    fi
    "$python" ../shared/tools/make_synth_llama.py "$work/synth" --dtype bf16 >/dev/null
    mv "$work/synth/hf" "$model"
fi
seconds() { # of a command, wall time
    local start end
    start=$(date +%s.%N)
    "$@" >/dev/null 2>&1
    end=$(date +%s.%N)
    awk -v a="$start" -v b="$end" 'BEGIN { printf "%.3f\n", b - a }'
}
floor() { # read all, write and sync as much as the output has
    cat "$model"/*.safetensors >/dev/null
    head -c "$bytes" /dev/zero >"$work/floor"
    sync "$work/floor"
}
median() { sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }
"$vise" quant "$model" -o "$work/out" --scheme int4-g128 --force --quiet 2>/dev/null # warms the page cache
bytes=$(cat "$work"/out/*.safetensors | wc -c)
for _ in $(seq "$rounds"); do
    rm -rf "$work/out" "$work/floor"
    sync
    seconds "$vise" quant "$model" -o "$work/out" --scheme int4-g128 --quiet >>"$work/ours"
    rm -rf "$work/out" "$work/floor"
    sync
    seconds floor >>"$work/machine"
done
ours=$(median <"$work/ours")
machine=$(median <"$work/machine")
echo "rtn int4-g128 of $(du -shL "$model" | cut -f1) in, $bytes bytes out; $(nproc) cores; $("$vise" --version)"
awk -v a="$ours" -v b="$machine" 'BEGIN { printf "vise %.2f s   reading and writing alone %.2f s   ratio %.2f\n", a, b, a / b }'
