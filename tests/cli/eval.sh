#!/bin/bash
# vise eval: a text, rows of ids, a reference, a goal, and what is on which stream.
set -u
. tests/cli/cli.bash

text=examples/text/test.txt
"$VISE" quant "$MODEL" -o "$folder/q" --scheme int4-g32 --otherwise int8-channel -q || say FAIL "cannot make a model"
check "a text" 0 "perplexity" "*" eval "$MODEL" --text $text --samples 4
check "JSON alone on stdout" 0 '"accuracy": {' "" eval "$MODEL" --text $text --samples 4 --json -q
check "a reference" 0 "of tokens have the same first choice" "" eval "$folder/q" --text $text --samples 4 --reference "$MODEL" -q
check "the same model is its own equal" 0 "x1.0000" "" eval "$MODEL" --text $text --samples 4 --reference "$MODEL" -q --max-perplexity-ratio 1
check "a goal that is not met" 1 "NOT MET  max_perplexity_ratio" "goal not met" eval "$folder/q" --text $text --samples 4 --reference "$MODEL" -q --max-perplexity-ratio 0.5
echo '[[1, 2, 3, 4], [5, 6, 7, 8]]' >"$folder/ids.json"
check "rows of ids" 0 "ids.json, 6 tokens, windows of 4" "" eval "$MODEL" --ids "$folder/ids.json" -q
check "logits" 0 "*" "" eval "$MODEL" --ids "$folder/ids.json" --save-logits "$folder/l.safetensors" -q
check "their shape" 0 "2 x 4 x 512" "" inspect "$folder/l.safetensors"
mkdir "$folder/bare"
cp "$MODEL"/config.json "$MODEL"/model.safetensors "$folder/bare"
echo '{"input_ids": [1, 2, 3, 4, 5, 6, 7, 8]}' >"$folder/ids.jsonl"
check "lines of ids without a tokenizer" 0 "7 tokens, windows of 8" "" eval "$folder/bare" --text "$folder/ids.jsonl" --length 8 -q
check "text without a tokenizer" 2 "" "tokenizer.json" eval "$folder/bare" --text $text -q
check "windows longer than the text" 2 "" "examples/text/test.txt" eval "$MODEL" --text $text --length 1000000
check "fewer windows than asked" 0 "warnings" "warning" eval "$MODEL" --text $text --length 500 --skip 90 --samples 50 --progress none
check "a stride" 0 "windows of 64 by protocol stride 32" "" eval "$MODEL" --text $text --length 64 --protocol stride --samples 5 -q
check "llama.cpp's rule" 0 '"protocol": "llama.cpp"' "" eval "$MODEL" --text $text --length 64 --protocol llama.cpp --samples 5 --json -q
check "papers, BOS in front" 0 '"bos": true' "" eval "$MODEL" --text $text --length 64 --protocol papers --bos --samples 5 --json -q
check "an interval" 0 '"high":' "" eval "$MODEL" --text $text --length 64 --samples 5 --json -q
for protocol in windows papers stride llama.cpp; do
    check "bits per byte by $protocol" 0 "bits/byte" "" eval "$MODEL" --text $text --length 64 --protocol $protocol --samples 4 -q
done
check "unknown protocol" 2 "" "did you mean 'papers'?" eval "$MODEL" --text $text --protocol paper
check "a stride without its protocol" 2 "" 'a stride needs the protocol "stride"' eval "$MODEL" --text $text --stride 5
check "bos where it is a protocol's own" 2 "" '"llama.cpp" has its own way' eval "$MODEL" --text $text --protocol llama.cpp --bos
check "a stride that leaves tokens out" 2 "" "a stride of 65" eval "$MODEL" --text $text --protocol stride --length 64 --stride 65
check "probabilities of the right token" 0 '"delta_p": {' "" eval "$folder/q" --text $text --samples 4 --reference "$MODEL" --json -q
cp -r "$MODEL" "$folder/other"
sed -i 's/"vocab": *{ *"<unk>"/"vocab": {"<unknown>"/; s/"<unk>"/"<unknown>"/g' "$folder/other/tokenizer.json"
check "another tokenizer" 2 "" "compare bits per byte" eval "$MODEL" --text $text --samples 4 --reference "$folder/other"
chat=$folder/chat
cp -r "$MODEL" "$chat"
line='{"messages": [{"role": "user", "content": "Tell me a story."}, {"role": "assistant", "content": "Once upon a time there was a cat."}]}'
for i in 1 2 3 4 5 6 7 8; do echo "$line"; done >"$folder/messages.jsonl"
check "messages without a chat template" 2 "" "has no chat template" eval "$chat" --text "$folder/messages.jsonl" --length 32
echo '{{ bos_token }}{% for m in messages %}{{ m.role | upper }}: {{ m.content }}{{ "\n" }}{% endfor %}' >"$chat/chat_template.jinja"
check "messages" 0 "bits/byte" "" eval "$chat" --text "$folder/messages.jsonl" --length 32 -q
for i in 1 2 3 4 5 6 7 8; do echo '{"text": "USER: Tell me a story.\nASSISTANT: Once upon a time there was a cat.\n"}'; done >"$folder/same.jsonl"
"$VISE" eval "$chat" --text "$folder/messages.jsonl" --length 32 --json -q | grep -v '"text"' | figures >"$folder/one"
"$VISE" eval "$chat" --text "$folder/same.jsonl" --length 32 --json -q | grep -v '"text"' | figures >"$folder/two"
expect "messages are what the template writes" cmp "$folder/one" "$folder/two"
(cat "$folder/messages.jsonl" "$folder/same.jsonl" "$folder/ids.jsonl"; echo '{"prompt": "x"}') >"$folder/mixed.jsonl"
check "what is wrong with a line" 3 "" 'mixed.jsonl line 18: has neither "text" nor "input_ids" nor "messages"' eval "$chat" --text "$folder/mixed.jsonl" --length 8
sed -i '$d' "$folder/mixed.jsonl"
check "lines of all kinds" 0 "perplexity" "" eval "$chat" --text "$folder/mixed.jsonl" --length 8 -q
check "calibration by messages" 0 "*" "" quant "$chat" -o "$folder/by-chat" --target transformers --scheme int4-g32 --otherwise int8-channel --calibration "$folder/messages.jsonl" --length 16 --samples 8 -q
echo 'a{% call(x) f() %}{% endcall %}' >"$chat/chat_template.jinja"
check "a template that asks for more" 5 "" 'chat_template.jinja line 1: the chat template uses the statement "call", which is not supported; give the lines as "text"' \
    eval "$chat" --text "$folder/messages.jsonl" --length 32
"$VISE" eval "$MODEL" --text $text --samples 8 --json -q --threads 2 | figures >"$folder/two"
"$VISE" eval "$MODEL" --text $text --samples 8 --json -q --threads 1 | figures >"$folder/one"
expect "one and two threads agree to the last digit" cmp "$folder/one" "$folder/two"
finish
