#!/bin/bash
# vise eval --labels: a classifier on labelled texts, against a reference and a goal; what it cannot be asked.
# tests/data/make_tiny_classifier.py made the model; how many texts it finds right is transformers' count.
set -u
. tests/cli/cli.bash

tiny=tests/data/tiny-classifier
dev=$tiny/dev.tsv
"$VISE" quant $tiny -o "$folder/q" --scheme int8-channel -q || say FAIL "cannot make a model"
"$VISE" quant $tiny -o "$folder/packed" --scheme int4-g16 --pack -q || say FAIL "cannot make a packed model"

check "labels" 0 "93.33 %" "20 of 60 texts of $dev are longer than 16 tokens and were cut" eval $tiny --labels $dev --progress none
check "the confusion table" 0 "neutral               0       10        2" "*" eval $tiny --labels $dev -q
check "two texts in a row" 0 "66.67 %" "*" eval $tiny --labels $tiny/pairs.jsonl -q
check "JSON" 0 '"after": 0.933333' "*" eval $tiny --labels $dev --json -q
check "a reference" 0 "agreement" "*" eval "$folder/q" --labels $dev --reference $tiny -q
check "the same model is its own equal" 0 "100.00 %" "*" eval $tiny --labels $dev --reference $tiny -q
check "a packed model" 0 "macro F1" "*" eval "$folder/packed" --labels $dev -q
check "a goal that is met" 0 "met      min_accuracy 0.9333 >= 0.93" "*" eval $tiny --labels $dev --min-accuracy 0.93 -q
check "a goal that is not met" 1 "NOT MET  min_accuracy" "goal not met: min_accuracy is 0.933333, the limit 0.94" eval $tiny --labels $dev --min-accuracy 0.94 -q
check "some rows" 0 "dev.tsv, 10 texts" "*" eval $tiny --labels $dev --skip 5 --samples 10 -q
check "shorter texts" 0 "of the texts cut" "*" eval $tiny --labels $dev --length 6 -q
check "a bound that is too small" 4 "" "the smallest that would do" eval $tiny --labels $dev --memory 1MB -q
check "logits" 0 "*" "*" eval $tiny --labels $dev --save-logits "$folder/l.safetensors" -q
check "their shape" 0 "60 x 3" "" inspect "$folder/l.safetensors"
"$VISE" eval $tiny --labels $dev --json -q --threads 2 | figures >"$folder/two"
"$VISE" eval $tiny --labels $dev --json -q --threads 1 --memory 150MB | figures >"$folder/one"
expect "one and two threads, with a bound and without, agree to the last digit" cmp "$folder/one" "$folder/two"

bert=../shared/models/bert-tiny-sst2-local sst2=../shared/data/sst2/glue_dev.tsv
if [ -d $bert ] && [ -f $sst2 ]; then # 705 of 872
    check "SST-2's dev set" 0 '"after": 0.8084862385321101' "*" eval $bert --labels $sst2 --json -q
else
    echo "SKIP labels: SST-2's dev set: no $bert or no $sst2"
fi

# ---- what it cannot be asked ----

# file TEXT EXIT MESSAGE CONTENT [SUFFIX]
file() {
    printf "$4" >"$folder/x.${5:-tsv}"
    check "$1" "$2" "" "$3" eval $tiny --labels "$folder/x.${5:-tsv}" -q
}
file "an empty file" 2 "there are no labelled texts" ''
file "a header alone" 2 "there are no labelled texts" 'label\ttext\n'
file "no column of labels" 3 "line 1: there is no column label" 'text\tx\ngood\t1\n'
file "no column of texts" 3 "line 1: there is no column text" 'label\tbody\n0\tgood\n'
file "a column that is missing in a row" 3 "line 3: 1 columns, but the header has 2" 'label\ttext\n0\tgood\n1\n'
file "an unknown label" 3 'line 2: the label "mixed" is unknown; the model'"'"'s are 0 to 2 (negative, neutral, positive)' 'label\ttext\nmixed\tgood\n'
file "a label beyond the model's" 3 'line 3: the label "3" is unknown' 'label\ttext\n2\tgood\n3\tbad\n'
file "a label beyond the model's, JSONL" 3 "x.jsonl line 1" '{"text": "good", "label": 3}\n' jsonl
file "no text, JSONL" 3 "x.jsonl line 1" '{"label": 0}\n' jsonl
file "broken JSON" 3 "x.jsonl line 2" '{"label": 0, "text": "good"}\n{"label"\n' jsonl
file "another kind of file" 2 "labels are read from .tsv" 'label,text\n' csv
check "a file that is not there" 3 "" "nowhere.tsv" eval $tiny --labels "$folder/nowhere.tsv" -q
printf 'label\ttext\n0\tb\377d\n' >"$folder/x.tsv"
check "bytes that are no UTF-8" 0 "*" "1 bytes are no UTF-8 and were replaced" eval $tiny --labels "$folder/x.tsv" --progress none
check "rows beyond the file" 2 "" "--skip 60 leaves none of its 60 rows" eval $tiny --labels $dev --skip 60 -q
check "random rows" 2 "" "--windows random" eval $tiny --labels $dev --windows random -q
check "a model without such a head" 5 "" "needs a model with a classification head" eval "$MODEL" --labels $dev -q
check "a reference without such a head" 5 "" "needs a model with a classification head" eval $tiny --labels $dev --reference "$MODEL" -q
check "a text as well" 2 "" "exclude each other" eval $tiny --labels $dev --text $dev -q
check "a goal without labels" 2 "" "--min-accuracy is about --labels" eval "$MODEL" --text examples/text/test.txt --min-accuracy 0.5 -q
check "a goal of perplexity" 2 "" "--max-perplexity-ratio is about" eval $tiny --labels $dev --reference $tiny --max-perplexity-ratio 2 -q
check "logits over the labels" 2 "" "dev.tsv" eval "$folder/q" --labels $dev --save-logits $dev -q

# edited NAME SED: a copy of the model with an edited config.json
edited() {
    rm -rf "$folder/edited"
    cp -r $tiny "$folder/edited"
    sed -i "$1" "$folder/edited/config.json"
}
edited 's/single_label_classification/multi_label_classification/'
check "several labels for a text" 5 "" "problem_type multi_label_classification" eval "$folder/edited" --labels $dev -q
edited 's/"2": "positive"/"7": "positive"/'
check "id2label at odds with itself" 3 "" 'id2label: "7"' eval "$folder/edited" --labels $dev -q
edited 's/"2": "positive"/"2": "great"/'
check "a reference whose labels differ" 2 "" 'label 2 is "great" in the reference and "positive" in the model' eval $tiny --labels $dev --reference "$folder/edited" -q
edited 's/positive/positive/'
rm "$folder/edited/vocab.txt"
check "a model without a tokenizer" 2 "" "tokenizer" eval "$folder/edited" --labels $dev -q
finish
