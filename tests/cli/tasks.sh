#!/bin/bash
# vise eval --choices and --embeddings: figures, a reference, goals, memory; what they cannot be asked.
# tests/interop/check_tasks.py compares the figures with transformers.
set -u
. tests/cli/cli.bash

choices=tests/data/choices.jsonl
"$VISE" quant "$MODEL" -o "$folder/q" --scheme int4-g32 --otherwise int8-channel --pack -q || say FAIL "cannot make a model"

# An encoder: the body of the tiny classifier.
tiny=tests/data/tiny-classifier encoder=$folder/encoder texts=$folder/texts.txt
mkdir "$encoder"
cp $tiny/* "$encoder"
sed -i 's/BertForSequenceClassification/BertModel/' "$encoder/config.json"
sed -n '2,$s/^[^\t]*\t//p' $tiny/dev.tsv >"$texts"
"$VISE" quant "$encoder" -o "$folder/int2" --scheme int2-g16 -q || say FAIL "cannot make an encoder"

# ---- choices ----

check "choices" 0 "accuracy                  48.33 %    +- 6.51 %" "*" eval "$MODEL" --choices $choices -q
check "accuracy per character" 0 "normalized                48.33 %" "*" eval "$MODEL" --choices $choices -q
check "choices as JSON" 0 '"normalized_accuracy": {' "*" eval "$MODEL" --choices $choices --json -q
check "choices of a packed model" 0 "agreement" "*" eval "$folder/q" --choices $choices --reference "$MODEL" -q
check "the same model chooses the same" 0 "100.00 %" "*" eval "$MODEL" --choices $choices --reference "$MODEL" -q
check "choices, a goal that is met" 0 "met      min_accuracy 0.4833 >= 0.48" "*" eval "$MODEL" --choices $choices --min-accuracy 0.48 -q
check "choices, a goal that is not met" 1 "NOT MET  min_accuracy" "goal not met: min_accuracy is 0.483333, the limit 0.49" eval "$MODEL" --choices $choices --min-accuracy 0.49 -q
check "some choices" 0 "choices.jsonl, 10 contexts" "*" eval "$MODEL" --choices $choices --skip 5 --samples 10 -q
check "contexts that are cut" 0 "*" "are longer than 32 tokens and were cut" eval "$MODEL" --choices $choices --length 32 --progress none
check "choices, a bound that is too small" 4 "" "the smallest that would do" eval "$MODEL" --choices $choices --memory 1MB -q
check "the peak of memory" 0 '"peak_rss":' "" eval "$MODEL" --choices $choices --json -q
"$VISE" eval "$MODEL" --choices $choices --json -q --threads 2 | figures >"$folder/two"
"$VISE" eval "$MODEL" --choices $choices --json -q --threads 1 --memory 150MB | figures >"$folder/one"
expect "choices: one and two threads, with a bound and without, agree to the last digit" cmp "$folder/one" "$folder/two"

# choice TEXT EXIT MESSAGE CONTENT
choice() {
    printf "$4" >"$folder/x.jsonl"
    check "choices: $1" "$2" "" "$3" eval "$MODEL" --choices "$folder/x.jsonl" -q
}
choice "an empty file" 2 "x.jsonl: there are no contexts with endings" ''
choice "no context" 3 "x.jsonl line 2: there is no ctx, context, query, question or prompt" '\n{"text": "a", "endings": ["b", "c"], "label": 0}\n'
choice "no endings" 3 "x.jsonl line 1: there is no endings or choices" '{"ctx": "a", "label": 0}\n'
choice "no label" 3 'x.jsonl line 1: "label" is missing' '{"ctx": "a", "endings": ["b", "c"]}\n'
choice "a label beyond the endings" 3 "x.jsonl line 1" '{"ctx": "a", "endings": ["b", "c"], "label": 2}\n'
choice "a label that is no ending's number" 3 'the label "b" is none of the endings 0 to 1' '{"ctx": "a", "endings": ["b", "c"], "label": "b"}\n'
choice "one ending" 3 "line 1: 1 ending; there must be 2" '{"ctx": "a", "endings": ["b"], "label": 0}\n'
choice "an empty ending" 3 "line 1: ending 1 is no text, or an empty one" '{"ctx": "a", "endings": ["b", ""], "label": 0}\n'
choice "two contexts" 3 '"ctx" and "query" mean the same; keep one' '{"ctx": "a", "query": "b", "endings": ["b", "c"], "label": 0}\n'
choice "broken JSON" 3 "x.jsonl line 2" '{"ctx": "a", "endings": ["b", "c"], "label": 0}\n{"ctx"\n'
choice "not UTF-8" 3 "x.jsonl line 1: line 1, column 11: byte 0xFF is not UTF-8" '{"ctx": "a\377", "endings": ["b", "c"], "label": 0}\n'
printf '{"ctx": "a", "more": {"left": "alone"}, "endings": ["b", "c"], "label": 0}\n' >"$folder/x.jsonl"
check "choices: fields of other names are left alone" 0 "x.jsonl, 1 contexts" "" eval "$MODEL" --choices "$folder/x.jsonl" -q
check "choices: an ending that is longer than the model sees" 2 "" "choices.jsonl line 1: ending 0 takes 14 tokens, the model sees at most 5: shorten it" eval "$MODEL" --choices $choices --length 5 -q
check "choices: another kind of file" 2 "" "choices are read from .jsonl files" eval "$MODEL" --choices examples/text/test.txt -q
check "choices: a file that is not there" 3 "" "nowhere.jsonl" eval "$MODEL" --choices "$folder/nowhere.jsonl" -q
check "choices of an encoder" 5 "" "--choices needs a model that predicts the next token; BertModel" eval "$encoder" --choices $choices -q
check "choices of a classifier" 5 "" "--choices needs a model that predicts the next token" eval $tiny --choices $choices -q
check "choices, an encoder as reference" 5 "" "--choices with --reference needs a model that predicts" eval "$MODEL" --choices $choices --reference "$encoder" -q
check "choices with logits" 2 "" "--choices has no logits of its own" eval "$MODEL" --choices $choices --save-logits "$folder/l.safetensors" -q
check "choices and a text" 2 "" "exclude each other" eval "$MODEL" --choices $choices --text examples/text/test.txt -q
check "choices, drawn" 2 "" "--windows random" eval "$MODEL" --choices $choices --windows random -q
check "choices beyond the file" 2 "" "--skip 60 leaves none of its 60 rows" eval "$MODEL" --choices $choices --skip 60 -q
check "choices with a goal of cosines" 2 "" "--min-cosine is about --embeddings" eval "$MODEL" --choices $choices --min-cosine 0.5 -q
cp -r "$MODEL" "$folder/mute"
rm "$folder/mute/tokenizer.json"
check "choices without a tokenizer" 2 "" "tokenizer.json" eval "$folder/mute" --choices $choices -q

# ---- embeddings ----

check "embeddings beside themselves" 0 "cosine                    1.000000" "*" eval "$encoder" --embeddings "$texts" --reference "$encoder" -q
check "embeddings of a quantized encoder" 0 "lowest" "20 of 60 texts of $texts are longer than 16 tokens and were cut" eval "$folder/int2" --embeddings "$texts" --reference "$encoder" --progress none
check "embeddings, saved" 0 "60 texts" "*" eval "$encoder" --embeddings "$texts" --save-logits "$folder/e.safetensors" -q
check "their shape" 0 "60 x 16" "" inspect "$folder/e.safetensors"
"$VISE" eval "$folder/int2" --embeddings "$texts" --reference "$encoder" --json -q --threads 2 2>/dev/null | figures >"$folder/two"
"$VISE" eval "$folder/int2" --embeddings "$texts" --reference "$folder/e.safetensors" --json -q --threads 1 --memory 150MB 2>/dev/null | figures >"$folder/one"
expect "a model and its saved vectors, one and two threads, agree to the last digit" cmp "$folder/one" "$folder/two"
expect "the lowest cosine's line" grep -q '"min_line": [0-9]' "$folder/one"
check "embeddings, a goal that is met" 0 "met      min_cosine" "*" eval "$folder/int2" --embeddings "$texts" --reference "$encoder" --min-cosine 0.3 -q
check "embeddings, a goal that is not met" 1 "NOT MET  min_cosine" "goal not met: min_cosine" eval "$folder/int2" --embeddings "$texts" --reference "$encoder" --min-cosine 0.99999 -q
printf '{"text": "good film"}\n{"content": "bad cast"}\n' >"$folder/x.jsonl"
check "texts of a .jsonl" 0 "x.jsonl, 2 texts" "*" eval "$encoder" --embeddings "$folder/x.jsonl" --reference "$encoder" -q
printf 'good film\nb\377d\376\n' >"$folder/x.txt"
check "bytes that are no UTF-8 are counted" 0 '"invalid_utf8": 2' "2 bytes are no UTF-8 and were replaced" eval "$encoder" --embeddings "$folder/x.txt" --reference "$encoder" --json --progress none

# text TEXT EXIT MESSAGE CONTENT [SUFFIX]
text() {
    printf "$4" >"$folder/x.${5:-jsonl}"
    check "embeddings: $1" "$2" "" "$3" eval "$encoder" --embeddings "$folder/x.${5:-jsonl}" --reference "$encoder" -q
}
text "an empty file" 2 "x.txt: there are no texts" '' txt
text "a NUL" 3 "x.txt line 2: the text has a NUL byte" 'a\nb\0c\n' txt
text "no text in a line" 3 "x.jsonl line 2: there is no text, sentence or content" '{"text": "a"}\n{"txt": "b"}\n'
text "a number for a text" 3 "x.jsonl line 1" '{"text": 7}\n'
text "broken JSON" 3 "x.jsonl line 1" '{"text": "a"\n'
text "another kind of file" 2 "texts are read from .txt (one to a line) or .jsonl" 'a\tb\n' tsv
check "embeddings: nothing to compare with" 2 "" "give --reference to compare with, or --save-logits" eval "$encoder" --embeddings "$texts" -q
check "embeddings of a decoder" 5 "" "--embeddings needs an encoder without a head, such as a BertModel" eval "$MODEL" --embeddings "$texts" --reference "$MODEL" -q
check "embeddings of a classifier" 5 "" "--embeddings needs an encoder without a head" eval $tiny --embeddings "$texts" --reference "$encoder" -q
check "embeddings, a decoder as reference" 5 "" "--embeddings with --reference needs an encoder" eval "$encoder" --embeddings "$texts" --reference "$MODEL" -q
check "vectors of other texts" 2 "" "the reference has vectors of 60 texts, the model of 10: give one for each" eval "$encoder" --embeddings "$texts" --samples 10 --reference "$folder/e.safetensors" -q
# npy HEADER BYTES: a table of zeros
npy() { { printf '\223NUMPY\1\0\166\0%-117s\n' "$1"; head -c "$2" /dev/zero; } >"$folder/x.npy"; }
# table TEXT EXIT MESSAGE HEADER BYTES
table() {
    npy "$4" "$5"
    check "a table of vectors: $1" "$2" "" "$3" eval "$encoder" --embeddings "$texts" --samples 2 --reference "$folder/x.npy" -q
}
table "all zeros" 3 "the reference's vector of text 1 is all zeros" "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 16)}" 128
table "too wide" 2 "the reference's vectors have 8 dimensions, the model's 16" "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 8)}" 64
table "one dimension" 3 "a table of vectors has two dimensions, not (32,)" "{'descr': '<f4', 'fortran_order': False, 'shape': (32,)}" 128
table "cut short" 3 "x.npy: 100 bytes of values, but the shape is 2 x 16" "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 16)}" 100
table "integers" 5 "vectors are read as little-endian f2, f4 or f8" "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 16)}" 256
table "in columns" 5 "in C order" "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 16)}" 128
echo "no table" >"$folder/x.npy"
check "a table of vectors: another file" 3 "" "x.npy" eval "$encoder" --embeddings "$texts" --reference "$folder/x.npy" -q
check "a table of vectors: no such file" 3 "" "nowhere.npy" eval "$encoder" --embeddings "$texts" --reference "$folder/nowhere.npy" -q
check "a table of vectors: none of a name" 3 "" 'there is no tensor "embeddings"' eval "$encoder" --embeddings "$texts" --reference "$encoder/model.safetensors" -q
check "vectors over the reference" 2 "" "e.safetensors" eval "$encoder" --embeddings "$texts" --reference "$folder/e.safetensors" --save-logits "$folder/e.safetensors" -q
mkdir "$encoder/1_Pooling"
echo '{"pooling_mode_max_tokens": true}' >"$encoder/1_Pooling/config.json"
check "another pooling" 5 "" "pooling_mode_max_tokens is not supported; cls and mean tokens are" eval "$encoder" --embeddings "$texts" --reference "$folder/e.safetensors" -q
echo '{"pooling_mode_cls_token": true}' >"$encoder/1_Pooling/config.json"
"$VISE" quant "$encoder" -o "$folder/first" --scheme int8-channel -q
check "a quantized encoder pools as the first" 0 "cosine                    0.9999" "*" eval "$folder/first" --embeddings "$texts" --reference "$encoder" -q
echo '{"do_lower_case": true}' >"$encoder/sentence_bert_config.json"
check "lower-casing before the tokenizer" 5 "" "do_lower_case of sentence_bert_config.json is not supported" eval "$encoder" --embeddings "$texts" --reference "$folder/e.safetensors" -q
finish
