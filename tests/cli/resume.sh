#!/bin/bash
# A run that is killed at any point leaves its input as it was and nothing or a whole model at the final name, and --resume
# ends with the bytes of an undisturbed run, keeping the shards that were finished.
set -u
# Thousands of fsyncs: in memory where there is room for it.
[ -z "${TMPDIR:-}" ] && [ -w /dev/shm ] && [ "$(df -Pk /dev/shm | awk 'NR == 2 { print $4 }')" -gt 500000 ] && export TMPDIR=/dev/shm
. tests/cli/cli.bash
tools=${BUILD:-build/release}/tools
out=$folder/out
partial=$folder/.out.vise-partial
# Leak checks and the order of preloaded libraries are nothing to a process that is killed.
[ "${CONF:-release}" = asan ] && export ASAN_OPTIONS=detect_leaks=0:verify_asan_link_order=0

# sums PATH: names and hashes of a model's files that must be equal (the reports tell times)
sums() {
    if [ -d "$1" ]; then
        (cd "$1" && find . -type f ! -name 'report.*' -exec sha256sum {} + | sort -k 2)
    elif [ -e "$1" ]; then
        sha256sum <"$1"
    fi
}

# whole: what stands at the final name is the model that $folder/right is, or the old one that --force replaces
whole() {
    local now
    now=$(sums "$out")
    [ "$now" = "$right" ] || [ "$now" = "${old:-none}" ]
}

# run COMMAND...: the status, into $code; without the shell's own word on a killed child
run() {
    { env "$@" >"$folder/log" 2>&1; code=$?; } 2>/dev/null
}

# begin: sets the state in front of a run
begin() {
    rm -rf "$out"* "$partial"
    [ -z "${old:-}" ] || cp -r "$folder/old" "$out"
}

input=$(sums "$MODEL")

# walk TEXT STEP ARGUMENTS...: kills the run in front of each STEP-th call that changes the file system, then resumes it
walk() {
    local text=$1 step=$2 calls n bad="" killed=0 resumed=0
    shift 2
    begin
    run VISE_KILL_COUNT="$folder/calls" LD_PRELOAD="$tools/preload_kill.so" "$VISE" "$@" -o "$out" -q ${old:+--force}
    [ $code -eq 0 ] || { say FAIL "$text: $(head -n 1 "$folder/log")"; return; }
    right=$(sums "$out")
    calls=$(cat "$folder/calls")
    [ "${calls:-0}" -gt 20 ] || bad=" only ${calls:-0} calls were seen;"
    for ((n = 1; n <= calls; n += step)); do
        begin
        run VISE_KILL_AT=$n LD_PRELOAD="$tools/preload_kill.so" "$VISE" "$@" -o "$out" -q ${old:+--force}
        [ $code -eq 137 ] && killed=$((killed + 1))
        if [ -e "$out" ]; then
            whole || bad="$bad half a model after call $n;"
            [ -z "${old:-}" ] && continue
        fi
        if "$VISE" "$@" -o "$out" -q --resume ${old:+--force} >"$folder/log" 2>&1; then
            resumed=$((resumed + 1))
        else
            bad="$bad not resumed after call $n: $(head -n 1 "$folder/log");"
        fi
        [ "$(sums "$out")" = "$right" ] || bad="$bad other bytes after call $n;"
        [ ! -e "$partial" ] || bad="$bad left-overs after call $n;"
    done
    [ $((killed * step)) -ge $((calls - step)) ] || bad="$bad only $killed of $calls were killed;"
    if [ -z "$bad" ]; then say ok "$text: killed at $killed of $calls points, resumed $resumed times"; else say FAIL "$text:$bad"; fi
}

