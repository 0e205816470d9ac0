#!/bin/bash
# vise eval on bad input: broken tokenizers, texts that are not UTF-8, texts longer than the positions, ids beyond the
# embedding. Each has its own message; label files, choices and texts of embeddings: labels.sh and tasks.sh.
set -u
. tests/cli/cli.bash

text=examples/text/test.txt
few=(--text $text --samples 2 --length 64 -q)
bad=$folder/bad
# An encoder with a learned table of 16 positions: the body of the tiny classifier.
tiny=tests/data/tiny-classifier encoder=$folder/encoder
mkdir "$encoder"
cp $tiny/* "$encoder"
sed -i 's/BertForSequenceClassification/BertModel/' "$encoder/config.json"

# ---- tokenizers ----

# broken TEXT EXIT MESSAGE SED: an edited tokenizer.json; none may take longer than a moment
broken() {
    rm -rf "$bad"
    cp -r "$MODEL" "$bad"
    sed -i "$4" "$bad/tokenizer.json"
    cmp -s "$MODEL/tokenizer.json" "$bad/tokenizer.json" && say FAIL "tokenizer: $1: nothing was edited"
    timeout 20 "$VISE" eval "$bad" "${few[@]}" >"$folder/stdout" 2>"$folder/stderr"
    local code=$?
    if [ $code -eq "$2" ] && grep -qF -e "$3" "$folder/stderr"; then
        say ok "tokenizer: $1"
    else
        say FAIL "tokenizer: $1: exit $code, $(head -n 1 "$folder/stderr")"
    fi
}
merges='"merges": *\['
broken "a merge of a token that is not there" 3 'merge 0 names "zz q", which is not in the vocabulary' "s/$merges/&\"zz q\",/"
broken "a merge that gives no token" 3 'merge 0 gives "ee", which is not in the vocabulary' "s/$merges/&\"e e\",/"
broken "a merge of three" 3 'merge 0 is "e e e", expected two tokens and one space' "s/$merges/&\"e e e\",/"
broken "no merges" 3 'the model needs "merges", a list' 's/"merges"/"merge"/'
broken "no vocabulary" 3 'the model needs "vocab"' 's/"vocab"/"vocabulary"/'
broken "an id below zero" 3 'the id of <unk> must be a whole number from 0' 's/"<unk>": *0/"<unk>": -1/'
broken "an id that is a fraction" 3 'the id of <unk> must be a whole number from 0' 's/"<unk>": *0/"<unk>": 0.5/'
broken "an id beyond every limit" 3 'the id of <unk> must be a whole number from 0 to 16777215' 's/"<unk>": *0/"<unk>": 99999999/'
broken "an id far behind the others" 3 'an id is 9000000, but there are only 512 tokens' 's/"<unk>": *0/"<unk>": 9000000/'
broken "one id twice" 3 'have the same id 1' 's/"<unk>": *0/"<unk>": 1/'
broken "one token twice" 3 'tokenizer.json' 's/"<unk>": *0/"<s>": 0/'
broken "an id behind the embedding" 3 "test.txt: the tokenizer gives id 700 (\"e\"), but the model's vocab_size is 512" 's/"e": *[0-9]*/"e": 700/'
broken "another model" 5 'the model "Unigram" is not supported' 's/"BPE"/"Unigram"/'
broken "a template of a token that is not there" 3 '"<bos>"' 's/"id": "<s>"/"id": "<bos>"/'
# Rules that feed themselves end: a merge of nothing and a token is that token, a replacement is not replaced again.
cycle() {
    rm -rf "$bad"
    cp -r "$MODEL" "$bad"
    sed -i "$2" "$bad/tokenizer.json"
    expect "tokenizer: $1" timeout 20 "$VISE" eval "$bad" "${few[@]}"
}
cycle "a merge that gives its own part" 's/"vocab": *{/&"": 600,/; s/'"$merges"'/&["", "e"], ["", ""],/'
deep=$(printf '{"type":"Sequence","normalizers":[%.0s' {1..70})
broken "sequences within sequences" 3 'nested deeper than 64 levels' "s/\"normalizer\": */&$deep/"
head -c 2000 "$MODEL/tokenizer.json" >"$bad/tokenizer.json"
check "tokenizer: cut short" 3 "" "but the text ends" eval "$bad" "${few[@]}"
: >"$bad/tokenizer.json"
check "tokenizer: empty" 3 "" "tokenizer.json" eval "$bad" "${few[@]}"
printf '\377\376' >"$bad/tokenizer.json"
check "tokenizer: not UTF-8" 3 "" "tokenizer.json" eval "$bad" "${few[@]}"

# ---- texts that are not UTF-8 ----

