#!/bin/bash
# vise generate: the same text for the same seed, where prompts come from, where a text ends, and what is refused.
set -u
. tests/cli/cli.bash

story=", there was a little girl named Lily. She loved to play outside in the park."
check "the likeliest text" 0 "$story" "tokens behind a prompt of 5: the first after" generate "$MODEL" --prompt "Once upon a time" --tokens 30
check "quiet" 0 "$story" "" generate "$MODEL" --prompt "Once upon a time" --tokens 30 -q
check "JSON alone on stdout" 0 '"prompt_ids": [' "" generate "$MODEL" --prompt "Once upon a time" --tokens 30 --json
expect "which has the text" grep -qF -e "\"text\": \"$story" "$folder/stdout"
printf 'Once upon a time' >"$folder/prompt.txt"
"$VISE" generate "$MODEL" --prompt "Once upon a time" --tokens 30 -q >"$folder/argument"
"$VISE" generate "$MODEL" --prompt-file "$folder/prompt.txt" --tokens 30 -q >"$folder/file"
"$VISE" generate "$MODEL" --prompt-file - --tokens 30 -q <"$folder/prompt.txt" >"$folder/stdin"
expect "a prompt from a file" cmp "$folder/argument" "$folder/file"
expect "a prompt from stdin" cmp "$folder/argument" "$folder/stdin"
echo '[[1, 403, 407, 261, 378]]' >"$folder/ids.json"
"$VISE" generate "$MODEL" --ids "$folder/ids.json" --tokens 30 -q >"$folder/ids"
expect "a prompt of ids" grep -q . "$folder/ids"
: >"$folder/empty.txt"
check "an empty prompt begins with BOS" 0 "Once upon a time" "" generate "$MODEL" --prompt-file "$folder/empty.txt" --tokens 12 -q

# Draws.
draw() { "$VISE" generate "$MODEL" --prompt "The" --tokens 60 --temperature 0.9 --top-p 0.9 --top-k 40 --min-p 0.01 --repetition-penalty 1.1 -q "$@"; }
draw --seed 7 --threads 1 >"$folder/one"
draw --seed 7 --threads 2 >"$folder/two"
draw --seed 8 >"$folder/other"
expect "one and two threads draw the same text" cmp "$folder/one" "$folder/two"
expect "another seed draws another" test "$(cat "$folder/one")" != "$(cat "$folder/other")"
expect "what is printed is UTF-8" iconv -f UTF-8 -t UTF-8 "$folder/one"

# Where a text ends: generation_config.json, else config.json.
cp -r "$MODEL" "$folder/model"
third=$("$VISE" generate "$MODEL" --prompt "Once" --tokens 3 --json -q | tr -d ' \n' | sed 's/.*"ids":\[[0-9]*,[0-9]*,\([0-9]*\)\].*/\1/')
echo "{\"eos_token_id\": [9999, $third]}" >"$folder/model/generation_config.json"
check "a token that ends a text" 0 '"stop": "eos"' "" generate "$folder/model" --prompt "Once" --json -q
check "is gone on behind when that is asked" 0 '"stop": "length"' "" generate "$folder/model" --prompt "Once" --json -q --ignore-eos --tokens 9
echo '{"eos_token_id": "x"}' >"$folder/model/generation_config.json"
check "a bad eos_token_id" 3 "" "eos_token_id must be a token id" generate "$folder/model" --prompt "Once"

# Other layouts, and less memory than the weights.
"$VISE" quant "$MODEL" -o "$folder/q" --scheme int8-channel -q
check "a quantized model" 0 "there was a little girl" "" generate "$folder/q" --prompt "Once upon a time" --tokens 30 -q
"$VISE" convert "$MODEL" -o "$folder/p" --pack -q
check "a packed model" 0 "$story" "" generate "$folder/p" --prompt "Once upon a time" --tokens 30 -q

# What is refused.
check "no prompt" 2 "" "nothing to go on from" generate "$MODEL"
check "two prompts" 2 "" "exclude each other" generate "$MODEL" --prompt a --ids "$folder/ids.json"
check "top-k without a temperature" 2 "" "give --temperature too" generate "$MODEL" --prompt a --top-k 5
check "a negative temperature" 2 "" "--temperature" generate "$MODEL" --prompt a --temperature -1
check "no tokens" 2 "" "--tokens" generate "$MODEL" --prompt a --tokens 0
check "a probability above 1" 2 "" "--top-p" generate "$MODEL" --prompt a --temperature 1 --top-p 1.5
check "a file that is not there" 3 "" "nowhere.txt" generate "$MODEL" --prompt-file "$folder/nowhere.txt"
echo '[[1, 600]]' >"$folder/bad.json"
check "ids beyond the vocabulary" 3 "" "from 0 to 511" generate "$MODEL" --ids "$folder/bad.json"
echo '[[1], [2]]' >"$folder/bad.json"
check "two rows of ids" 2 "" "2 rows" generate "$MODEL" --ids "$folder/bad.json"
printf 'a\0b' >"$folder/nul.txt"
check "a NUL in the prompt" 2 "" "NUL byte at 1" generate "$MODEL" --prompt-file "$folder/nul.txt"
sed -i 's/"post_processor"/"unknown"/' "$folder/model/tokenizer.json"
rm "$folder/model/generation_config.json"
check "no token at all" 2 "" "the prompt is empty" generate "$folder/model" --prompt-file "$folder/empty.txt"
check "beyond the positions: a warning" 0 "*" "positions that the model was made for" generate "$MODEL" --prompt "Once" --tokens 600 --progress lines
check "too little memory" 4 "" "the smallest that would do" generate "$MODEL" --prompt "Once" --memory 10MB
finish
