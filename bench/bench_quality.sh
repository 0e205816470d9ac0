#!/usr/bin/env bash
# Quality on llama-books: the rise of mean NLL for each scheme and method, over four calibrations, beside the figures of
# llm-compressor 0.14 by the same protocol: windows of <|bos|> + 255 tokens, calibration on 128 consecutive windows that begin at window
# 0, 128, 256, 384, evaluation on the first 256 windows of the validation text; linears of the blocks only, scales in bf16.
#
#   bench/bench_quality.sh [ROW ...]      rows by name (default: all); SHARED=FOLDER, VISE=PROGRAM
set -euo pipefail
cd "$(dirname "$0")/.."
shared=${SHARED:-../shared}
model=$shared/models/llama-books
books=$shared/data/books
if [ ! -d "$model" ]; then
    echo "bench-quality: skipped, $model is not there"
    exit 0
fi
vise=${VISE:-build/vise}
work=$(mktemp -d build/quality.XXXXXX)
trap 'rm -rf "$work"' EXIT

# name | llm-compressor's mean | arguments
rows() {
    cat <<'ROWS'
rtn-int4-g128|0.0062|quant --scheme int4-g128 --method rtn
rtn-int3-g128|0.0219|quant --scheme int3-g128 --method rtn
rtn-int2-g32|0.1371|quant --scheme int2-g32 --method rtn
rtn-int2-g32-asym|0.0896|quant --scheme int2-g32-asym --method rtn
gptq-int4-g128|0.0036|quant --scheme int4-g128 --method gptq
gptq-int3-g128|0.0109|quant --scheme int3-g128 --method gptq
gptq-int2-g32|0.0620|quant --scheme int2-g32 --method gptq
gptq-int2-g32-asym|0.0394|quant --scheme int2-g32-asym --method gptq
magnitude-50|-|prune --sparsity 0.5 --method magnitude
wanda-50|0.0303|prune --sparsity 0.5 --method wanda
wanda-2:4|0.0901|prune --pattern 2:4 --method wanda
sparsegpt-50|0.0210|prune --sparsity 0.5 --method sparsegpt
sparsegpt-2:4|0.0572|prune --pattern 2:4 --method sparsegpt
ROWS
}

nll() { # of a model: ln of its perplexity
    "$vise" eval "$1" --text "$books/valid.txt" --length 256 --samples 256 --json --quiet |
        awk -F '[:,]' '/"perplexity"/ { inside = 1 } inside && /"after"/ { printf "%.5f", log($2); exit }'
}

base=$(nll "$model")
echo "base $base; $("$vise" --version); $(nproc) cores"
printf '%-20s %9s %9s %9s %12s\n' row mean lowest highest llm-compressor
rows | while IFS='|' read -r name peer arguments; do
    if [ $# -gt 0 ] && [[ " $* " != *" $name "* ]]; then
        continue
    fi
    read -r pass rest <<<"$arguments"
    skips="0 128 256 384"
    case $name in rtn-* | magnitude-*) skips=0 ;; esac
    for skip in $skips; do
        # shellcheck disable=SC2086
        "$vise" "$pass" "$model" $rest -o "$work/out" --force --quiet --calibration "$books/calib.txt" --length 256 \
            --samples 128 --windows first --skip "$skip" 2>/dev/null
        nll "$work/out"
        echo
    done | awk -v base="$base" -v name="$name" -v peer="$peer" '
        { r = $1 - base; s += r; if (NR == 1 || r < lo) lo = r; if (NR == 1 || r > hi) hi = r }
        END { printf "%-20s %9.4f %9.4f %9.4f %12s\n", name, s / NR, lo, hi, peer }'
done
