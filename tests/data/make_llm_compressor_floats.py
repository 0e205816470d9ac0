#!/usr/bin/env python3
"""Makes tests/data/llmcompressor-fp8-kv, -mxfp4 and -nvfp4 again, and with --all one folder for each scheme that
llm-compressor 0.14 writes on a processor, which tests/interop/check_floats.py FOLDER... checks as well:

    build/venv-lc/bin/python tests/data/make_llm_compressor_floats.py OUT [--all]

in the environment that tests/interop/run-peers.sh makes. The model is a Llama of one layer drawn at random, in bfloat16.
"""
import os
import sys
import tempfile

import torch
import transformers
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FEW = ["FP8-kv", "MXFP4", "NVFP4"]
PRESETS = ["FP8", "FP8_DYNAMIC", "FP8_BLOCK", "NVFP4A16", "MXFP4A16", "MXFP8", "MXFP8A16", "W8A8", "W8A16", "W4A16",
           "W4A16_ASYM", "W3A16", "W2A16", "W5A16", "W6A16", "W7A16", "W4A8", "W4A4", "W2A8", "W3A4", "W4AFP8"]
OTHERS = {"int8-static": ({"type": "int", "strategy": "channel"}, {"type": "int", "strategy": "tensor", "dynamic": False}),
          "int8-tensor": ({"type": "int", "strategy": "tensor"}, {"type": "int", "strategy": "token", "dynamic": True}),
          "int8-asym": ({"type": "int", "strategy": "channel", "symmetric": False}, None),
          "fp8-weights": ({"type": "float", "strategy": "tensor"}, None)}
CACHE = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}


def source(folder, hidden, inner):
    torch.manual_seed(3)
    config = transformers.LlamaConfig(vocab_size=64, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=1,
                                      num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128,
                                      bos_token_id=1, eos_token_id=2, tie_word_embeddings=False)
    model = transformers.LlamaForCausalLM(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.3 * noise if "norm" in name else noise / parameter.shape[-1] ** 0.5)
    model.to(torch.bfloat16).save_pretrained(folder)


def recipe(name):
    if name in OTHERS:
        weights, inputs = (args and QuantizationArgs(num_bits=8, **args) for args in OTHERS[name])
        group = QuantizationScheme(targets=["Linear"], weights=weights, input_activations=inputs)
        return QuantizationModifier(ignore=["lm_head"], config_groups={"group_0": group})
    cache = {"kv_cache_scheme": CACHE} if name.endswith("-kv") else {}
    return QuantizationModifier(ignore=["lm_head"], targets="Linear", scheme=name.removesuffix("-kv"), **cache)


def write(folder, names, hidden, inner):
    ids = torch.randint(3, 60, (16, 64), generator=torch.Generator().manual_seed(1))
    data = Dataset.from_dict({"input_ids": ids.tolist(), "attention_mask": torch.ones_like(ids).tolist()})
    tokenizer = transformers.AutoTokenizer.from_pretrained(os.path.join(ROOT, "examples/stories260K"))
    with tempfile.TemporaryDirectory() as scratch:
        source(scratch, hidden, inner)
        for name in names:
            model = transformers.AutoModelForCausalLM.from_pretrained(scratch, dtype=torch.bfloat16)
            out = os.path.join(folder, "llmcompressor-" + name.lower().replace("_", "-"))
            oneshot(model=model, tokenizer=tokenizer, recipe=recipe(name), dataset=data, num_calibration_samples=16,
                    max_seq_length=64)
            model.save_pretrained(out, save_compressed=True)
            for extra in set(os.listdir(out)) - {"config.json", "model.safetensors"}:
                os.remove(os.path.join(out, extra))


if "--all" in sys.argv:
    write(sys.argv[1], FEW + PRESETS + list(OTHERS), 128, 256)
else:
    write(sys.argv[1], FEW, 64, 96)
