#!/usr/bin/env python3
"""Quantizes a small Llama with llm-compressor, in every way that vise reads, for check_peers.py.

    build/venv-lc/bin/python tests/interop/peers_write.py FOLDER [MODEL...]

Each MODEL, and one that is made at random, is written as FOLDER/<model>/<recipe>, in schemes of integers; those of floats
as FOLDER-floats/<scheme>, of one layer, for check_floats.py.
"""
import json
import os
import sys

import common  # first: it silences what is imported next

import torch
import transformers
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from llmcompressor.modifiers.quantization import QuantizationModifier
from tokenizers import Tokenizer
from tokenizers.models import BPE


def integers(bits, symmetric=True, group=None, activations=None):
    weights = {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group" if group else "channel"}
    if group:
        weights["group_size"] = group
    return {"config_groups": {"group_0": {"targets": ["Linear"], "weights": weights, "input_activations": activations}}}


PRESET = {name.lower(): {"scheme": name, "targets": "Linear"} for name in ("W4A16", "W8A16", "W8A8", "W4A8", "W4A16_ASYM")}
SCHEMES = {**PRESET, "int4-g32": integers(4, group=32), "int4-channel-asym": integers(4, False), "int3-g32": integers(3, group=32),
           "int3-g128-asym": integers(3, False, 128), "int2-g32": integers(2, group=32), "int2-g32-asym": integers(2, False, 32)}


FLOATS = ("FP8", "FP8_DYNAMIC", "FP8_BLOCK", "W4AFP8", "MXFP8A16", "MXFP8", "MXFP4A16", "MXFP4", "NVFP4A16", "NVFP4")


def calibration(source):
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    rows = common.sample_rows(model.float(), 16, 64)
    data = torch.utils.data.DataLoader([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()))  # asked for, never used
    return {"dataset": data, "processor": tokenizer, "num_calibration_samples": len(rows), "max_seq_length": 64}


def write_floats(folder):
    source = os.path.join(folder, "source")
    common.make_llama(source, seed=23, dtype=torch.bfloat16, hidden_size=128, intermediate_size=256, num_hidden_layers=1)
    for scheme in FLOATS:
        model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="auto")
        oneshot(model=model, recipe=QuantizationModifier(ignore=["lm_head"], scheme=scheme, targets="Linear"),
                **calibration(source))
        model.save_pretrained(os.path.join(folder, scheme.lower()), save_compressed=True)
        print(f"wrote {scheme}", flush=True)


def write(source, folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    widths = {n: m.in_features for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    text = calibration(source)
    for name, scheme in SCHEMES.items():
        group = 32 if "g32" in name else 128 if "g128" in name or name.startswith("w4") or "a16" in name else 1
        ignore = ["lm_head"] + [module for module, width in widths.items() if width % group != 0]
        if len(ignore) >= len(widths):
            continue
        for kind, modifier in (("rtn", QuantizationModifier), ("gptq", GPTQModifier)):
            model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype="auto")
            oneshot(model=model, recipe=modifier(ignore=ignore, **scheme), **({} if kind == "rtn" else text))
            out = os.path.join(folder, f"{name}-{kind}")
            model.save_pretrained(out, save_compressed=True)
            print(f"wrote {os.path.relpath(out, folder)}", flush=True)


CACHES = {"fp8-e4m3-tensor": ("float", "tensor"), "fp8-e4m3-head": ("float", "attn_head"), "int8-tensor": ("int", "tensor"),
          "int8-head": ("int", "attn_head")}


def write_caches(folder):
    """Scales of the key-value cache alone, in float32; of one layer: llm-compressor measures the others on the float model,
    vise behind the quantized cache of those in front. The windows lie beside the source."""
    source = os.path.join(folder, "source")
    common.make_llama(source, seed=22, hidden_size=128, intermediate_size=256, num_hidden_layers=1)
    rows = common.sample_rows(transformers.AutoModelForCausalLM.from_pretrained(source), 16, 64)
    with open(os.path.join(source, "rows.jsonl"), "w") as file:
        file.writelines(json.dumps({"input_ids": row}) + "\n" for row in rows.tolist())
    data = torch.utils.data.DataLoader([{"input_ids": row, "attention_mask": torch.ones_like(row)} for row in rows])
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE()))
    for name, (kind, strategy) in CACHES.items():
        cache = {"num_bits": 8, "type": kind, "strategy": strategy, "dynamic": False, "symmetric": True,
                 "observer": "static_minmax"}  # the default is a moving average
        model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
        oneshot(model=model, recipe=QuantizationModifier(ignore=["lm_head"], targets=[], kv_cache_scheme=cache), dataset=data,
                processor=tokenizer, num_calibration_samples=len(rows), max_seq_length=64)
        model.save_pretrained(os.path.join(folder, name), save_compressed=True)
        print(f"wrote {name}", flush=True)


def main():
    folder, models = sys.argv[1], sys.argv[2:]
    made = os.path.join(folder, "made")
    common.make_llama(os.path.join(made, "source"), seed=21, dtype=torch.bfloat16, hidden_size=128, intermediate_size=256,
                      num_hidden_layers=2)
    write(os.path.join(made, "source"), made)
    write_caches(os.path.join(folder, "cache"))
    write_floats(folder + "-floats")
    for model in models:
        write(model, os.path.join(folder, os.path.basename(model.rstrip("/"))))


main()
