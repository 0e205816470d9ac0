#!/usr/bin/env bash
# Quality on llama-books for each scheme and method, as a Markdown table: bits for each quantized weight (scales counted),
# the rise of mean NLL over four calibrations, KL divergence, top-1 agreement, and the rise that peers reached by the same
# protocol: windows of <|bos|> + 255 tokens, calibration on 128 consecutive windows that begin at window 0, 128, 256, 384,
# evaluation on the first 256 windows of the validation text; linears of the blocks only, scales in bf16. Peers:
# llm-compressor 0.14; GPTQModel 7.7; AutoRound 0.16 with 200 iterations, which learns by gradients. Rows peer-... run the
# latter two here, when they are asked for and make interop-peers has made their virtual environments (bench/peers/quantize.py).
#
#   bench/bench_quality.sh [ROW ...]      rows whose names begin so (default: all)
#                                         SHARED=FOLDER, VISE=PROGRAM, SKIPS="0 128"
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

# name | peers | arguments
rows() {
    cat <<'ROWS'
rtn-int8-channel||quant --scheme int8-channel --method rtn
rtn-int4-g128|llm-compressor 0.0062|quant --scheme int4-g128 --method rtn
rtn-int4-g32||quant --scheme int4-g32 --method rtn
rtn-int4-g32-asym||quant --scheme int4-g32-asym --method rtn
hqq-int4-g128||quant --scheme int4-g128 --method hqq
hqq-int4-g64-asym||quant --scheme int4-g64-asym --method hqq
hqq-int3-g64-asym||quant --scheme int3-g64-asym --method hqq
hqq-int2-g32||quant --scheme int2-g32 --method hqq
hqq-int2-g32-asym||quant --scheme int2-g32-asym --method hqq
rtn-nf4||quant --scheme nf4 --method rtn
rtn-fp8-e4m3-channel||quant --scheme fp8-e4m3-channel --method rtn
rtn-mxfp4||quant --scheme mxfp4 --method rtn
rtn-nvfp4||quant --scheme nvfp4 --method rtn
rtn-int3-g128|llm-compressor 0.0219|quant --scheme int3-g128 --method rtn
rtn-int3-g32||quant --scheme int3-g32 --method rtn
rtn-int2-g32|llm-compressor 0.1371|quant --scheme int2-g32 --method rtn
rtn-int2-g32-asym|llm-compressor 0.0896|quant --scheme int2-g32-asym --method rtn
gptq-int8-channel||quant --scheme int8-channel --method gptq
gptq-int4-g128|llm-compressor 0.0036|quant --scheme int4-g128 --method gptq
gptq-int4-g32||quant --scheme int4-g32 --method gptq
gptq-int4-g32-asym||quant --scheme int4-g32-asym --method gptq
gptq-int3-g128|llm-compressor 0.0109, AutoRound 0.0064|quant --scheme int3-g128 --method gptq
gptq-int3-g32||quant --scheme int3-g32 --method gptq
gptq-int2-g128||quant --scheme int2-g128 --method gptq
gptq-int2-g32|llm-compressor 0.0620, AutoRound 0.0321|quant --scheme int2-g32 --method gptq
gptq-int2-g32-asym|llm-compressor 0.0394, AutoRound 0.0285|quant --scheme int2-g32-asym --method gptq
gptaq-int4-g128||quant --scheme int4-g128 --method gptq --asymmetric 1
gptaq-int3-g128|AutoRound 0.0064|quant --scheme int3-g128 --method gptq --asymmetric 1
gptaq-int4-g64||quant --scheme int4-g64 --method gptq --asymmetric 1
gptaq-int3-g32||quant --scheme int3-g32 --method gptq --asymmetric 1
gptaq-int3-g64||quant --scheme int3-g64 --method gptq --asymmetric 1
gptaq-int2-g32|AutoRound 0.0321|quant --scheme int2-g32 --method gptq --asymmetric 1
gptaq-int2-g32-asym|AutoRound 0.0285|quant --scheme int2-g32-asym --method gptq --asymmetric 1
gptaq-residual-int2-g32|AutoRound 0.0321|quant --scheme int2-g32 --method gptq --asymmetric 1 --residual 1
group-aware-int3-g128||quant --scheme int3-g128 --method gptq --actorder group-aware
group-aware-updated-int3-g128||quant --scheme int3-g128 --method gptq --actorder group-aware --range updated
awq-int4-g128||quant --scheme int4-g128 --method awq
awq-int3-g128||quant --scheme int3-g128 --method awq
target-2.5||quant --scheme int4-g32 --method gptq --target-bits 2.5
target-3.25||quant --scheme int4-g32 --method gptq --target-bits 3.25
target-3.5||quant --scheme int4-g32 --method gptq --target-bits 3.5
target-4.25||quant --scheme int4-g32 --method gptq --target-bits 4.25
target-asymmetric-2.5||quant --scheme int4-g32 --method gptq --asymmetric 1 --target-bits 2.5
target-asymmetric-3.25||quant --scheme int4-g32 --method gptq --asymmetric 1 --target-bits 3.25
target-asymmetric-3.5||quant --scheme int4-g32 --method gptq --asymmetric 1 --target-bits 3.5
target-asymmetric-4.25||quant --scheme int4-g32 --method gptq --asymmetric 1 --target-bits 4.25
rtn-int8-channel+int8-token||quant --scheme int8-channel+int8-token --method rtn
static-int8||quant --scheme int8-channel+int8-tensor --method rtn
static-int8-rotated||quant --scheme int8-channel+int8-tensor --method rtn --rotate r1+r2
static-int8-smooth||quant --scheme int8-channel+int8-tensor --method rtn --smooth 0.75
static-int8-rotated-smooth||quant --scheme int8-channel+int8-tensor --method rtn --rotate r1+r2 --smooth 0.75
rtn-q8_0||quant --scheme q8_0 --method rtn
rtn-q6_k||quant --scheme q6_k --method rtn
rtn-q5_k||quant --scheme q5_k --method rtn
rtn-q4_k||quant --scheme q4_k --method rtn
rtn-q4_0||quant --scheme q4_0 --method rtn
rtn-iq4_xs||quant --scheme iq4_xs --method rtn
rtn-q3_k||quant --scheme q3_k --method rtn
rtn-q2_k||quant --scheme q2_k --method rtn
gptq-q4_k||quant --scheme q4_k --method gptq
gptq-q4_0||quant --scheme q4_0 --method gptq
gptq-iq4_xs||quant --scheme iq4_xs --method gptq
gptq-q3_k||quant --scheme q3_k --method gptq
gptq-q2_k||quant --scheme q2_k --method gptq
gptaq-q2_k||quant --scheme q2_k --method gptq --asymmetric 1
cache-fp8-e4m3-tensor||quant --kv-scheme fp8-e4m3-tensor
cache-fp8-e4m3-head||quant --kv-scheme fp8-e4m3-head
cache-int8-tensor||quant --kv-scheme int8-tensor
cache-int8-head||quant --kv-scheme int8-head
magnitude-50||prune --sparsity 0.5 --method magnitude
wanda-50|llm-compressor 0.0303|prune --sparsity 0.5 --method wanda
wanda-2:4|llm-compressor 0.0901|prune --pattern 2:4 --method wanda
sparsegpt-50|llm-compressor 0.0210|prune --sparsity 0.5 --method sparsegpt
sparsegpt-2:4|llm-compressor 0.0572|prune --pattern 2:4 --method sparsegpt
peer-gptqmodel-int4-g128||peer gptq int4-g128
peer-gptqmodel-int3-g128||peer gptq int3-g128
peer-gptqmodel-int2-g32||peer gptq int2-g32
peer-gptqmodel-int2-g32-asym||peer gptq int2-g32-asym
peer-gptaq-int4-g128||peer gptaq int4-g128
peer-gptaq-int3-g128||peer gptaq int3-g128
peer-gptaq-int2-g32||peer gptaq int2-g32
peer-gptaq-int2-g32-asym||peer gptaq int2-g32-asym
peer-autoround-int4-g128||peer autoround int4-g128
peer-autoround-int3-g128||peer autoround int3-g128
peer-autoround-int2-g32||peer autoround int2-g32
peer-autoround-int2-g32-asym||peer autoround int2-g32-asym
ROWS
}