recipe='{"input": "MODEL", "calibration": {"text": "TEXT", "samples": 4, "length": 64}, "passes": [{"pass": "prune", "method": "wanda",
"pattern": "2:4"}, {"pass": "quant", "method": "gptq", "scheme": "SCHEME"}], "max_shard_size": "50KB", "pack": PACK}'
# put_recipe NAME MODEL SCHEME PACK
put_recipe() {
    sed "s|MODEL|$2|; s|TEXT|$PWD/examples/text/calib.txt|; s|SCHEME|$3|; s|PACK|$4|" <<<"$recipe" >"$folder/$1.json"
}
put_recipe calibrated "$PWD/$MODEL" 'int8-channel+int8-token", "kv_scheme": "int8-head' false
put_recipe packed "$PWD/$MODEL" 'int4-g4-asym", "kv_scheme": "fp8-e4m3-tensor' true
sed -i 's/"int4-g4-asym",/& "asymmetric": 1,/' "$folder/packed.json" # the model as it was is walked again, too

step=1
[ "${CONF:-release}" = asan ] && step=5
walk "weights alone" $step quant "$MODEL" --scheme int4-g4 --max-shard-size 60KB
walk "GGUF" $((5 * step)) quant "$MODEL" --scheme q8_0 --otherwise float
walk "packed" $((2 * step)) convert "$MODEL" --dtype bf16 --pack --max-shard-size 150KB
walk "calibrated" $((4 * step)) run "$folder/calibrated.json"
walk "calibrated and packed" $((4 * step)) run "$folder/packed.json"
text=(--calibration examples/text/calib.txt --samples 4 --length 64)
walk "scaled channels" $((12 * step)) quant "$MODEL" --scheme int4-g4 --method awq "${text[@]}" --max-shard-size 100KB
walk "smoothed, inputs with static scales" $((12 * step)) quant "$MODEL" --scheme int8-channel+int8-tensor --smooth 0.5 \
    --method rtn "${text[@]}" --max-shard-size 100KB
walk "GGUF, calibrated" $((12 * step)) quant "$MODEL" --scheme q4_0-mix --method gptq "${text[@]}"
"$VISE" convert "$MODEL" -o "$folder/old" --dtype f16 -q
old=$(sums "$folder/old")
walk "replacing" $((2 * step)) quant "$MODEL" --scheme int8 --max-shard-size 100KB
old=
# What the report counts is counted again where blocks were finished before.
outliers() { grep -E '"(outlier|largest|measured)' "$1/report.json"; }
counted=(quant "$MODEL" --scheme llm-int8 --calibration examples/text/calib.txt --samples 4 --length 64 --max-shard-size 60KB -q)
"$VISE" "${counted[@]}" -o "$folder/undisturbed" && begin
run VISE_KILL_AT=100 LD_PRELOAD="$tools/preload_kill.so" "$VISE" "${counted[@]}" -o "$out"
[ $code -eq 137 ] && "$VISE" "${counted[@]}" -o "$out" --resume
outliers "$folder/undisturbed" >"$folder/counted"
outliers "$out" >"$folder/counted-again"
expect "a resumed run counts the same outliers" cmp "$folder/counted" "$folder/counted-again"
rm -rf "$folder/undisturbed" "$out"
out=$folder/out.safetensors partial=$folder/.out.safetensors.vise-partial
walk "one file" $step convert "$MODEL" --dtype bf16
out=$folder/out partial=$folder/.out.vise-partial
[ "$(sums "$MODEL")" = "$input" ] && say ok "the input is as it was" || say FAIL "the input has changed"
[ "$failed" -eq 0 ] || finish

# ---- by the clock: a larger model, killed again and again until it is done ----

"$tools/make_model" "$folder/made" --hidden 384 --ffn 1024 --layers 6 --heads 6 --kv-heads 6 || say FAIL "no model"
input=$(sums "$folder/made")
put_recipe clock "$folder/made" int4-g128 true
sed -i 's/"50KB"/"1MB"/; s/"samples": 4/"samples": 16/' "$folder/clock.json"

