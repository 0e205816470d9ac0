#!/usr/bin/env bash
# A whole `vise quant --scheme int4-g128 --method gptq` (no evaluation), beside llm-compressor's oneshot on the same model, windows
# and threads when a Python that has it is there, and the floor: the operations that the plan counts over the measured
# multiply-add peak of this machine's cores. By default llama-books, 128 windows of 256 tokens of its own text; a MODEL without a
# tokenizer, such as a generated one of 1.6 GB, gets 16 windows of drawn token ids, and --memory 700MB.
#   bench/bench_run_gptq.sh [ROUNDS [MODEL]]       SHARED=FOLDER, VISE=PROGRAM, LLMCOMPRESSOR=PYTHON
set -euo pipefail
cd "$(dirname "$0")/.."
shared=${SHARED:-../shared}
vise=${VISE:-build/vise}
python=${LLMCOMPRESSOR:-build/venv-lc/bin/python}
rounds=${1:-3}
model=${2:-$shared/models/llama-books}
if [ ! -d "$model" ]; then
    echo "bench-run-gptq: skipped, $model is not there"
    exit 0
fi
work=$(mktemp -d build/bench-gptq.XXXXXX)
trap 'rm -rf "$work"' EXIT
if [ -f "$model/tokenizer.json" ]; then
    text=$shared/data/books/calib.txt samples=128 bound=()
else
    text=$work/ids.jsonl samples=16 bound=(--memory 700MB)
    awk -v windows=$samples 'BEGIN {
        srand(1)
        for (w = 0; w < windows; w++) {
            printf "{\"input_ids\": [%d", 5 + int(30000 * rand())
            for (i = 1; i < 256; i++) printf ", %d", 5 + int(30000 * rand())
            print "]}"
        } }' >"$text"
fi
arguments=(quant "$model" --scheme int4-g128 --method gptq --calibration "$text" --length 256 --samples $samples --windows first
    ${bound[@]+"${bound[@]}"})
threads=$(nproc)
peak=$("${BUILD:-build/release}"/bench_peak)
operations=$("$vise" plan "${arguments[@]}" --json | awk -F '[:,]' '/"operations"/ { print $2 }')
for _ in $(seq "$rounds"); do
    TIMEFORMAT='%U %S'
    cpu=$({ time "$vise" "${arguments[@]}" -o "$work/out" --force 2>/dev/null >"$work/summary"; } 2>&1)
    awk -F '[:,]' -v cpu="$cpu" '/^  "seconds"/ { s = $2 } /"peak_rss"/ { r = $2 } END { print s, r / 1e6, cpu }' \
        "$work/out/report.json" >>"$work/ours"
done
read -r seconds megabytes user system < <(sort -n "$work/ours" | awk '{ v[NR] = $0 } END { print v[int((NR + 1) / 2)] }')
echo "gptq int4-g128 of $(basename "$model"), $samples x 256 tokens, $threads threads; $(sed -n 's/^ *time *//p' "$work/summary")"
awk -v s="$seconds" -v m="$megabytes" -v c="$user" -v y="$system" -v o="$operations" -v p="$peak" -v t="$threads" 'BEGIN {
    floor = o / p / t
    printf "vise            %6.1f s  %6.0f MB resident   %.1f s of CPU time\n", s, m, c + y
    printf "floor           %6.1f s  (%.3g TFLOP at %.1f GFLOP/s a core): %.0f %% of it reached, %.0f %% by CPU time\n",
        floor, o * 1e-12, p * 1e-9, 100 * floor / s, 100 * floor * t / (c + y) }'
if [ -x "$python" ] && "$python" -c 'import llmcompressor' 2>/dev/null; then
    OMP_NUM_THREADS=$threads OPENBLAS_NUM_THREADS=$threads HF_HUB_OFFLINE=1 \
        "$python" bench/peers/gptq_oneshot.py "$model" "$text" $samples "$work/peer" 2>/dev/null |
        awk -v s="$seconds" '/^seconds/ { printf "llm-compressor  %6.1f s  %6.0f MB resident   %.1fx our time\n", $2, $3, $2 / s }'
else
    echo "llm-compressor  skipped: no Python with llmcompressor at $python"
fi