peer_python() { # the interpreter of METHOD's virtual environment
    case $1 in autoround) echo "$PWD/build/venv-autoround/bin/python" ;; *) echo "$PWD/build/venv-gptqmodel/bin/python" ;; esac
}

peer() { # METHOD SCHEME SKIP: leaves the model in $work/out, and the bits of a weight with its scale and zero point
    rm -rf "$work/out" "$work/peer"
    local python top=$PWD # it leaves logs where it runs
    python=$(peer_python "$1")
    (cd "$work" && "$python" "$top/bench/peers/quantize.py" "$1" "$(realpath "$top/$model")" \
        "$(realpath "$top/$books/calib.txt")" "$3" 128 "$2" "$PWD/peer") >"$work/peer.log" 2>&1 || { tail -n 3 "$work/peer.log" >&2; return 1; }
    mv "$(dirname "$(find "$work/peer" -name config.json | head -n 1)")" "$work/out"
    awk -v scheme="$2" 'BEGIN { split(scheme, part, "-"); bits = substr(part[1], 4); group = substr(part[2], 2)
        printf "%.3f ", bits + (16 + (part[3] == "asym" ? bits : 0)) / group }'
}

bits() { # of a weight that our run has quantized
    awk -F '[:,]' '/"bytes_before"/ && !before { before = $2 } /"bytes_after"/ && !after { after = $2 }
        END { printf "%.3f ", before ? 16 * after / before : 16 }' "$work/out/report.json"
}