seconds() { printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)); } # of milliseconds

finished() { # inode and time of each shard that the journal names
    local name
    [ -f "$partial/vise-journal.json" ] || return
    grep -o '"name": "[^"]*"' "$partial/vise-journal.json" | cut -d '"' -f 4 |
        while read -r name; do stat -c '%n %i %y' "$partial/$name"; done
}

# A killed run still holds its output while the kernel takes it apart: timeout does not wait for that.
settle() { [ ! -d "$partial" ] || flock -w 20 "$partial" true; }

clock() { # TEXT ARGUMENTS...
    local text=$1 start kills=0 kept=0 delay before after i
    shift
    rm -rf "$out" "$partial" "$folder/undisturbed"
    start=$(date +%s%N)
    "$VISE" "$@" -o "$folder/undisturbed" -q || { say FAIL "$text"; return; }
    # Growing delays: the first kills come before anything is done, and every later run gets a little further.
    delay=$((($(date +%s%N) - start) / 1000000 / 12 + 5))
    right=$(sums "$folder/undisturbed")
    for ((i = 1; i < 60; i++)); do
        before=$(finished)
        run timeout -s KILL "$(seconds $((delay * (i + 2) / 3)))" "$VISE" "$@" -o "$out" -q --resume
        settle
        [ $code -eq 0 ] && break
        [ $code -eq 137 ] || { say FAIL "$text: exit $code: $(head -n 1 "$folder/log")"; return; }
        kills=$((kills + 1))
        if [ -e "$out" ]; then
            whole || say FAIL "$text: half a model at the final name"
            break
        fi
        after=$(finished)
        if [ -n "$before" ]; then
            [ "$(grep -cxF "$before" <<<"$after")" -eq "$(wc -l <<<"$before")" ] || say FAIL "$text: finished shards were written again"
            kept=$((kept + 1))
        fi
    done
    [ -e "$out" ] || "$VISE" "$@" -o "$out" -q --resume || say FAIL "$text: cannot be ended"
    if whole && [ ! -e "$partial" ] && [ $kills -ge 3 ] && [ $kept -ge 1 ]; then
        say ok "$text: killed $kills times, $kept times with finished shards that stayed as they were"
    else
        say FAIL "$text: killed $kills times, $kept times with finished shards"
    fi
}

clock "by the clock, weights alone" quant "$folder/made" --scheme int4-g128 --clip mse --max-shard-size 1MB
clock "by the clock, packed" convert "$folder/made" --dtype f32 --pack --max-shard-size 4MB
clock "by the clock, calibrated" run "$folder/clock.json"
[ "$(sums "$folder/made")" = "$input" ] && say ok "the made input is as it was" || say FAIL "the made input has changed"

# ---- signals, and what must not be continued ----

# interrupt SIGNAL ARGUMENTS...: exit 6 with a partial folder, for the first delay that hits
interrupt() {
    local signal=$1 i
    shift
    for ((i = 1; i < 40; i++)); do
        rm -rf "$out" "$partial"
        run timeout --preserve-status -s "$signal" "$(seconds $((i * 20)))" "$VISE" "$@" -o "$out" --progress none
        settle
        [ $code -eq 6 ] && [ -s "$partial/vise-journal.json" ] && break
        [ $code -eq 0 ] && break
    done
    if [ $code -eq 6 ] && [ ! -e "$out" ] && [ -d "$partial" ] && grep -q -e --resume "$folder/log"; then
        say ok "SIG$signal: exit 6, says --resume"
    else
        say FAIL "SIG$signal: exit $code: $(tail -n 1 "$folder/log")"
    fi
}

right=$(sums "$folder/undisturbed")
interrupt TERM run "$folder/clock.json"
"$VISE" run "$folder/clock.json" -o "$out" -q --resume
expect "resumed after SIGTERM" whole
interrupt INT run "$folder/clock.json"

