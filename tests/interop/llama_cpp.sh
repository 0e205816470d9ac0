# llama.cpp for make interop-peers and make bench-gguf; sourced from the repository's root behind venv.sh.
#
#   llama_cpp FOLDER   sees to it that FOLDER has llama.cpp's sources and tools: those that PyPI's llama-cpp-python carries,
#                      built with cmake (minutes). Sets llama_sources and llama_build.

llama_cpp_version=0.3.36

llama_cpp() {
    local folder=$1 log
    llama_sources=$folder/llama_cpp_python-$llama_cpp_version/vendor/llama.cpp
    llama_build=$folder/build
    [ -x "$llama_build/bin/llama-quantize" ] && [ -x "$llama_build/bin/llama-imatrix" ] && return 0
    venv "$folder/venv" tests/interop/requirements-llama.txt || return 1
    log=$folder/log
    echo "interop: building llama.cpp of llama-cpp-python $llama_cpp_version in $folder"
    if ! { { [ -d "$llama_sources" ] || {
            "$folder/venv/bin/pip" download --disable-pip-version-check -q --no-deps --no-build-isolation \
                --no-binary llama-cpp-python "llama-cpp-python==$llama_cpp_version" -d "$folder" &&
                tar -xf "$folder/llama_cpp_python-$llama_cpp_version.tar.gz" -C "$folder"; }; } &&
            PATH=$PWD/$folder/venv/bin:$PATH cmake -G Ninja -S "$llama_sources" -B "$llama_build" -DCMAKE_BUILD_TYPE=Release \
                -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DLLAMA_CURL=OFF \
                -DLLAMA_OPENSSL=OFF -DGGML_OPENMP=OFF -DBUILD_SHARED_LIBS=ON &&
            "$folder/venv/bin/ninja" -C "$llama_build" llama-quantize llama-imatrix; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        return 1
    fi
}
