#!/bin/bash
# Sees to it that vise can be built and tested: probes for the compiler, the headers and the libraries by using them. What is
# missing is installed with apt-get where we are root on Debian or Ubuntu; otherwise the packages are named and we fail.
#   --verbose   say what was found, too
set -u

verbose=0
[ "${1:-}" = --verbose ] && verbose=1
cc=${CC:-cc}
folder=$(mktemp -d) || exit 1
trap 'rm -rf "$folder"' EXIT

# probe SOURCE LIBRARIES...: compiles, links and runs it
probe() {
    local source=$1
    shift
    printf '%s\n' "$source" > "$folder/probe.c"
    "$cc" -std=c17 "$folder/probe.c" -o "$folder/probe" "$@" >/dev/null 2>&1 && "$folder/probe" >/dev/null 2>&1
}

has_cc() { probe '#include <stdio.h>
int main(void) { return puts("") < 0; }'; }
has_cjson() { probe '#include <cjson/cJSON.h>
int main(void) { return cJSON_Version() == 0; }' -lcjson; }
has_zstd() { probe '#include <zstd.h>
int main(void) { return ZSTD_versionNumber() < 10400; }' -lzstd; }
has_utf8proc() { probe '#include <utf8proc.h>
int main(void) { return utf8proc_tolower(0x41) != 0x61; }' -lutf8proc; }
has_pcre2() { probe '#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
int main(void) { char version[64]; return pcre2_config(PCRE2_CONFIG_VERSION, version) < 0; }' -lpcre2-8; }
has_cmocka() { probe '#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
int main(void) { cmocka_set_message_output(CM_OUTPUT_STDOUT); return 0; }' -lcmocka; }
# Opened at run time, so the shared library is what matters, not its headers.
has_openblas() { probe '#include <dlfcn.h>
int main(void) { void *h = dlopen("libopenblas.so.0", RTLD_NOW); return !h || !dlsym(h, "cblas_sgemm"); }' -ldl; }

missing() {
    local packages=()
    if has_cc; then
        has_cjson || packages+=(libcjson-dev)
        has_zstd || packages+=(libzstd-dev)
        has_utf8proc || packages+=(libutf8proc-dev)
        has_pcre2 || packages+=(libpcre2-dev)
        has_cmocka || packages+=(libcmocka-dev)
        has_openblas || packages+=(libopenblas0-pthread)
    else
        packages+=(gcc libc6-dev libcjson-dev libzstd-dev libutf8proc-dev libpcre2-dev libcmocka-dev libopenblas0-pthread)
    fi
    command -v make >/dev/null || packages+=(make)
    command -v ar >/dev/null || packages+=(binutils)
    echo "${packages[@]}"
}

packages=$(missing)
if [ -z "$packages" ]; then
    [ $verbose -eq 1 ] && echo "deps: compiler, cJSON, zstd, utf8proc, PCRE2, OpenBLAS and cmocka are there"
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing packages (Debian names): $packages" >&2
    echo "install them as root:  apt-get install --no-install-recommends $packages" >&2
    exit 1
fi

echo "deps: installing $packages"
log=$folder/apt.log
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get update && apt-get install -y --no-install-recommends $packages; } >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "apt-get could not install: $packages" >&2
    exit 1
fi
packages=$(missing)
if [ -n "$packages" ]; then
    echo "installed, but still not usable: $packages" >&2
    exit 1
fi
