#!/usr/bin/env python3
"""Makes tests/data/llmcompressor-int again (its SOURCE.txt says what it is), byte for byte:

    build/venv-lc/bin/python tests/data/make_llm_compressor_fixture.py MODEL OUT

in the environment that tests/interop/run-peers.sh makes. MODEL is llama-baby105 in bfloat16.
"""
import hashlib
import json
import os
import sys

import torch
import transformers
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from compressed_tensors.quantization import QuantizationScheme
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from safetensors.torch import load_file


def weights(bits, symmetric, group=None):
    return {"num_bits": bits, "type": "int", "symmetric": symmetric, "strategy": "group" if group else "channel",
            **({"group_size": group} if group else {})}


GROUPS = {"group_0": {"targets": [r"re:.*self_attn\.[qkvo]_proj$"], "weights": weights(3, True)},
          "group_1": {"targets": [r"re:.*mlp\..*_proj"], "weights": weights(4, False, 32)}}


def write(source, folder):
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    model.model.layers = model.model.layers[:1]
    oneshot(model=model, recipe=QuantizationModifier(ignore=["lm_head"], config_groups=GROUPS))
    model.save_pretrained(folder, save_compressed=True)
    path = os.path.join(folder, "config.json")
    config = json.load(open(path))
    config["num_hidden_layers"] = 1
    with open(path, "w") as file:
        json.dump(config, file, indent=2, sort_keys=True)
    for extra in set(os.listdir(folder)) - {"config.json", "model.safetensors"}:
        os.remove(os.path.join(folder, extra))


def describe(folder):
    """decoded.txt: module, rows, columns, SHA-256 of the bfloat16 bytes of each weight as the library decodes it."""
    tensors = load_file(os.path.join(folder, "model.safetensors"))
    lines = []
    for name in sorted(n[:-len(".weight_packed")] for n in tensors if n.endswith(".weight_packed")):
        state = {key[len(name) + 1:]: tensor for key, tensor in tensors.items() if key.startswith(name + ".")}
        group = GROUPS["group_0" if "self_attn" in name else "group_1"]
        decoded = PackedQuantizationCompressor.decompress(state, QuantizationScheme(**group))["weight"]
        digest = hashlib.sha256(decoded.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
        lines.append(f"{name} {decoded.shape[0]} {decoded.shape[1]} {digest}\n")
    with open(os.path.join(folder, "decoded.txt"), "w") as file:
        file.writelines(lines)


write(*sys.argv[1:3])
describe(sys.argv[2])
