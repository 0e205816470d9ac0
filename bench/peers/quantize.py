#!/usr/bin/env python3
"""The peers of bench_quality.sh, each in its own virtual environment: GPTQModel (gptq, gptaq) and auto-round, on windows of
ours, written in the layout gptq.

    quantize.py gptq|gptaq|autoround MODEL TEXT SKIP SAMPLES SCHEME OUT

SCHEME is int<bits>-g<group> or int<bits>-g<group>-asym; a window is BOS and 255 tokens of TEXT, the first one the SKIP-th.
Prints seconds and peak MB.
"""
import os

os.cpu_count = lambda: 4  # GPTQModel refuses two cores
os.environ.setdefault("HF_HUB_OFFLINE", "1")
import resource
import sys
import time

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

LENGTH = 256


def windows(model, text, skip, samples):
    tokenizer = AutoTokenizer.from_pretrained(model)
    with open(text, encoding="utf-8") as file:
        ids = tokenizer(file.read(), add_special_tokens=False)["input_ids"]
    step = LENGTH - 1
    return tokenizer, [[tokenizer.bos_token_id] + ids[i * step:(i + 1) * step] for i in range(skip, skip + samples)]


def gptqmodel(method, source, rows, bits, group, symmetric, out):
    from gptqmodel import GPTQModel
    from gptqmodel.quantization import GPTAQConfig, GPTQConfig
    more = {"gptaq": GPTAQConfig()} if method == "gptaq" else {}
    config = GPTQConfig(bits=bits, group_size=group, sym=symmetric, **more)
    model = GPTQModel.load(source, config)
    model.quantize([{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows], batch_size=8)
    model.save(out)


def autoround(source, tokenizer, rows, bits, group, symmetric, out):
    from auto_round import AutoRound
    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    data = [{"input_ids": torch.tensor([row]), "attention_mask": torch.ones(1, len(row), dtype=torch.long)} for row in rows]
    rounder = AutoRound(model, tokenizer, bits=bits, group_size=group, sym=symmetric, iters=200, seqlen=LENGTH,
                        nsamples=len(rows), batch_size=8, dataset=data, device_map="cpu", enable_torch_compile=False)
    rounder.quantize_and_save(out, format="auto_gptq")


def main():
    method, source, text, skip, samples, scheme, out = sys.argv[1:]
    tokenizer, rows = windows(source, text, int(skip), int(samples))
    bits, group, symmetric = int(scheme[3]), int(scheme.split("-")[1][1:]), not scheme.endswith("-asym")
    start = time.time()
    if method == "autoround":
        autoround(source, tokenizer, rows, bits, group, symmetric, out)
    else:
        gptqmodel(method, source, rows, bits, group, symmetric, out)
    print("seconds", round(time.time() - start, 1), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1000)


if __name__ == "__main__":
    main()
