#!/bin/bash
# Recipes: errors by their messages, a run, a plan of the same, and the streams that each uses.
set -u
. tests/cli/cli.bash

# recipe TEXT: writes it, with the model's path in place of MODEL
recipe() { printf '%s\n' "${1//MODEL/$PWD/$MODEL}" >"$folder/r.json"; }

recipe '{"input": "MODEL", "passes": [{"pass": "quant", "shceme": "int8"}]}'
check "unknown key" 2 "" 'passes[0]: unknown key "shceme"; did you mean "scheme"?' run "$folder/r.json" -o "$folder/out"
recipe '{"input": "MODEL", "passes": [{"pass": "quant"}], "passes": []}'
check "a key twice" 3 "" '"passes" is given twice' run "$folder/r.json" -o "$folder/out"
recipe '{"input": "MODEL", "passes": [{"pass": "qaunt"}]}'
check "unknown pass" 2 "" 'unknown pass "qaunt"; did you mean "quant"?' run "$folder/r.json" -o "$folder/out"
recipe '{"input": "MODEL", "passes": [{"pass": "prune", "method": "magnitude", "sparsity": 1.5}]}'
check "out of range" 2 "" 'passes[0].sparsity: 1.5 is out of range' run "$folder/r.json" -o "$folder/out"
recipe '{"input": "MODEL", "passes": ['
check "no JSON" 3 "" "r.json" run "$folder/r.json" -o "$folder/out"
check "no file" 3 "" "none.json" run "$folder/none.json" -o "$folder/out"
expect "nothing was written" test ! -e "$folder/out"

recipe '{"input": "MODEL", "passes": [{"pass": "quant", "scheme": "int8", "target": "transformers"}], "goals": {"max_bytes": "1MB"}}'
check "plan of a recipe" 0 "int8-channel" "" plan "$folder/r.json"
check "plan as JSON" 0 '"bytes_after":' "" plan "$folder/r.json" --json
check "plan of a pass" 0 "int8-channel" "" plan quant "$MODEL" --target transformers --scheme int8
check "plan of a pass as JSON" 0 '"bytes_after":' "" plan --json quant "$MODEL" --target transformers --scheme int8
check "plan of a model" 0 "1044992 bytes" "" plan "$MODEL"
check "dry run" 0 "int8-channel" "" run "$folder/r.json" --dry-run
check "run" 0 "  report       $folder/out/report.json" "*" run "$folder/r.json" -o "$folder/out"
expect "report.md and report.html" test -s "$folder/out/report.md" -a -s "$folder/out/report.html"
check "the output exists" 2 "" "exists" run "$folder/r.json" -o "$folder/out"
check "--force replaces it, --quiet says nothing" 0 "" "" run "$folder/r.json" -o "$folder/out" --force --quiet
bytes=$("$VISE" plan "$folder/r.json" --json | sed -n 's/^  "bytes_after": \([0-9]*\).*/\1/p')
expect "the plan knew the size" test "$bytes" = "$(stat -c %s "$folder/out/model.safetensors")"
cp "$folder/out/model.safetensors" "$folder/first"
check "the same from the command line" 0 "quant rtn int8" "*" quant "$MODEL" -o "$folder/out" --force --scheme int8
check "one thread" 0 "" "" run "$folder/r.json" -o "$folder/one" --threads 1 -q
expect "the same bytes" cmp "$folder/first" "$folder/one/model.safetensors"
check "--report elsewhere" 0 "$folder/report.json" "*" run "$folder/r.json" -o "$folder/out" --force --report "$folder/report.json"
expect "it is there" test -s "$folder/report.json"

recipe '{"input": "MODEL", "evaluate": {"text": "'"$PWD"'/examples/text/test.txt", "length": 64, "samples": 5, "protocol": "stride", "stride": 16}, "passes": [{"pass": "quant", "scheme": "int8", "target": "transformers"}]}'
check "evaluation by a protocol" 0 "127 tokens, windows of 64 by protocol stride 16" "*" run "$folder/r.json" -o "$folder/out" --force
recipe '{"input": "MODEL", "evaluate": {"text": "t.txt", "stride": 16}, "passes": [{"pass": "quant", "scheme": "int8", "target": "transformers"}]}'
check "a stride without its protocol" 2 "" 'a stride needs the protocol "stride"' run "$folder/r.json" -o "$folder/out" --force

recipe '{"input": "MODEL", "passes": [{"pass": "quant", "scheme": "int8", "target": "transformers"}], "goals": {"max_bytes": "100kB"}}'
check "a goal that is not met" 1 "NOT MET  max_bytes" "goal not met: max_bytes" run "$folder/r.json" -o "$folder/out" --force
check "progress as JSON" 1 "*" '{"event":"progress","phase":"compress"' run "$folder/r.json" -o "$folder/out" --force --progress json
finish
