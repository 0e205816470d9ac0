#!/usr/bin/env python3
"""`vise eval --ids --save-logits` beside transformers' logits: models that are found, and Llamas that transformers makes."""
import math
import os

import torch

import common
from common import EXAMPLE, LIMIT, MODELS, check, distance, load, logits_of, nll, path, sample_rows, skip, vise_logits

FOUND = ["llama-books", "llama-stories260K", "llama-stories260K/sharded", "llama-baby105", "llama-baby105/sharded",
         "llama-baby105/bf16", "llama-baby105/f16"]

ROPE = {"rope_type": "default", "rope_theta": 500000.0}
MADE = {
    "made, untied": dict(),
    "made, tied": dict(tie_word_embeddings=True),
    "made, one key-value head": dict(num_key_value_heads=1),
    "made, two heads a key-value head": dict(num_key_value_heads=4),
    "made, four heads a key-value head": dict(num_key_value_heads=2),
    "made, as many key-value heads": dict(num_key_value_heads=8),
    "made, attention biases": dict(attention_bias=True),
    "made, MLP biases": dict(mlp_bias=True, tie_word_embeddings=True),
    "made, all biases": dict(attention_bias=True, mlp_bias=True, num_key_value_heads=2),
    "made, wide heads": dict(head_dim=24, num_attention_heads=4, num_key_value_heads=2),
    "made, narrow heads": dict(head_dim=4, attention_bias=True),
    "made, other rotary base": dict(rope_parameters=ROPE, rms_norm_eps=1e-3),
    "made, odd sizes": dict(hidden_size=72, intermediate_size=100, num_attention_heads=3, num_key_value_heads=1,
                            vocab_size=101),
    "made, one layer, bfloat16": dict(num_hidden_layers=1, dtype=torch.bfloat16),
    "made, float16, shards": dict(dtype=torch.float16, max_shard_size="40KB"),
    "made, shards": dict(max_shard_size="60KB", num_hidden_layers=5),
    "made, tied, shards": dict(max_shard_size="60KB", tie_word_embeddings=True),
}


def same_logits(model, wrong, folder, rows):
    ours, figures = vise_logits(folder, rows)
    theirs = logits_of(model, rows)
    far, mean = distance(ours, theirs), nll(theirs, rows)
    off = abs(math.log(figures["perplexity"]["after"]) / mean - 1)
    return not wrong and far <= LIMIT and off <= 1e-4, f"{wrong}{rows.shape[0]} x {rows.shape[1]} tokens, NLL {mean:.4f} " \
        f"(relative difference {off:.0e}), logits of the worst position {far:.0e} apart"


def found(folder):
    model, wrong = load(folder)
    length = min(model.config.max_position_embeddings, 256)
    return same_logits(model, wrong, folder, sample_rows(model, 4, length))


def made(name, options):
    folder = path(name.replace(" ", "-"))
    model = common.make_llama(folder, seed=hash_of(name), **options)
    shards = len([f for f in os.listdir(folder) if f.endswith(".safetensors")])
    if ("shards" in name) != (shards > 1):
        return False, f"transformers wrote {shards} files"
    rows = torch.randint(0, model.config.vocab_size, (3, 96), generator=torch.Generator().manual_seed(3))
    again, wrong = load(folder)
    return same_logits(again, wrong, folder, rows)


def hash_of(text):
    return sum(ord(c) * (i + 1) for i, c in enumerate(text))


check("logits examples/stories260K", found, EXAMPLE)
for name in FOUND:
    folder = os.path.join(MODELS, name)
    if os.path.isdir(folder):
        check(f"logits {name}", found, folder)
    else:
        skip(f"logits {name}", "not found in ../shared/models")
for name, options in MADE.items():
    check(f"logits {name}", made, name, options)
common.finish()
