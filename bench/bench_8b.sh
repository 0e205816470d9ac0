#!/usr/bin/env bash
# A model of Llama-3-8B's shape (random weights, bf16) to Q4_K_M GGUF and to int4 compressed-tensors under --memory 2GB, beside the
# floor: reading the input and writing and syncing as many bytes as the output has. All read from the disk: the page cache lets go
# of the input before every run. Prints wall and processor seconds (user and system) and the kernel's peak of the resident set;
# fails when a peak is above the bound. Without a model one is made and removed: of all 32 layers (16 GB, minutes), or of as many as
# the free disk holds beside the larger output and a reserve.
#   bench/bench_8b.sh [MODEL | LAYERS]       MEMORY=2GB, RESERVE=MB (8000), SCHEMES='q4_k_m int4-g128', TMPDIR=FOLDER (build)
set -euo pipefail
cd "$(dirname "$0")/.."
vise=${VISE:-build/vise}
tools=${BUILD:-build/release}/tools
memory=${MEMORY:-2GB}
work=$(mktemp -d "${TMPDIR:-build}/bench-8b.XXXXXX")
trap 'rm -rf "$work"' EXIT
model=${1:-}
if [ ! -d "$model" ]; then
    [[ $model =~ ^[0-9]*$ ]] || { echo "bench-8b: $model is neither a folder nor a number of layers"; exit 2; }
    # In MB: a layer is 437 and at most 118 in an output; embedding and head are 2102, in a compressed-tensors file as well.
    free=$(($(df --output=avail -k "$work" | tail -n 1) * 1024 / 1000000))
    room=$(((free - ${RESERVE:-8000} - 2 * 2102) / (437 + 118)))
    layers=${model:-$((room < 32 ? room : 32))}
    if [ "$layers" -lt 1 ] || [ "$layers" -gt "$room" ]; then
        echo "bench-8b: skipped: $free MB of disk are free below $work, room for $((room > 0 ? room : 0)) layers" \
            "beside a reserve of ${RESERVE:-8000} MB (TMPDIR names another place)"
        exit 0
    fi
    model=$work/model
    "$tools/make_model" "$model" --hidden 4096 --ffn 14336 --layers "$layers" --heads 32 --kv-heads 8 --vocab 128256 \
        --shard 5000000000
    echo "made $layers of 32 layers; $free MB of disk were free"
fi
weights() { # FOLDER: bytes of its weight files
    find -L "$1" \( -name '*.safetensors' -o -name '*.gguf' \) -printf '%s\n' | awk '{ s += $1 } END { printf "%.0f", s }'
}
budget=$(numfmt --from=auto "$(sed 's/iB$/i/; s/B$//' <<<"$memory")")
forget() { # the page cache lets go of the model
    sync
    for file in "$model"/*.safetensors; do dd if="$file" iflag=nocache count=0 status=none; done
}
floor() { # read all, write and sync as much as the output has
    cat "$model"/*.safetensors >/dev/null
    head -c "$bytes" /dev/zero >"$work/floor"
    sync "$work/floor"
}
TIMEFORMAT='%R %U %S'
measure() { # COMMAND...: prints "wall processor" seconds; what the command says on stderr goes to $work/log
    { time "$@" >/dev/null 2>"$work/log"; } 2>&1 | awk '{ printf "%.1f %.1f\n", $1, $2 + $3 }'
}
echo "input $(weights "$model") bytes, --memory $memory, $(uname -m), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg); $("$vise" --version)"
printf '%-12s %14s %10s %10s %10s %12s %12s\n' scheme 'output bytes' 'wall s' 'CPU s' 'peak MB' 'floor wall' 'floor CPU'
missed=0
for scheme in ${SCHEMES:-q4_k_m int4-g128}; do
    forget
    if ! measure "$tools/peak" "$work/peak" "$vise" quant "$model" -o "$work/out" --scheme "$scheme" --memory "$memory" -q \
        >"$work/ours"; then
        cat "$work/log"
        exit 1
    fi
    bytes=$(weights "$work/out")
    rm -rf "$work/out"
    forget
    measure floor >"$work/floors"
    rm -f "$work/floor"
    peak=$(cat "$work/peak")
    read -r wall cpu <"$work/ours"
    read -r floor_wall floor_cpu <"$work/floors"
    printf '%-12s %14s %10s %10s %10s %12s %12s\n' "$scheme" "$bytes" "$wall" "$cpu" "$((peak / 1000000))" "$floor_wall" "$floor_cpu"
    if [ "$peak" -gt "$budget" ]; then
        echo "$scheme: the peak of $peak bytes is above the bound of $budget"
        missed=1
    fi
done
exit $missed
