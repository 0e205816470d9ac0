#!/usr/bin/env python3
"""Small Llamas that auto-round quantizes, in each of its own formats, for check_packed.py.

    build/venv-autoround/bin/python tests/interop/write_autoround.py FOLDER
"""
import os
import sys

import common  # first: it silences what is imported next

import torch
from auto_round import AutoRound
from transformers import AutoModelForCausalLM, AutoTokenizer

CONFIGS = {
    "auto_gptq int4-g32": ("auto_gptq", dict(bits=4, group_size=32)),
    "auto_gptq int4-g32-asym": ("auto_gptq", dict(bits=4, group_size=32, sym=False)),
    "auto_gptq int2-g32": ("auto_gptq", dict(bits=2, group_size=32)),
    "auto_awq int4-g32-asym": ("auto_awq", dict(bits=4, group_size=32, sym=False)),
    "auto_awq int4-g128": ("auto_awq", dict(bits=4, group_size=128)),
    "auto_round int4-g32": ("auto_round", dict(bits=4, group_size=32)),
    "auto_round int2-g32-asym": ("auto_round", dict(bits=2, group_size=32, sym=False)),
    "auto_round int8-g128": ("auto_round", dict(bits=8, group_size=128)),
}


def main():
    folder = sys.argv[1]
    source, rows = common.source_for_peers(folder)
    data = [{"input_ids": row[None], "attention_mask": torch.ones_like(row[None])} for row in rows]
    tokenizer = AutoTokenizer.from_pretrained(source)
    for name, (format, options) in CONFIGS.items():
        model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
        rounder = AutoRound(model, tokenizer, iters=4, seqlen=rows.shape[1], nsamples=len(rows), batch_size=4, dataset=data,
                            device_map="cpu", enable_torch_compile=False, **options)
        rounder.quantize_and_save(os.path.join(folder, "auto-round " + name), format=format)
        print(f"wrote {name}", flush=True)


if __name__ == "__main__":
    main()
