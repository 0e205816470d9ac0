#!/usr/bin/env python3
"""Makes tests/data/torch: checkpoints that torch 2.13 wrote, and expected.safetensors with the same tensors in order.

    build/venv/bin/python tests/data/make_torch_fixtures.py

The bytes do not depend on the day: every run makes the same tensors, and the archives differ in nothing but the id that
torch draws for each (.data/serialization_id)."""
import collections
import json
import os

import torch
import transformers
from safetensors.torch import save_file

here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "torch")
for folder in ("sharded", "llama"):
    os.makedirs(os.path.join(here, folder), exist_ok=True)
torch.manual_seed(1)


def at(*names):
    return os.path.join(here, *names)


base = torch.randn(6, 5)
cube = torch.randn(3, 4, 5)
tensors = collections.OrderedDict(
    plain=base, transposed=base.t(), columns=base[:, 1:4], every_second=base[::2, ::2], row=base[3], scalar=base[2, 2],
    empty=torch.zeros(0, 3), one=torch.ones(1), repeated=torch.arange(4.)[None, :].expand(3, 4),
    permuted=cube.permute(2, 0, 1), turned=cube.permute(1, 2, 0)[1:, ::2], shared=base,
    parameter=torch.nn.Parameter(torch.randn(2, 3)), half=torch.randn(7).half(), bfloat=torch.randn(4, 2).bfloat16().t(),
    double=torch.randn(3).double(), long=torch.arange(-3, 4), int=torch.arange(3, dtype=torch.int32),
    short=torch.arange(3, dtype=torch.int16), char=torch.arange(-2, 2, dtype=torch.int8),
    byte=torch.arange(250, 256, dtype=torch.uint8), bool=torch.tensor([True, False, True]),
    complex=torch.randn(2, dtype=torch.complex64), uint16=torch.arange(5).to(torch.uint16),
    uint32=torch.arange(5).to(torch.uint32), uint64=torch.arange(5).to(torch.uint64),
    f8_e4m3=torch.randn(2, 8).to(torch.float8_e4m3fn).t(), f8_e5m2=torch.randn(8).to(torch.float8_e5m2),
    window=torch.randn(10)[4:7])
tensors["name with / and é"] = torch.arange(3.)
with_state = torch.nn.Parameter(torch.randn(2, 2))
with_state.mark = "a text"
tensors["with_state"] = with_state
of_type = torch.randn(2, 2)
of_type.mark = {"a": 1}
tensors["of_type"] = of_type
tensors._metadata = collections.OrderedDict({"": {"version": 1}})

save_file({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, at("expected.safetensors"))
torch.save(tensors, at("zip.pt"))
for protocol in (3, 4, 5):
    torch.save(tensors, at(f"protocol{protocol}.pth"), pickle_protocol=protocol)
torch.save(tensors, at("legacy.bin"), _use_new_zipfile_serialization=False)

# A checkpoint of a training run: values of every kind beside the model, which a wrapper has given a prefix.
layer = torch.nn.Linear(3, 2)
optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1)
layer(torch.ones(3)).sum().backward()
optimizer.step()
save_file({name: tensor.clone() for name, tensor in layer.state_dict().items()}, at("model.safetensors"))
torch.save({"epoch": 3, "loss": 0.5, "large": 1 << 70, "name": "run", "none": None, "size": torch.Size([3, 2]),
            "dtype": torch.bfloat16, "device": torch.device("cpu"), "bytes": b"abc", "set": {1, 2}, "list": [1, [2, "x"]],
            "model": {"module." + name: tensor for name, tensor in layer.state_dict().items()},
            "optimizer": optimizer.state_dict(), "rng_state": torch.get_rng_state()[:8].clone()},
           at("checkpoint.ckpt"), pickle_protocol=4)
torch.save({"model": {"state_dict": layer.state_dict()}}, at("nested.pt"))

# Shards, as transformers named them.
state = layer.state_dict()
for i, name in enumerate(state):
    torch.save({name: state[name]}, at("sharded", f"pytorch_model-0000{i + 1}-of-00002.bin"))
with open(at("sharded", "pytorch_model.bin.index.json"), "w") as file:
    json.dump({"metadata": {"total_size": 32},
               "weight_map": {name: f"pytorch_model-0000{i + 1}-of-00002.bin" for i, name in enumerate(state)}}, file)

# A tied Llama as transformers 4 saved it (the head is there, as the same storage), some matrices stored transposed.
sizes = dict(vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2)
config = transformers.LlamaConfig(**sizes, tie_word_embeddings=True, max_position_embeddings=64, dtype="bfloat16")
llama = transformers.LlamaForCausalLM(config).bfloat16()
llama.save_pretrained(at("llama-safetensors"))
llama.config.save_pretrained(at("llama"))
state = llama.state_dict()
for name in state:
    if "mlp" in name:
        state[name] = state[name].t().contiguous().t()
torch.save(state, at("llama", "pytorch_model.bin"))

# What is refused.
torch.save({"a": torch.zeros(2, dtype=torch.complex64).conj()}, at("conjugated.pt"))
torch.save({"a": torch.zeros(2, dtype=torch.complex128)}, at("complex128.pt"))
torch.save({"a": torch.eye(2).to_sparse()}, at("sparse.pt"))
torch.save(layer, at("module.pt"))
torch.save(torch.ones(2), at("tensor.pt"))
torch.jit.save(torch.jit.script(layer), at("script.pt"))
torch.utils.serialization.config.save.storage_alignment = 4096
torch.serialization.set_crc32_options(False)
torch.save({"a": torch.arange(3.)}, at("no_checksums.pt"))
