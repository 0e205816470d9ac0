#!/usr/bin/env python3
"""`--rotate`: a rotated model must compute what it computed before, in transformers and in vise, for every family whose
norms allow it; the others must be refused. Norms and biases are random, and sizes no powers of two among them."""
import os
import subprocess

import torch
import transformers

import common
from check_architectures import LM, MODELS, make, run_vise
from common import VISE, check, load, logits_of, make_llama, path

LIMIT = 1e-4  # of the largest logit
FOLDS = {"llama", "mistral", "qwen2", "qwen3", "smollm3", "phi3", "gemma", "mixtral", "qwen2_moe", "qwen3_moe"}
# hidden, heads, head_dim: Paley's orders times powers of two, and orders that have no cheap Hadamard matrix
SIZES = {"12 x 6": (72, 3, 24), "28 x 8": (224, 4, 56), "25 x 4": (100, 4, 50), "13 x 2": (26, 2, 26)}
REFUSED = {"gemma2": "normed before they are added", "gpt2": "take the mean away", "bert": "take the mean away"}


def rotated(folder, which, seed=1):
    out = folder + "-" + which
    common.vise("convert", folder, "-o", out, "--rotate", which, "--seed", seed)
    return out


def same(model, folder, which):
    rows = torch.randint(3, model.config.vocab_size, (3, 70), generator=torch.Generator().manual_seed(7))
    expected = logits_of(model, rows)
    out = rotated(folder, which)
    again, wrong = load(out)
    ours, problem = run_vise(VISE, out, rows.tolist())
    if problem or wrong:
        return False, f"{problem} {wrong}"
    largest = expected.abs().max()
    off = max(((x - expected).abs().max() / largest).item() for x in (ours, logits_of(again, rows)))
    changed = not torch.equal(again.state_dict()["model.layers.0.self_attn.q_proj.weight"],
                              model.state_dict()["model.layers.0.self_attn.q_proj.weight"]) \
        if "model.layers.0.self_attn.q_proj.weight" in model.state_dict() else True
    return off <= LIMIT and changed, f"logits {off:.1e} of the largest apart"


def family(name, prefix, suffix, options, number, which):
    folder = path(f"{name}-{number}")
    model = make(name, prefix, suffix, options)
    model.save_pretrained(folder)
    return same(load(folder)[0], folder, which)


def sized(hidden, heads, head_dim):
    folder = path(f"sized-{hidden}")
    model = make_llama(folder, hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=heads // 2 or 1
                       if heads % 2 == 0 else 1, head_dim=head_dim, tie_word_embeddings=True, attention_bias=True,
                       mlp_bias=True)
    return same(model, folder, "r1+r2")


def refused(name, prefix, suffix, options, why):
    folder = path(f"refused-{name}")
    make(name, prefix, suffix, options).save_pretrained(folder)
    run = subprocess.run([VISE, "convert", folder, "-o", folder + "-out", "--rotate", "r1", "--quiet"],
                         capture_output=True, text=True)
    return run.returncode == 5 and why in run.stderr and not os.path.exists(folder + "-out"), \
        f"exit {run.returncode}: {run.stderr.strip()[-120:]}"


for name, prefix, suffix, variants in MODELS:
    if name in FOLDS and suffix == LM:
        for number, options in enumerate(variants[:2]):
            check(f"rotation of {name} {number}", family, name, prefix, suffix, options, number,
                  "r1" if number % 2 else "r1+r2")
    if name in REFUSED:
        check(f"rotation of {name} is refused", refused, name, prefix, suffix, variants[0], REFUSED.pop(name))
for name, sizes in SIZES.items():
    check(f"rotation of hidden {sizes[0]}, heads of {sizes[2]}", sized, *sizes)
common.finish()
