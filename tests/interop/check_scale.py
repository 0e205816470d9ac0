#!/usr/bin/env python3
"""Scales of channels, fused into the weights: `--smooth` and `--method awq` must leave what every family computes as it
is, biases and norms that are stored as their distance from 1 among it. Weights of 8 bits in groups of 4 show it: the
logits are as near to the float model's as without scales. transformers loads the same file to the same logits."""
import torch

import common
from check_architectures import LM, MODELS, make
from common import LIMIT, ViseError, check, distance, logits_of, path, vise, vise_logits
from compressed import load_compressed, stored_tensors

ROWS = torch.randint(3, 110, (4, 64), generator=torch.Generator().manual_seed(9))
SCALED = {"--smooth": ["--method", "rtn", "--smooth", "0.5"], "awq": ["--method", "awq"]}
# A token that is routed to other experts tells nothing of scales: beside the float model the attention alone is quantized.
ROUTED = {"mixtral", "qwen2_moe", "qwen3_moe"}
UNSCALED = {("gpt_neox", 0), ("opt", 1)}  # parallel halves; norms behind the halves, and no biases


def quantized(folder, *how):
    vise("quant", folder, "-o", path("q"), "--scheme", "int8-g4", *how, "--force")
    return vise_logits(path("q"), ROWS)[0]


def scaled(folder, model, how, family, number):
    floats = logits_of(model, ROWS)
    only = ["--include", "*self_attn*"] if family in ROUTED else []
    how = [*how, "--calibration", path("rows.jsonl"), "--samples", "4", "--length", "64"]
    plain = distance(quantized(folder, *only), floats)
    before = stored_tensors(path("q"))
    off = distance(quantized(folder, *how, *only), floats)
    after = stored_tensors(path("q"))
    changed = sum(not torch.equal(tensor, before[name]) for name, tensor in after.items() if "weight_" not in name)
    ours = quantized(folder, *how)
    loaded, wrong = load_compressed(path("q"))
    far = distance(ours, logits_of(loaded, ROWS))
    good = not wrong and far <= LIMIT and off <= 1.5 * plain and (changed == 0) == ((family, number) in UNSCALED)
    return good, f"{wrong}transformers {far:.0e} apart, the float model {off:.1e} (unscaled {plain:.1e}), " \
        f"{changed} norms and biases changed"


def refused(folder):
    """Its linears read their weight themselves, so that no compressed-tensors file of it runs there."""
    try:
        vise("quant", folder, "-o", path("q"), "--scheme", "int8-channel", "--target", "transformers", "--force")
    except ViseError as error:
        return "ended with 5" in str(error) and "multiplies by weights itself" in str(error), ""
    return False, "not refused"


def main():
    with open(path("rows.jsonl"), "w") as file:
        file.writelines(f'{{"input_ids": {row}}}\n' for row in ROWS.tolist())
    for family, prefix, suffix, variants in MODELS:
        if suffix != LM or family == "gpt2":
            continue
        for number, options in enumerate(variants[:2]):
            folder = path(f"{family}-{number}")
            model = make(family, prefix, suffix, options)
            model.save_pretrained(folder)
            if family == "falcon":
                check(f"Falcon {number} is refused for transformers", refused, folder)
                continue
            name = list(SCALED)[number]
            check(f"{name} of {prefix + suffix} {number}", scaled, folder, model, SCALED[name], family, number)
    common.finish()


main()
