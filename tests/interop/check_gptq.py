#!/usr/bin/env python3
"""The layouts gptq, gptq-v2 and awq: their files are unpacked here, in numpy, from the description of the formats alone,
to the integers, zero points and scales that compressed-tensors' own library unpacks from the same model in its layout, and
to the weights that `vise convert --dequantize` gives. Conversions among the four layouts end where they began, byte for
byte, and act-order written by hand is read as it is meant."""
import json
import os

import common  # first: it silences what is imported next
from common import check, make_llama, path, vise

import numpy as np
import torch
from compressed_tensors.compressors.pack_quantized.helpers import unpack_from_int32
from safetensors.torch import load_file, save_file

ORDER = (0, 2, 4, 6, 1, 3, 5, 7)


def stream(words, count, bits):
    """Codes of dense streams of bits, least significant first, along axis 0 of uint32 [words, columns]."""
    wide = np.concatenate([words.astype(np.uint64), np.zeros((1, words.shape[1]), np.uint64)])
    at = np.arange(count) * bits
    pair = wide[at // 32] | wide[at // 32 + 1] << np.uint64(32)
    return (pair >> (at % 32).astype(np.uint64)[:, None] & np.uint64((1 << bits) - 1)).astype(np.int64)


def unsigned(tensor):
    return tensor.numpy().view(np.uint32)


def unpack_gptq(tensors, module, bits, version):
    qweight, qzeros = unsigned(tensors[module + ".qweight"]), unsigned(tensors[module + ".qzeros"])
    scales, g_idx = tensors[module + ".scales"].numpy(), tensors[module + ".g_idx"].numpy()
    rows = scales.shape[1]
    codes = stream(qweight, len(g_idx), bits).T
    zeros = stream(qzeros.T, rows, bits) + (version == 1)
    return codes, zeros, scales.T.astype(np.float32), g_idx


def unpack_awq(tensors, module, bits, version):
    def nibbles(words):
        out = np.zeros((words.shape[0], words.shape[1] * 8), np.int64)
        for i, feature in enumerate(ORDER):
            out[:, feature::8] = words >> np.uint32(4 * i) & 15
        return out
    codes, zeros = nibbles(unsigned(tensors[module + ".qweight"])).T, nibbles(unsigned(tensors[module + ".qzeros"])).T
    scales = tensors[module + ".scales"].numpy().T.astype(np.float32)
    return codes, zeros, scales, np.arange(codes.shape[1]) // (codes.shape[1] // scales.shape[1])


def unpack_compressed(tensors, module, bits):
    """By compressed-tensors itself."""
    shape = torch.Size(tensors[module + ".weight_shape"].tolist())
    codes = unpack_from_int32(tensors[module + ".weight_packed"], bits, shape).to(torch.int64) + 2 ** (bits - 1)
    scales = tensors[module + ".weight_scale"]
    zeros = torch.full(scales.shape, 2 ** (bits - 1), dtype=torch.int64)
    if module + ".weight_zero_point" in tensors:
        zeros = unpack_from_int32(tensors[module + ".weight_zero_point"], bits, scales.shape, packed_dim=0).to(
            torch.int64) + 2 ** (bits - 1)
    return codes.numpy(), zeros.numpy(), scales.float().numpy()


def stored(folder):
    return load_file(os.path.join(folder, "model.safetensors"))


def modules(tensors, suffix):
    return sorted(name[:-len(suffix)] for name in tensors if name.endswith(suffix))


def values(codes, zeros, scales, g_idx):
    return (codes - zeros[:, g_idx]).astype(np.float32) * scales[:, g_idx]


UNPACK = {"gptq": (unpack_gptq, 1), "gptq-v2": (unpack_gptq, 2), "awq": (unpack_awq, 0)}


def unpacked(source, scheme, layout, method="rtn"):
    bits = int(scheme[3])
    unpack, version = UNPACK[layout]
    text = [] if method in ("rtn", "hqq") else ["--calibration", path("rows.jsonl"), "--samples", "8", "--length", "64"]
    vise("quant", source, "-o", path("q"), "--scheme", scheme, "--layout", layout, "--method", method, *text, "--force")
    vise("convert", path("q"), "-o", path("ct"), "--layout", "compressed-tensors", "--force")
    vise("convert", path("q"), "-o", path("f"), "--dequantize", "--dtype", "f32", "--force")
    tensors, compressed, plain = stored(path("q")), stored(path("ct")), stored(path("f"))
    names = modules(tensors, ".qweight")
    for name in names:
        got = unpack(tensors, name, bits, version)
        for ours, theirs, what in zip(got, unpack_compressed(compressed, name, bits), ("codes", "zeros", "scales")):
            if ours.shape != theirs.shape or (ours != theirs).any():
                return False, f"{name}: {what} differ"
        if (values(*got) != plain[name + ".weight"].numpy()).any():
            return False, f"{name}: values differ"
    if len(names) != 14:
        return False, f"{len(names)} quantized modules"
    with open(os.path.join(path("q"), "config.json")) as file:
        config = json.load(file)["quantization_config"]
    if layout != "awq":
        with open(os.path.join(path("q"), "quantize_config.json")) as file:
            if json.load(file) != config:
                return False, "quantize_config.json is not what config.json says"
    return True, f"{len(names)} modules, config {config['quant_method']} {config['bits']} {config['group_size']}"


def around(source, scheme, chain):
    vise("quant", source, "-o", path("0"), "--scheme", scheme, "--layout", chain[0], "--force")
    for i, layout in enumerate(chain[1:] + chain[:1]):
        vise("convert", path(str(i)), "-o", path(str(i + 1)), "--layout", layout, "--force")
    with open(os.path.join(path("0"), "model.safetensors"), "rb") as a, \
            open(os.path.join(path(str(len(chain))), "model.safetensors"), "rb") as b:
        return a.read() == b.read(), " > ".join(chain)


def act_order(source):
    """The groups of a file of ours are dealt out anew over the columns: its values move with them."""
    vise("quant", source, "-o", path("q"), "--scheme", "int4-g32-asym", "--layout", "gptq-v2", "--force")
    tensors = stored(path("q"))
    generator = torch.Generator().manual_seed(1)
    want = {}
    for name in modules(tensors, ".qweight"):
        index = tensors[name + ".g_idx"]
        tensors[name + ".g_idx"] = index[torch.randperm(len(index), generator=generator)]
        want[name] = values(*unpack_gptq(tensors, name, 4, 2))
    save_file(tensors, os.path.join(path("q"), "model.safetensors"), metadata={"format": "pt"})
    vise("convert", path("q"), "-o", path("again"), "--layout", "gptq", "--force")
    for folder in (path("q"), path("again")):
        vise("convert", folder, "-o", path("f"), "--dequantize", "--dtype", "f32", "--force")
        plain = stored(path("f"))
        for name, expected in want.items():
            if (plain[name + ".weight"].numpy() != expected).any():
                return False, f"{name}: values differ"
    return True, f"{len(want)} modules, through gptq too"


model = path("model")
make_llama(model, seed=21, dtype=torch.float16, hidden_size=128, intermediate_size=256, num_hidden_layers=2)
for layout, schemes in {"gptq": ("int2-g32", "int3-g32", "int4-g32", "int4-g128", "int8-channel", "int4-g32-asym"),
                        "gptq-v2": ("int2-g32-asym", "int3-g64-asym", "int4-g32-asym", "int8-g32-asym"),
                        "awq": ("int4-g32-asym", "int4-g128-asym", "int4-g64")}.items():
    for scheme in schemes:
        check(f"{layout} {scheme} unpacked", unpacked, model, scheme, layout)
with open(path("rows.jsonl"), "w") as file:
    file.writelines(f'{{"input_ids": {row}}}\n' for row in
                    torch.randint(3, 96, (8, 64), generator=torch.Generator().manual_seed(3)).tolist())
for layout, scheme, method in (("awq", "int4-g32-asym", "awq"), ("awq", "int4-g128", "awq"), ("awq", "int4-g32-asym", "hqq"),
                               ("awq", "int4-g32-asym", "gptq"), ("gptq", "int4-g32", "awq"), ("gptq", "int3-g32", "hqq"),
                               ("gptq-v2", "int2-g32-asym", "gptq")):
    check(f"{layout} {scheme} {method} unpacked", unpacked, model, scheme, layout, method)
check("gptq and all the others, int4-g32-asym", around, model, "int4-g32-asym",
      ("gptq", "awq", "compressed-tensors", "gptq-v2"))
check("gptq and all the others, int4-g128", around, model, "int4-g128", ("gptq", "gptq-v2", "compressed-tensors"))
check("gptq and compressed-tensors, int3-g32-asym", around, model, "int3-g32-asym", ("gptq-v2", "compressed-tensors"))
check("gptq act-order", act_order, model)
common.finish()
