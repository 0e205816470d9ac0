#!/bin/bash
# --memory bounds the process: the kernel's peak stays below it and the report tells the same figure. A bound that is too
# small is refused with the smallest that would do, and that one does. VISE_TEST_LARGE=1 repeats it with 1.6 GB.
set -u
. tests/cli/cli.bash
tools=${BUILD:-build/release}/tools
if [ "${CONF:-release}" = asan ]; then
    echo "SKIP $test_name: sanitizers take memory of their own"
    exit 0
fi

# bounded TEXT MEMORY ARGUMENTS...: runs under the bound; the kernel's peak must be below it, the report's within 5 %
bounded() {
    local text=$1 memory=$2 budget peak told
    shift 2
    rm -rf "$folder/out"
    budget=$((${memory%MB} * 1000000))
    if ! "$tools/peak" "$folder/peak" "$VISE" "$@" -o "$folder/out" --memory "$memory" -q >"$folder/log" 2>&1; then
        say FAIL "$text under $memory: $(head -n 1 "$folder/log")"
        return
    fi
    peak=$(cat "$folder/peak")
    told=$(grep -o '"peak_rss": [0-9]*' "$folder/out/report.json" | cut -d ' ' -f 2)
    if [ "$peak" -le $budget ] && [ $((told * 100)) -ge $((peak * 95)) ] && [ $((told * 100)) -le $((peak * 105)) ]; then
        say ok "$text under $memory: peak $((peak / 1000)) kB, reported $((told / 1000)) kB"
    else
        say FAIL "$text under $memory: peak $((peak / 1000)) kB, reported $((told / 1000)) kB"
    fi
}

# bounded and smallest with the main thread held up again and again, as on a machine that has other work
stalled() {
    VISE_STALL_MS=30 LD_PRELOAD=$tools/preload_stall.so "$@"
}

# smallest TEXT ARGUMENTS...: 1MB is refused naming N; N works, and so does the run whose budget is N; N - 1 is refused
smallest() {
    local text=$1 least
    shift
    rm -rf "$folder/out" "$folder/.out.vise-partial"
    "$VISE" "$@" -o "$folder/out" --memory 1MB -q >"$folder/log" 2>&1
    [ $? -eq 4 ] || { say FAIL "$text: 1MB: $(head -n 1 "$folder/log")"; return; }
    least=$(grep -o '[0-9]*MB' "$folder/log" | tail -n 1)
    least=${least%MB}
    # A first answer may come before the plan of the memory is known.
    "$VISE" "$@" -o "$folder/out" --memory "${least:-0}MB" -q >"$folder/log" 2>&1
    if [ $? -eq 4 ]; then
        say FAIL "$text: ${least:-nothing}MB is named and refused: $(head -n 1 "$folder/log")"
        return
    fi
    [ ! -e "$folder/out" ] && say FAIL "$text: ${least}MB: $(head -n 1 "$folder/log")"
    bounded "$text, the smallest" "${least}MB" "$@"
    rm -rf "$folder/out"
    # What is resident before the plan differs by some pages from run to run.
    "$VISE" "$@" -o "$folder/out" --memory $((least - 2))MB -q >"$folder/log" 2>&1
    if [ $? -eq 4 ] && [ ! -e "$folder/out" ] && [ ! -e "$folder/.out.vise-partial" ]; then
        say ok "$text: $((least - 2))MB is refused, nothing is written"
    else
        say FAIL "$text: $((least - 2))MB is not refused: $(head -n 1 "$folder/log")"
    fi
}

# suite MODEL MEMORY PACKED-TO-PACKED CALIBRATED SAMPLES: the bounds of each kind of run
suite() {
    bounded "cast" "$2" convert "$1" --dtype f16
    bounded "magnitude 2:4" "$2" prune "$1" --method magnitude --pattern 2:4
    bounded "magnitude 50 %" "$2" prune "$1" --method magnitude --sparsity 0.5
    bounded "rtn" "$2" quant "$1" --scheme int4-g128
    bounded "rtn with its range searched" "$2" quant "$1" --scheme int4-g128-asym --clip mse
    bounded "rtn per tensor" "$2" quant "$1" --scheme int8-tensor
    bounded "pack" "$2" convert "$1" --pack
    mv "$folder/out" "$folder/packed"
    bounded "unpack" "$2" convert "$folder/packed" --unpack
    bounded "a packed model pruned and packed again" "$3" prune "$folder/packed" --method magnitude --sparsity 0.5
    rm -rf "$folder/packed"
    bounded "quantize and pack" "$2" quant "$1" --scheme int8-channel --pack
    bounded "gptq" "$4" quant "$1" --method gptq --scheme int4-g128 --calibration examples/text/calib.txt \
        --samples "$5" --length 128 --include 'model.layers.[0-2].*'
}

# 190 MB. The calibrated bound leaves no room for the activations of all samples: they go to disk.
"$tools/make_model" "$folder/made" --hidden 768 --ffn 3072 --layers 10 --heads 12 --kv-heads 12 --shard 50000000 ||
    say FAIL "cannot make a model"
suite "$folder/made" 64MB 64MB 170MB 16
rm -rf "$folder/made"

"$tools/make_model" "$folder/small" --hidden 512 --ffn 1536 --layers 3
cat >"$folder/recipe.json" <<END
{"input": "small", "calibration": {"text": "$PWD/examples/text/calib.txt", "samples": 16, "length": 256},
 "evaluate": {"text": "$PWD/examples/text/test.txt", "samples": 16, "length": 256},
 "passes": [{"pass": "prune", "method": "wanda", "pattern": "2:4"},
            {"pass": "quant", "method": "gptq", "scheme": "int4-g128"}], "pack": true}
END
"$tools/make_model" "$folder/vocabulary" --hidden 512 --ffn 1024 --layers 1 --vocab 40000
stalled smallest "stalled, pack" convert "$folder/vocabulary" --pack
stalled smallest "stalled, cast and pack" convert "$folder/vocabulary" --dtype f32 --pack
stalled smallest "stalled, many scales packed" quant "$folder/vocabulary" --scheme int4-g4 --include lm_head --pack
rm -rf "$folder/vocabulary"

smallest "rtn" quant "$folder/small" --scheme int4-g128
smallest "pack" convert "$folder/small" --pack
smallest "gptq" quant "$folder/small" --method gptq --scheme int4-g128 --calibration examples/text/calib.txt --samples 16 --length 256
smallest "gptq beside the model as it was" quant "$folder/small" --method gptq --scheme int3-g128 --asymmetric 1 \
    --include 'model.layers.[01].*' --calibration examples/text/calib.txt --samples 4 --length 256
smallest "wanda, gptq and evaluation" run "$folder/recipe.json"

if [ "${VISE_TEST_LARGE:-0}" = 1 ]; then
    "$tools/make_model" "$folder/large" --hidden 2048 --ffn 5632 --layers 17 --heads 16 --kv-heads 16 --shard 850000000
    suite "$folder/large" 300MB 300MB 600MB 8
fi
finish