{ cat $text; printf 'caf\351 \377\376'; } >"$folder/latin.txt"
check "a text that is not UTF-8: what is counted" 0 '"invalid_utf8": 3' "3 bytes are not UTF-8 and were read as U+FFFD" eval "$MODEL" --text "$folder/latin.txt" --length 128 --json --progress none
check "a text that is UTF-8: nothing is counted" 0 '"protocol": "windows",' "" eval "$MODEL" --text $text --length 128 --samples 2 --json -q
expect "and nothing is said of it" sh -c "! grep -q invalid_utf8 '$folder/stdout'"
printf '{"text": "caf\351"}\n' >"$folder/latin.jsonl"
check "JSON lines that are not UTF-8" 3 "" "latin.jsonl line 1" eval "$MODEL" --text "$folder/latin.jsonl" -q
printf 'label\ttext\n0\tb\377d\n1\tgood \376\375\n' >"$folder/latin.tsv"
check "labelled texts that are not UTF-8" 0 '"invalid_utf8": 3' "3 bytes are no UTF-8 and were replaced" eval $tiny --labels "$folder/latin.tsv" --json --progress none

# ---- longer than the positions ----

ids() { printf '[['; for ((i = 1; i < $1; i++)); do printf '%d, ' $((i % 30)); done; printf '1]]'; } # N: a row of N ids
ids 17 >"$folder/17.json"
ids 600 >"$folder/600.json"
check "a row longer than a table of positions" 2 "" "a window of 17 tokens is longer than the model's 16 positions; make it shorter" eval "$encoder" --ids "$folder/17.json" --save-logits "$folder/l.safetensors" -q
expect "nothing is written" test ! -e "$folder/l.safetensors"
check "labelled texts longer than a table of positions are cut" 0 "20 of the texts cut" "texts of $tiny/dev.tsv are longer than 16 tokens and were cut" eval $tiny --labels $tiny/dev.tsv --progress none
longer="a window of 600 tokens is longer than the 512 positions that the model was made for"
check "rotary positions only warn, rows of ids" 0 "599 tokens" "$longer" eval "$MODEL" --ids "$folder/600.json" --progress none
check "rotary positions only warn, a text" 0 "windows of 600" "$longer" eval "$MODEL" --text $text --length 600 --samples 1 --progress none
gpt2=../shared/models/gpt2-slm4096
if [ -d $gpt2 ]; then
    check "windows longer than GPT-2's table" 2 "" "longer than the model's 128 positions; make it shorter" eval $gpt2 --text $text --length 129 --samples 1 -q
    check "a prompt longer than GPT-2's table" 2 "" "longer than the model's 128 positions" generate $gpt2 --prompt "$(head -c 3000 $text)" --tokens 4
else
    echo "SKIP $test_name: windows longer than GPT-2's table: no $gpt2"
fi

# ---- ids beyond the embedding ----

echo '[[1, 2, 512]]' >"$folder/ids.json"
check "an id of --ids" 3 "" "ids.json: row 0, token 2 must be a whole number from 0 to 511 (vocab_size)" eval "$MODEL" --ids "$folder/ids.json" -q
echo '{"input_ids": [1, 2, 512]}' >"$folder/ids.jsonl"
check "an id of a line" 3 "" "ids.jsonl line 1: input_ids[2] must be a whole number from 0 to 511 (vocab_size)" eval "$MODEL" --text "$folder/ids.jsonl" --length 2 -q
rm -rf "$bad"
cp -r "$MODEL" "$bad"
sed -i 's/"e": *[0-9]*/"e": 700/' "$bad/tokenizer.json"
check "an ending's token" 3 "" 'choices.jsonl line 1: the tokenizer gives id 700 ("e")' eval "$bad" --choices tests/data/choices.jsonl -q
cp $tiny/* "$bad"
cp "$encoder/config.json" "$bad"
rm "$bad/tokenizer.json"
echo dog >>"$bad/vocab.txt"
printf 'good\nthe dog\n' >"$folder/dog.txt"
check "a token of a text to embed" 3 "" 'dog.txt line 2: the tokenizer gives id 38 ("dog"), but the model'"'"'s vocab_size is 38; give the model the tokenizer' eval "$bad" --embeddings "$folder/dog.txt" --save-logits "$folder/l.safetensors" -q
cp $tiny/config.json "$bad"
printf 'label\ttext\n0\tgood\n0\tthe dog\n' >"$folder/dog.tsv"
check "a token of a labelled text" 3 "" 'dog.tsv line 3: the tokenizer gives id 38 ("dog")' eval "$bad" --labels "$folder/dog.tsv" -q
for size in 600 500; do
    rm -rf "$bad"
    cp -r "$MODEL" "$bad"
    sed -i "s/\"vocab_size\": 512/\"vocab_size\": $size/" "$bad/config.json"
    check "a vocab_size of $size for 512 rows" 3 "" "tensor model.embed_tokens.weight has shape [512, 64], but config.json says [$size, 64] (vocab_size, hidden_size)" eval "$bad" "${few[@]}"
done
finish