measured() { # NLL before and after, KL divergence, top-1 agreement
    "$vise" eval "$work/out" --reference "$model" --text "$books/valid.txt" --length 256 --samples 256 --json --quiet |
        awk -F '[:,]' '/"perplexity"/ { inside = 1 } inside && /"before"/ { before = log($2) }
            inside && /"after"/ { after = log($2); inside = 0 }
            /"kl"/ { kl = 1 } kl && /"mean"/ { divergence = $2; kl = 0 } /"top1_agreement"/ { top = $2 }
            END { printf "%.5f %.5f %.5f %.4f\n", before, after, divergence, top }'
}

chosen() { # whether the row was asked for
    local name=$1 wanted
    shift
    [ $# -gt 0 ] || return 0
    for wanted in "$@"; do [[ $name == "$wanted"* ]] && return 0; done
    return 1
}

echo "$("$vise" --version); $(nproc) cores"
echo
echo "| method and scheme | bits | rise of NLL, mean [lowest - highest] | KL | top-1 | peers' rise |"
echo "|---|---|---|---|---|---|"
rows | while IFS='|' read -r name peers arguments; do
    chosen "$name" "$@" || continue
    case $name in peer-*) [ $# -gt 0 ] || continue ;; esac
    read -r pass rest <<<"$arguments"
    skips=${SKIPS:-0 128 256 384}
    case $name in rtn-* | hqq-* | magnitude-*) skips=0 ;; esac
    if [ "$pass" = peer ] && [ ! -x "$(peer_python "${rest% *}")" ]; then
        echo "$name: skipped, no $(peer_python "${rest% *}"); make interop-peers makes it" >&2
        continue
    fi
    for skip in $skips; do
        # shellcheck disable=SC2086
        if [ "$pass" = peer ]; then
            peer $rest "$skip"
        else
            "$vise" "$pass" "$model" $rest -o "$work/out" --force --quiet --calibration "$books/calib.txt" --length 256 \
                --samples 128 --windows first --skip "$skip" 2>/dev/null
            bits
        fi
        measured
    done | awk -v name="$name" -v peers="$peers" '
        { r = $3 - $2; bits = $1; s += r; kl += $4; top += $5
          if (NR == 1 || r < lo) lo = r
          if (NR == 1 || r > hi) hi = r }
        END { if (NR == 0) { print "bench-quality: " name " failed" >"/dev/stderr"; exit 1 }
              spread = NR > 1 ? sprintf(" [%.4f - %.4f]", lo, hi) : ""
              printf "| %s | %.2f | %.4f%s | %.4f | %.1f %% | %s |\n", name, bits, s / NR, spread, kl / NR, 100 * top / NR, peers }'
done
