#!/bin/bash
# make interop: what vise writes, read by transformers, compressed-tensors and safetensors; what they write, read by vise;
# the tokenizers and the solver beside theirs. Needs python3 and, the first time, a package index; Debian's python3-venv is
# installed where we are root. Prints a line for each check and ends with "N passed, N failed, N skipped".
#
#   tests/interop/run.sh [CHECK...]     check_logits, check_architectures, check_generate, check_compressed, check_gptq,
#                                       check_gguf, check_gguf_read, check_gguf_tokenizer, check_bnb, check_floats,
#                                       check_rotation, check_scale, check_placement, check_safetensors, check_torch,
#                                       check_solver, check_protocols, check_chat, check_tasks, tokenizer_ids
set -u
cd "$(dirname "$0")/../.." || exit 2
. tests/interop/venv.sh
export VISE=${VISE:-build/vise} BUILD=${BUILD:-build/release} HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1

checks=("$@")
[ $# -gt 0 ] || checks=(check_safetensors check_torch check_logits check_architectures check_generate check_compressed
                        check_gptq check_gguf check_gguf_read check_gguf_tokenizer check_bnb check_floats check_rotation
                        check_scale check_placement check_solver check_protocols check_chat check_tasks tokenizer_ids)
venv build/venv tests/interop/requirements.txt || { echo "interop: no virtual environment" >&2; exit 1; }

passed=0 failed=0 skipped=0
log=$(mktemp -d) || exit 2
trap 'rm -rf "$log"' EXIT

for name in "${checks[@]}"; do
    printf -- '-- %s\n' "$name"
    options=()
    [ "$name" = tokenizer_ids ] && options=(--library "$BUILD/libvise.a" --texts 800 --share 8)
    start=$SECONDS
    build/venv/bin/python "tests/interop/$name.py" "${options[@]}" 2>"$log/err" | tee "$log/out"
    code=${PIPESTATUS[0]}
    p=$(grep -cE '^ok\b' "$log/out")
    f=$(grep -cE '^FAIL\b' "$log/out")
    s=$(grep -cE '^SKIP\b' "$log/out")
    if [ "$code" -ne 0 ]; then # progress bars, which some libraries draw whatever they are told, are left out
        tr '\r' '\n' <"$log/err" | grep -vE 'it/s\]|\?it/s' | tail -n 40 >&2
        [ "$f" -gt 0 ] || { echo "FAIL $name: exit status $code"; f=1; }
    elif [ $((p + f + s)) -eq 0 ]; then
        echo "FAIL $name: no check ran"
        f=1
    fi
    echo "   $p passed, $f failed, $s skipped in $((SECONDS - start)) s"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
