#!/bin/bash
# Options that are wrong: each is named, with the nearest right one, and nothing is written.
set -u
. tests/cli/cli.bash

out=$folder/out
echo 'Once upon a time.' >"$folder/short.txt"
check "unknown option" 2 "" "vise quant: unknown option --smaples; did you mean --samples?" quant "$MODEL" --smaples 3
check "value missing" 2 "" "-o needs a value: OUT" quant "$MODEL" -o
check "unknown choice" 2 "" "--method: unknown value 'gtpq'; did you mean 'gptq'?" quant "$MODEL" --method gtpq
check "out of range" 2 "" "--threads: 0 is out of range; it must be 1 to 4096" inspect "$MODEL" --threads 0
check "no number" 2 "" "--seed: 'x' is no whole number" inspect "$MODEL" --seed x
check "no size" 2 "" "--memory: \"many\" is not a size" inspect "$MODEL" --memory many
check "--memory of a device that is not there" 5 "" "gpu0=1GB: there is no such device" inspect "$MODEL" --memory cpu=1GB,gpu0=1GB
check "--memory of an unknown part" 2 "" "write cpu=SIZE or gpuN=SIZE" inspect "$MODEL" --memory disk=1GB
check "too many arguments" 2 "" "'more' is one argument too many" inspect "$MODEL" more
check "no model" 2 "" "MODEL is missing" inspect
check "a model that is not there" 3 "" "$folder/none" inspect "$folder/none"
check "no output" 2 "" "give -o OUT" quant "$MODEL" --scheme int8
check "no scheme" 2 "" "--scheme" quant "$MODEL" -o "$out"
check "unknown scheme" 2 "" "int44" quant "$MODEL" -o "$out" --scheme int44
check "what llm-compressor calls a scheme" 2 "" "did you mean int4-g128?" quant "$MODEL" -o "$out" --scheme W4A16
check "a scheme without its dash" 2 "" "did you mean int4-g128?" quant "$MODEL" -o "$out" --scheme int4g128
check "the beginning of a scheme" 2 "" "did you mean fp8-e4m3?" quant "$MODEL" -o "$out" --scheme fp8
check "nothing like a scheme" 2 "" '"bf16" is no scheme (' quant "$MODEL" -o "$out" --scheme bf16
check "inputs in place of a granularity" 2 "" "int8-channel+int8-token" quant "$MODEL" -o "$out" --scheme int8-token
check "the beginning of an option" 2 "" "did you mean --calibration?" quant "$MODEL" -o "$out" --scheme int8 --calib a.txt
check "text for a pass that sees none" 2 "" "vise convert: unknown option --calibration" convert "$MODEL" -o "$out" --calibration "$folder/short.txt"
check "a group that does not divide" 2 "" "give --otherwise SCHEME" quant "$MODEL" -o "$out" --scheme int4-g128
check "selector without a match" 2 "" "selector 'nothing.*' matches no module" quant "$MODEL" -o "$out" --scheme int8 --exclude 'nothing.*'
check "unknown role" 2 "" "did you mean 'role:q_proj'?" quant "$MODEL" -o "$out" --scheme int8 --include role:q_porj
check "a role without role:" 2 "" "did you mean 'role:q_proj'?" quant "$MODEL" -o "$out" --scheme int8 --include q_proj
check "the middle of names" 2 "" "did you mean '*.mlp.*'?" quant "$MODEL" -o "$out" --scheme int8 --exclude mlp
check "a rule of an unknown role" 2 "" "'role:attention': unknown role" quant "$MODEL" -o "$out" --scheme int8 --set role:attention=int4-g4
for tied in lm_head model.embed_tokens; do
    check "a tied $tied would be stored twice" 2 "" "a second copy that makes the file grow" plan quant "$MODEL" --scheme int8 --include $tied
done
check "but in GGUF once" 0 "131 kB    34.8 kB  quant rtn" "" plan quant "$MODEL" --layout gguf --scheme q8_0 --include lm_head
check "text that is too short" 2 "" "too few for a window of" quant "$MODEL" -o "$out" --scheme int8 --calibration "$folder/short.txt"
check "a misspelt pass" 2 "" "did you mean 'quant'?" plan qunat "$MODEL" --scheme int8
check "a layout for what stays floats" 0 "*" "no weight is quantized" convert "$MODEL" -o "$folder/floats" --layout gptq
check "a file that is no model" 3 "" "a model is a folder with config.json" inspect "$MODEL/config.json"
check "calibration missing" 2 "" "calibration" quant "$MODEL" -o "$out" --scheme int8 --method gptq
check "hqq with a clip" 2 "" "--clip goes with rtn and gptq" quant "$MODEL" -o "$out" --scheme int4-g4 --method hqq --clip mse
check "hqq of nf4" 5 "" "not of nf4" quant "$MODEL" -o "$out" --scheme nf4 --method hqq
check "hqq per tensor" 5 "" "not of int8-tensor" quant "$MODEL" -o "$out" --scheme int8-tensor --method hqq
check "hqq with a target" 5 "" "use gptq or rtn" quant "$MODEL" -o "$out" --method hqq --target-bits 4 --calibration examples/text/calib.txt
check "static inputs without calibration" 2 "" "give --calibration FILE" quant "$MODEL" -o "$out" --scheme int8-channel+int8-tensor
check "static inputs of a head" 2 "" "linears inside the blocks alone" quant "$MODEL" -o "$out" --scheme int8-channel+int8-tensor --method rtn \
    --calibration examples/text/calib.txt --rotate r1 --include lm_head
check "eval without a text" 2 "" "give --text FILE, --labels FILE, --choices FILE, --embeddings FILE or --ids FILE" eval "$MODEL"
check "eval with text and ids" 2 "" "exclude each other" eval "$MODEL" --text a --ids b
check "ratio without a reference" 2 "" "needs --reference" eval "$MODEL" --text a --max-perplexity-ratio 2
check "a device that is not there" 5 "" "cuda" eval "$MODEL" --text examples/text/test.txt --device cuda:7
check "a bound that is too small" 4 "" "the smallest that would do is" eval "$MODEL" --text examples/text/test.txt --memory 5MB
check "a rule without a scheme" 2 "" "--set lm_head: give SELECTOR=SCHEME" quant "$MODEL" -o "$out" --scheme int8 --set lm_head
check "a rule for what is not selected" 2 "" "--set lm_head=int8: no weight that quant works on" quant "$MODEL" -o "$out" --scheme int8 --set lm_head=int8
check "a rule of an unknown scheme" 2 "" "int44" quant "$MODEL" -o "$out" --scheme int8 --set role:o_proj=int44
check "rules: the last that names a weight counts" 0 "1  64 x 64          f32          int3-g4" "" plan quant "$MODEL" --scheme int4-g4 --target transformers \
    --set '*.layers.1.self_attn.*=float' --set '*.layers.1.self_attn.[qkvo]_proj=int3-g4'
check "rules that part what runtimes fuse" 0 "*" "are fused and need one scheme" plan quant "$MODEL" --scheme int4-g4 --set role:k_proj=float
expect "nothing was written" test ! -e "$out"

mkdir "$out"
check "output exists" 2 "" "$out exists" quant "$MODEL" -o "$out" --scheme int8
finish
