#!/usr/bin/env python3
"""Files in the layouts gptq, gptq-v2, awq and auto-round's own, in transformers with the library that its loaders ask for.

    build/venv-gptqmodel/bin/python tests/interop/check_packed.py gptqmodel FOLDER    through gptqmodel
    build/venv-autoround/bin/python tests/interop/check_packed.py autoround FOLDER    through auto-round

gptqmodel: what vise writes, and what GPTQModel and auto-round have written into FOLDER, loads with the logits that vise
gives. autoround: so do FOLDER's files in auto-round's own format. Kernels compute in float32 here, as vise does, with
scales as they are stored: AWQ's would round everything to float16.
"""
import glob
import os
import sys

os.cpu_count = lambda: 4  # GPTQModel refuses two cores
import common  # first: it silences what is imported next
from common import LIMIT, check, distance, load, logits_of, make_llama, path, sample_rows, vise, vise_logits

import json
import torch
import transformers

KIND, FOLDER = sys.argv[1:3]
OURS = {
    "gptq": (("int4-g32", "rtn"), ("int4-g128", "gptq"), ("int4-g32-asym", "gptq"), ("int4-g32", "awq"), ("int3-g32", "gptq"),
             ("int2-g32", "hqq"), ("int8-channel", "rtn")),
    "gptq-v2": (("int4-g32-asym", "gptq"), ("int3-g32-asym", "rtn"), ("int2-g32-asym", "hqq")),
    "awq": (("int4-g32-asym", "awq"), ("int4-g64", "rtn"), ("int4-g128-asym", "gptq"), ("int4-g32-asym", "hqq")),
}


def config_of(folder):
    with open(os.path.join(folder, "config.json")) as file:
        return json.load(file)["quantization_config"]


def exact(model):
    """In float32: scales that are buffers, frequencies that auto-round rounds with the model, and AWQ's kernel, which
    knows 16 bits alone."""
    torch.nn.Module.float(model)
    model.model.rotary_emb = type(model.model.rotary_emb)(model.config)
    for module in model.modules():
        if type(module).__name__ == "AwqTorchLinear":
            from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
            weight = dequantize_gemm(module.qweight, module.qzeros, module.scales, module.bits, module.group_size).T
            module.forward = lambda x, weight=weight, bias=module.bias: torch.nn.functional.linear(x, weight, bias)
    return model


def same(folder, rows, count=14):
    config, options = config_of(folder), {}
    if KIND == "gptqmodel":  # not the kernels that it would compile here
        make = transformers.AwqConfig if config["quant_method"] == "awq" else transformers.GPTQConfig
        options["quantization_config"] = make(bits=config["bits"], backend="torch_awq" if make is transformers.AwqConfig else "torch")
    model, wrong = load(folder, **options)
    quantized = [module for module in model.modules() if hasattr(module, "qweight")]
    far = distance(vise_logits(folder, rows)[0], logits_of(exact(model), rows))
    return not wrong and far <= LIMIT and len(quantized) == count, \
        f"{wrong}{len(quantized)} {type(quantized[0]).__name__ if quantized else 'modules'}, logits of the worst position {far:.0e} apart"


def written(source, rows, layout, scheme, method, text):
    vise("quant", source, "-o", path("q"), "--scheme", scheme, "--layout", layout, "--method", method,
         *([] if method in ("rtn", "hqq") else text), "--force")
    return same(path("q"), rows)


def check_ours():
    for name, dtype, more in (("float16", torch.float16, {}),
                              ("bfloat16, biases", torch.bfloat16, dict(attention_bias=True, mlp_bias=True))):
        model = make_llama(path("source"), seed=22, dtype=dtype, hidden_size=128, intermediate_size=256, num_hidden_layers=2, **more)
        rows = sample_rows(model, 4, 64)
        with open(path("rows.jsonl"), "w") as file:
            file.writelines(f'{{"input_ids": {row}}}\n' for row in sample_rows(model, 8, 64, seed=5).tolist())
        text = ["--calibration", path("rows.jsonl"), "--samples", "8", "--length", "64"]
        for layout, kinds in OURS.items():
            for scheme, method in kinds[:2] if more else kinds:
                check(f"transformers loads {name} {layout} {scheme} {method}", written, path("source"), rows, layout, scheme,
                      method, text)


def check_theirs():
    rows = torch.randint(3, 96, (4, 64), generator=torch.Generator().manual_seed(4))
    found = 0
    for folder in sorted(glob.glob(os.path.join(FOLDER, "**/config.json"), recursive=True)):
        folder = os.path.dirname(folder)
        name = os.path.relpath(folder, FOLDER).split("/")[0]
        if name != "source" and (config_of(folder)["quant_method"] == "auto-round") == (KIND == "autoround"):
            check(f"reads {name}", same, folder, rows)
            found += 1
    if found == 0:
        check("reads what was written", lambda: (False, f"nothing in {FOLDER}"))


if KIND == "gptqmodel":
    check_ours()
check_theirs()
common.finish()