cp -r "$partial" "$folder/kept"
put_recipe other "$folder/made" int3-g128 true
sed -i 's/"50KB"/"1MB"/; s/"samples": 4/"samples": 16/' "$folder/other.json"
check "another recipe is refused" 2 "" "begun by another run" run "$folder/other.json" -o "$out" --resume
check "another seed is refused" 2 "" "begun by another run" run "$folder/clock.json" -o "$out" --resume --seed 7
levels=$(for level in ref avx2 avx512; do VISE_CPU=$level "$VISE" inspect "$MODEL" >/dev/null 2>&1 && echo $level; done)
other=$(VISE_CPU='' "$VISE" eval "$MODEL" --text examples/text/test.txt --samples 1 2>/dev/null | grep -o 'avx512\|avx2\|ref' | head -n 1)
other=$(grep -vx "${other:-ref}" <<<"$levels" | head -n 1)
if [ -n "$other" ]; then
    VISE_CPU=$other check "another CPU level is refused for a calibrated run" 2 "" "CPU level" run "$folder/clock.json" -o "$out" --resume
else
    echo "SKIP $test_name: this machine has one CPU level"
fi
touch "$folder/made/model.safetensors"
check "a changed input is refused" 2 "" "input" run "$folder/clock.json" -o "$out" --resume
expect "what is refused stays as it was" diff -r "$partial" "$folder/kept"
check "without --resume it starts anew" 0 "" "" run "$folder/clock.json" -o "$out" -q
expect "and ends the same" whole
check "--resume with nothing to continue" 0 "*" "nothing to continue" convert "$MODEL" -o "$folder/new" --dtype bf16 --resume

# ---- what is finished, and a full disk ----

"$VISE" convert "$MODEL" -o "$folder/new.safetensors" --dtype bf16 -q
for done in new new.safetensors; do
    before=$(stat -c '%i %y' "$folder/$done"; sums "$folder/$done")
    check "--resume of $done, which is finished" 0 "vise 0." "was finished already" convert "$MODEL" -o "$folder/$done" --dtype bf16 --resume
    check "and once more, to replace it" 0 "" "" convert "$MODEL" -o "$folder/$done" --dtype bf16 --resume --force -q
    [ "$(stat -c '%i %y' "$folder/$done"; sums "$folder/$done")" = "$before" ] || say FAIL "$done was written again"
    check "what another run has finished stays" 2 "" "--force" convert "$MODEL" -o "$folder/$done" --dtype f16 --resume
done
check "a calibrated one" 0 "vise 0." "was finished already" run "$folder/clock.json" -o "$out" --resume
sed 's/"pack"/"goals": {"max_bytes": "1KB"}, "pack"/' "$folder/calibrated.json" >"$folder/goal.json"
check "a goal that is missed" 1 "*" "max_bytes" run "$folder/goal.json" -o "$folder/goal" -q
check "is missed when the run is repeated" 1 "max_bytes" "a goal was not met" run "$folder/goal.json" -o "$folder/goal" --resume
truncate -s -1 "$folder/new/model.safetensors"
check "what is not whole is not finished" 2 "" "--force" convert "$MODEL" -o "$folder/new" --dtype bf16 --resume
mkdir "$folder/disk"
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=600k tmpfs "$folder/disk" 2>/dev/null; then
    trap 'umount "$folder/disk"; rm -rf "$folder"' EXIT
    head -c 300000 /dev/zero >"$folder/disk/ballast"
    packed=(convert "$MODEL" -o "$folder/disk/out" --dtype bf16 --pack --max-shard-size 100KB -q)
    check "a full disk names the remedy" 4 "" "is kept: once there is room, the same command with --resume continues it" "${packed[@]}"
    rm "$folder/disk/ballast"
    check "which does" 0 "" "" "${packed[@]}" --resume
else
    echo "SKIP $test_name: a full disk needs root, to mount a small tmpfs"
fi
finish
