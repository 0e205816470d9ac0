#!/bin/bash
# make test-large: a model of about 4 GB, evaluated alone and beside itself and quantized under --memory. The kernel's peak
# of the process must stay below the bound and the report must tell the same. Not part of make test: it needs 10 GB
# of disk (in $TMPDIR or /tmp) and some minutes; without room it says so and skips.
#
#   VISE_TEST_LARGE_LAYERS=N   of 210 MB each (18); VISE_TEST_LARGE_MEMORY=SIZE   the bound of evaluation (1GB)
set -u
cd "$(dirname "$0")/.." || exit 2
. tests/cli/cli.bash
test_name=large
tools=${BUILD:-build/release}/tools
layers=${VISE_TEST_LARGE_LAYERS:-18} memory=${VISE_TEST_LARGE_MEMORY:-1GB}
text=examples/text/test.txt

# The model, a copy, and spilled activations.
needed=$((layers * 430 + 1500)) free=$(($(df --output=avail -k "$folder" | tail -n 1) / 1024))
if [ $free -lt $needed ]; then
    echo "SKIP $test_name: $folder has $free MiB, $needed are needed (TMPDIR names another place)"
    echo "0 passed, 0 failed, 1 skipped"
    exit 0
fi

passed=0
# bounded TEXT MEMORY ARGUMENTS...: runs under the bound; the kernel's peak is below it, the report's within 5 %
bounded() {
    local text=$1 memory=$2 budget peak told start=$SECONDS
    shift 2
    budget=$(numfmt --from=si "${memory%B}")
    if ! "$tools/peak" "$folder/peak" "$VISE" "$@" --memory "$memory" -q >"$folder/json" 2>"$folder/log"; then
        say FAIL "$text under $memory: $(tail -n 1 "$folder/log")"
        return
    fi
    [ -f "$folder/out/report.json" ] && cp "$folder/out/report.json" "$folder/json"
    rm -rf "$folder/out"
    peak=$(cat "$folder/peak")
    told=$(grep -o '"peak_rss": [0-9]*' "$folder/json" | cut -d ' ' -f 2)
    text="$text under $memory: peak $((peak / 1000000)) MB, reported $((told / 1000000)) MB, $((SECONDS - start)) s"
    if [ "$peak" -le "$budget" ] && [ $((told * 100)) -ge $((peak * 95)) ] && [ $((told * 100)) -le $((peak * 105)) ]; then
        say ok "$text"
        passed=$((passed + 1))
    else
        say FAIL "$text"
    fi
}

"$tools/make_model" "$folder/model" --hidden 2560 --ffn 10240 --layers "$layers" --heads 20 --kv-heads 20 --vocab 32000 \
    --shard 1000000000 || { say FAIL "cannot make a model"; finish; }
echo "   $(du -sm --apparent-size "$folder/model" | cut -f 1) MiB in $(ls "$folder"/model/*.safetensors | wc -l) files"
few=(--text $text --samples 2 --length 128)
windows=(--calibration examples/text/calib.txt --samples 4 --length 64)
bounded "evaluation" "$memory" eval "$folder/model" "${few[@]}" --json
cp "$folder/json" "$folder/alone"
bounded "evaluation beside a reference" "$memory" eval "$folder/model" "${few[@]}" --reference "$folder/model" --json
# ppl FILE: the perplexity of the model
ppl() { grep -A 3 '"perplexity"' "$1" | grep -o '"after": [0-9.]*'; }
if [ -n "$(ppl "$folder/alone")" ] && [ "$(ppl "$folder/alone")" = "$(ppl "$folder/json")" ]; then
    say ok "both find the same perplexity"
    passed=$((passed + 1))
else
    say FAIL "perplexities: $(ppl "$folder/alone") alone, $(ppl "$folder/json") beside the reference"
fi
bounded "rtn" 300MB quant "$folder/model" -o "$folder/out" --scheme int4-g128
# Every block takes the same memory; a few of them take minutes.
bounded "gptq of three blocks" 1500MB quant "$folder/model" -o "$folder/out" --scheme int4-g128 --method gptq "${windows[@]}" \
    --include 'model.layers.[0-2].*'
echo "$passed passed, $((5 - passed)) failed, 0 skipped"
finish
