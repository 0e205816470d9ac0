#!/usr/bin/env python3
"""What vise writes in the layout compressed-tensors: transformers loads it, every key at its place, with the logits that
`vise eval` gives of the same folder; the compressed-tensors library decodes the weights that `vise convert --dequantize`
writes, bit for bit. And a file of llm-compressor, read by both.
"""
import json
import os

import common  # first: it silences what is imported next
from common import (CALIBRATION, EXAMPLE, FIXTURE, LIMIT, MODELS, check, distance, load, logits_of, make_llama, path,
                    sample_rows, skip, vise, vise_logits)
from compressed import compare, stored_tensors

import torch
import transformers

# ---- models and runs -------------------------------------------------------------------------------------------------

SCHEMES = ["int4-g32", "int4-g128", "int4-g32-asym", "int3-g32", "int2-g32-asym", "int8-channel",
           "int8-channel+int8-token"]


def ids_file(model, n, length):
    file = path("calibration.jsonl")
    with open(file, "w") as out:
        for row in sample_rows(model, n, length, seed=7).tolist():
            out.write(json.dumps({"input_ids": row}) + "\n")
    return file


def quantized(source, rows, scheme, method, calibration, *more, expect=None):
    folder = path("quantized")
    static = scheme.endswith("+int8-tensor")
    needs_text = method in ("gptq", "awq") or static or "--smooth" in more
    options = ["--calibration", calibration, "--samples", "24", "--length", "96"] if needs_text else []
    vise("quant", source, "-o", folder, "--scheme", scheme, "--method", method, *options, *more, "--force")
    return compare(folder, rows, expect, static)


def pruned(source, rows, calibration, prune, quant, keep=None, steps=1):
    """Both passes in one run, as a recipe, or one after the other: the mask is honoured by the quantization."""
    out, recipe = path("quantized"), path("recipe.json")
    passes = [{"pass": "prune", **prune}, {"pass": "quant", **quant}]
    for step, part in enumerate([passes] if steps == 1 else [passes[:1], passes[1:]]):
        last = step == steps - 1
        content = {"input": source, "passes": part}
        if any(p["method"] in ("wanda", "gptq") for p in part):
            content["calibration"] = {"text": calibration, "samples": 24, "length": 96}
        with open(recipe, "w") as file:
            json.dump(content, file)
        source = out if last else path("pruned")
        vise("run", recipe, "-o", source, "--force")
    good, detail = compare(out, rows)
    wrong, zeros = [], []
    for name, tensor in stored_tensors(path("dequantized")).items():
        if "proj.weight" in name:
            zeros.append((tensor == 0).float().mean().item())
            if keep is not None and ((tensor.reshape(-1, keep[1]) != 0).sum(1) > keep[0]).any():
                wrong.append(name)
    return good and not wrong and min(zeros) >= 0.5, \
        f"{detail}, at least {100 * min(zeros):.0f} % zeros{f'; too many kept in {wrong}' if wrong else ''}"


def one_model(name, folder, calibration, schemes, more=()):
    model, _ = load(folder)
    rows = sample_rows(model, 8, 96)
    if calibration is None:
        calibration = ids_file(model, 24, 96)
    for scheme in schemes:
        for method in ("rtn", "gptq"):
            check(f"compressed-tensors {name} {scheme} {method}", quantized, folder, rows, scheme, method, calibration,
                  *more)
    return rows, calibration


SMOOTH = ("--smooth", "0.5")
METHODS = [("int4-g32", "awq"), ("int4-g32-asym", "awq"), ("int3-g128-asym", "hqq"), ("int2-g32", "hqq"),
           ("int4-channel-asym", "hqq"), ("int4-g32", "gptq", *SMOOTH), ("int8-channel+int8-token", "rtn", *SMOOTH),
           ("int8-channel+int8-token", "awq")]


def other_methods(name, folder, rows, calibration, methods):
    for scheme, method, *more in methods:
        check(f"compressed-tensors {name} {scheme} {' '.join((method, *more))}", quantized, folder, rows, scheme, method,
              calibration, *more)


def fixture():
    rows = torch.randint(3, 105, (4, 96), generator=torch.Generator().manual_seed(2))
    return compare(FIXTURE, rows)


