#!/bin/bash
# --smooth, --method awq and --asymmetric: better than without, the same for any number of threads, refused where they mean nothing.
set -u
. tests/cli/cli.bash
text=examples/text/test.txt
calibration=(--calibration examples/text/calib.txt --samples 8 --length 128)

divergence() { # divergence FOLDER: mean KL from the model
    "$VISE" eval "$1" --reference "$MODEL" --text $text --length 128 --samples 4 --json -q |
        awk -F '[:,]' '/"kl"/ { inside = 1 } inside && /"mean"/ { print $2; exit }'
}
below() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a + 0 < b + 0) }'; }

static=(--scheme int8-channel+int8-tensor --method rtn "${calibration[@]}" -q)
check "static scales" 0 "" "*" quant "$MODEL" -o "$folder/plain" "${static[@]}"
check "smoothed" 0 "" "*" quant "$MODEL" -o "$folder/smooth" "${static[@]}" --smooth 0.5 --threads 1
expect "lower the divergence" below "$(divergence "$folder/smooth")" "$(divergence "$folder/plain")"
check "with two threads" 0 "" "*" quant "$MODEL" -o "$folder/two" "${static[@]}" --smooth 0.5 --threads 2
expect "the same bytes" cmp "$folder/smooth/model.safetensors" "$folder/two/model.safetensors"
check "behind a rotation" 0 "" "*" quant "$MODEL" -o "$folder/both" "${static[@]}" --smooth 0.5 --rotate r1+r2
expect "the function stays" below "$(divergence "$folder/both")" 0.01

check "rtn" 0 "" "*" quant "$MODEL" -o "$folder/rtn" --scheme int4-g32 --otherwise int4-g4 --method rtn -q
check "awq" 0 "" "*" quant "$MODEL" -o "$folder/awq" --scheme int4-g32 --otherwise int4-g4 --method awq "${calibration[@]}" --threads 1 -q
expect "awq below rtn" below "$(divergence "$folder/awq")" "$(divergence "$folder/rtn")"
check "under a memory bound" 0 "" "*" quant "$MODEL" -o "$folder/bound" --scheme int4-g32 --otherwise int4-g4 --method awq "${calibration[@]}" --threads 2 --memory 150MB -q
expect "the same bytes for any number of threads" cmp "$folder/awq/model.safetensors" "$folder/bound/model.safetensors"

gptq=(--scheme int3-g4 --method gptq "${calibration[@]}" --samples 32 -q)
check "gptq" 0 "" "*" quant "$MODEL" -o "$folder/gptq" "${gptq[@]}"
check "gptq that corrects the error made upstream" 0 "" "*" quant "$MODEL" -o "$folder/corrected" "${gptq[@]}" --asymmetric 1
expect "lowers the divergence" below "$(divergence "$folder/corrected")" "$(divergence "$folder/gptq")"
check "and what the residual stream lacks" 0 "" "*" quant "$MODEL" -o "$folder/stream" "${gptq[@]}" --asymmetric 1 --residual 1
expect "lowers the divergence, too" below "$(divergence "$folder/stream")" "$(divergence "$folder/gptq")"
check "which goes with the other" 2 "" "--residual goes with" quant "$MODEL" -o "$folder/x" "${gptq[@]}" --residual 1
check "what is not solved is not corrected" 2 "" "--method gptq" quant "$MODEL" -o "$folder/x" --scheme int4-g4 --method awq \
    --asymmetric 1 "${calibration[@]}"
check "ranges of updated weights scattered" 2 "" "--actorder group-aware" quant "$MODEL" -o "$folder/x" --scheme int4-g4 \
    --method gptq --actorder static --range updated "${calibration[@]}"

check "smoothing without text" 2 "" "--smooth needs calibration text" quant "$MODEL" -o "$folder/x" --scheme int8 --smooth 0.5
check "awq without text" 2 "" "needs calibration text" quant "$MODEL" -o "$folder/x" --scheme int4-g32 --method awq
check "both at once" 2 "" "both scale" quant "$MODEL" -o "$folder/x" --scheme int4-g4 --method awq --smooth 0.5 "${calibration[@]}"
check "what is quantized is not scaled" 2 "" "*" quant "$folder/rtn" -o "$folder/x" --scheme int4-g4 --allow-requantize --method awq "${calibration[@]}"
check "a target" 2 "" "does not go with" quant "$MODEL" -o "$folder/x" --target-bits 4 --smooth 0.5 "${calibration[@]}"
expect "nothing was written" test ! -e "$folder/x"
finish
