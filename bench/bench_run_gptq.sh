#!/usr/bin/env bash
# The whole `vise quant --method gptq` of llama-books (128 windows of 256 tokens, no evaluation), beside llm-compressor's oneshot on
# the same model, text and threads when a Python that has it is there, and the floor: the operations that the plan counts over the
# measured multiply-add peak of this machine's cores.
#   bench/bench_run_gptq.sh [ROUNDS]       SHARED=FOLDER, VISE=PROGRAM, LLMCOMPRESSOR=PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
shared=${SHARED:-../shared}
vise=${VISE:-build/vise}
python=${LLMCOMPRESSOR:-build/venv-lc/bin/python}
rounds=${1:-3}
model=$shared/models/llama-books
calib=$shared/data/books/calib.txt
if [ ! -d "$model" ]; then
    echo "bench-run-gptq: skipped, $model is not there"
    exit 0
fi
work=$(mktemp -d build/bench-gptq.XXXXXX)
trap 'rm -rf "$work"' EXIT
arguments=(quant "$model" --scheme int4-g128 --method gptq --calibration "$calib" --length 256 --samples 128 --windows first)
threads=$(nproc)
peak=$(build/release/bench_peak)
operations=$("$vise" plan "${arguments[@]}" --json | awk -F '[:,]' '/"operations"/ { print $2 }')
for _ in $(seq "$rounds"); do
    "$vise" "${arguments[@]}" -o "$work/out" --force 2>/dev/null >"$work/summary"
    awk -F '[:,]' '/"seconds"/ { s = $2 } /"peak_rss"/ { r = $2 } END { print s, r / 1e6 }' "$work/out/report.json" >>"$work/ours"
done
read -r seconds megabytes < <(sort -n "$work/ours" | awk '{ v[NR] = $0 } END { print v[int((NR + 1) / 2)] }')
echo "gptq int4-g128 of llama-books, 128 x 256 tokens, $threads threads; $(sed -n 's/^ *time *//p' "$work/summary")"
awk -v s="$seconds" -v m="$megabytes" -v o="$operations" -v p="$peak" -v t="$threads" 'BEGIN {
    floor = o / p / t
    printf "vise            %6.1f s  %6.0f MB resident\n", s, m
    printf "floor           %6.1f s  (%.3g TFLOP at %.1f GFLOP/s a core): %.0f %% of it reached\n", floor, o * 1e-12, p * 1e-9, 100 * floor / s }'
if [ -x "$python" ] && "$python" -c 'import llmcompressor' 2>/dev/null; then
    OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads HF_HUB_OFFLINE=1 "$python" bench/peers/gptq_oneshot.py "$model" "$calib" "$work/peer" \
        2>/dev/null | awk -v s="$seconds" '/^seconds/ { printf "llm-compressor  %6.1f s  %6.0f MB resident   %.1fx our time\n", $2, $3, $2 / s }'
else
    echo "llm-compressor  skipped: no Python with llmcompressor at $python"
fi