def everything_else(untied, rows, calibration):
    linears = {f"model.layers.{i}.{m}" for i in range(2) for m in
               ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                "mlp.up_proj", "mlp.down_proj")}
    common_options = (untied, rows, "int4-g32", "rtn", calibration)
    check("compressed-tensors untied, head too", quantized, *common_options, "--include", "model.layers.*", "--include",
          "lm_head", expect=linears | {"lm_head"})
    check("compressed-tensors untied, some modules left out", quantized, *common_options, "--exclude",
          "model.layers.1.*", "--exclude", "*.q_proj",
          expect={m for m in linears if ".1." not in m and "q_proj" not in m})
    check("compressed-tensors untied, shards", quantized, *common_options, "--max-shard-size", "60KB", expect=linears)
    for scheme in ("int4-g32", "int4-g32-asym", "int2-g32-asym", "int8-channel"):
        check(f"compressed-tensors untied, {scheme}, dequantize=True", dequantized_by_transformers, untied, rows, scheme)
    check("compressed-tensors untied, packed and unpacked", unpacked, *common_options)
    two_of_four, half = {"method": "magnitude", "pattern": "2:4"}, {"method": "wanda", "sparsity": 0.5}
    for prune, scheme, method in ((two_of_four, "int4-g32", "gptq"), (half, "int4-g32", "gptq"), (half, "int3-g32", "gptq"),
                                  ({**half, "sparsity": None, "pattern": "2:4"}, "int4-g32-asym", "gptq"),
                                  (two_of_four, "int2-g32-asym", "rtn"), (two_of_four, "int8-channel", "gptq")):
        prune = {key: value for key, value in prune.items() if value is not None}
        check(f"compressed-tensors untied, {prune['method']} {prune.get('pattern', '50 %')}, {scheme} {method}", pruned, untied,
              rows, calibration, prune, {"scheme": scheme, "method": method}, (2, 4) if "pattern" in prune else None)
    for prune, scheme, method in ((two_of_four, "int4-g32", "gptq"), (half, "int3-g32", "gptq"), (two_of_four, "int4-g32", "rtn")):
        check(f"compressed-tensors untied, {prune['method']} {prune.get('pattern', '50 %')}, then {scheme} {method}", pruned, untied,
              rows, calibration, prune, {"scheme": scheme, "method": method}, (2, 4) if "pattern" in prune else None, steps=2)


def dequantized_by_transformers(source, rows, scheme):
    """The other way that transformers offers, all by itself: floats from the start. It knows one scheme for all modules."""
    folder = path("quantized")
    vise("quant", source, "-o", folder, "--scheme", scheme, "--force")
    model, wrong = load(folder, quantization_config=transformers.CompressedTensorsConfig(dequantize=True))
    ours, _ = vise_logits(folder, rows)
    far = distance(ours, logits_of(model, rows))
    return not wrong and far <= LIMIT, f"{wrong}logits of the worst position {far:.0e} apart"


def unpacked(source, rows, scheme, method, calibration):
    vise("quant", source, "-o", path("packed"), "--scheme", scheme, "--method", method, "--pack", "--force")
    vise("convert", path("packed"), "-o", path("unpacked"), "--unpack", "--force")
    return compare(path("unpacked"), rows)


check("compressed-tensors file of llm-compressor", fixture)

# One layer: where codes of activations flip, the flip stays at its position.
one = path("one-layer")
make_llama(one, seed=11, hidden_size=128, intermediate_size=256, num_hidden_layers=1)
rows, calibration = one_model("one layer", one, None, ["int8-channel+int8-token", "int8-channel+int8-tensor"])
other_methods("one layer", one, rows, calibration, [("int8-channel+int8-tensor", "rtn", *SMOOTH)])

untied = path("untied")
make_llama(untied, seed=12, hidden_size=128, intermediate_size=256, num_hidden_layers=2)
rows, calibration = one_model("untied", untied, None, SCHEMES)
everything_else(untied, rows, calibration)
other_methods("untied", untied, rows, calibration, METHODS)

biased = path("biased")
make_llama(biased, seed=13, hidden_size=128, intermediate_size=256, num_hidden_layers=2, attention_bias=True, mlp_bias=True,
           tie_word_embeddings=True, dtype=torch.bfloat16)
rows, calibration = one_model("biases, tied, bfloat16", biased, None, ["int4-g32", "int2-g32-asym", "int8-channel+int8-token",
                                                "int8-channel+int8-tensor"])
other_methods("biases, tied, bfloat16", biased, rows, calibration, METHODS[:1] + METHODS[5:7])

half = path("half")
make_llama(half, seed=14, hidden_size=128, intermediate_size=256, num_hidden_layers=2, dtype=torch.float16)
one_model("float16", half, None, ["int4-g128", "int4-g32-asym"])

# Rows of down_proj are 172 long: groups of 32 need an otherwise.
one_model("stories260K, otherwise int8-channel,", EXAMPLE, CALIBRATION, ["int4-g32", "int4-g32-asym", "int3-g32"],
          ("--otherwise", "int8-channel"))
one_model("stories260K, otherwise float,", EXAMPLE, CALIBRATION, ["int4-g32"], ("--otherwise", "float"))
one_model("stories260K", EXAMPLE, CALIBRATION, ["int8-channel", "int8-channel+int8-token"])

books = os.path.join(MODELS, "llama-books")
if os.path.isdir(books):
    one_model("llama-books", books, os.path.join(MODELS, "../data/books/calib.txt"),
              ["int4-g128", "int3-g128", "int2-g32-asym", "int8-channel+int8-token", "int8-channel+int8-tensor"])
else:
    skip("compressed-tensors llama-books", "not found in ../shared/models")
common.finish()
