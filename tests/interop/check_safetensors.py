#!/usr/bin/env python3
"""Files between vise and the safetensors library: its files read and carried over bit for bit, every dtype; casts equal to
torch's; and everything that vise writes (plain, in shards, packed, quantized) readable by it."""
import glob
import json
import math
import os
import struct

import common  # first: it silences what is imported next
from common import EXAMPLE, check, path, vise

import safetensors
import torch
from safetensors.torch import load_file, save_file

FLOATS = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def bits(tensor):
    return tensor.contiguous().view(torch.uint8) if tensor.dim() else tensor.reshape(1).view(torch.uint8)


def same_bits(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(bits(a), bits(b))


def different(ours, theirs):
    wrong = sorted(set(ours) ^ set(theirs))
    return wrong + [name for name in ours if name in theirs and not same_bits(ours[name], theirs[name])]


def read(folder):
    """All tensors by the safetensors library, from a file or a folder, and the shards by its index."""
    if not os.path.isdir(folder):
        return load_file(folder)
    tensors, where = {}, {}
    for file in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        for name, tensor in load_file(file).items():
            assert name not in tensors, f"{name} twice"
            tensors[name], where[name] = tensor, os.path.basename(file)
    index = os.path.join(folder, "model.safetensors.index.json")
    if os.path.exists(index):
        content = json.load(open(index))
        assert content["weight_map"] == where, "the index does not name the files that hold the tensors"
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        assert content["metadata"]["total_size"] == size or "vise" in file and content["metadata"]["total_size"] > size
    else:
        assert len(set(where.values())) == 1, "shards without an index"
    return tensors


# ---- every dtype -----------------------------------------------------------------------------------------------------


def every_dtype():
    random = torch.Generator().manual_seed(1)
    raw = torch.randint(0, 256, (3072,), generator=random, dtype=torch.uint8)
    tensors = {"bool": torch.randint(0, 2, (5, 7), generator=random).bool()}
    for dtype in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float8_e4m3fn", "float8_e5m2",
                  "float8_e8m0fnu", "float16", "bfloat16", "float32", "float64", "complex64"):
        if hasattr(torch, dtype):
            tensors[f"x.{dtype}"] = raw.clone().view(getattr(torch, dtype)).reshape(3, 2, -1)
    tensors["scalar"] = torch.tensor(1.5)
    tensors["empty"] = torch.zeros(0, 4)
    tensors["one"] = torch.zeros(1, dtype=torch.float16)
    tensors["name with / and \u00e9 \u4e2d and \"quotes\""] = torch.arange(3)
    return tensors


def carried(source, *options):
    """Random bytes in every dtype, NaNs of any payload among them, through a conversion that changes no value."""
    out = path("carried")
    vise("convert", source, "-o", out, *options, "--force")
    if "--pack" in options:
        back = path("carried-back")
        vise("convert", out, "-o", back, "--unpack", "--force")
        wrong = different(read(back), load_file(source))
        return not wrong and are_packed(out, load_file(source)), f"{len(read(out))} tensors restored{wrong or ''}"
    wrong = different(read(out), load_file(source))
    return not wrong, f"{len(load_file(source))} tensors{' differ: ' + str(wrong) if wrong else ' equal'}"


def are_packed(out, source):
    """For the library they are byte arrays, but for those below 1 KiB."""
    return all(t.dtype == torch.uint8 and t.dim() == 1 or same_bits(t, source[name]) and t.numel() * t.element_size() < 1024
               for name, t in read(out).items())


def metadata(source):
    out = path("meta", "model.safetensors")
    os.makedirs(path("meta"), exist_ok=True)
    vise("convert", source, "-o", out, "--force")
    with safetensors.safe_open(out, "pt") as file:
        found = file.metadata()
    return found is not None and found.get("format") == "pt", str(found)


# ---- casts -----------------------------------------------------------------------------------------------------------


def all_of(dtype):
    """Every finite value of a two-byte dtype; of float32 all exponents with mantissas near ties, and random ones."""
    if dtype != torch.float32:
        values = torch.arange(65536).to(torch.uint16).view(dtype)
    else:
        exponents = torch.arange(255, dtype=torch.int64)[:, None] << 23
        kinds = [0, 1, 2, 0x7FFFFF, 0x7FFFFE, 0x400000] + [base + off for base in (0x0FFF, 0x1000, 0x2000, 0x3000, 0x7FFF, 0x8000,
                                                          0x10000, 0x18000, 0x7F8000, 0x7FE000, 0x7FF000) for off in (-1, 0, 1)]
        random = torch.randint(0, 1 << 23, (200,), generator=torch.Generator().manual_seed(4))
        mantissas = torch.cat([torch.tensor(kinds), random])[None, :] & 0x7FFFFF
        positive = (exponents | mantissas).reshape(-1)
        values = torch.cat([positive, positive | 1 << 31]).to(torch.uint32).view(torch.float32)
    return values[values.isfinite()]


def cast(source, target):
    values = all_of(FLOATS[source])
    wanted = values.to(FLOATS[target])
    overflow = ~wanted.isfinite()
    values, wanted = values[~overflow], wanted[~overflow]
    file, out = path("cast.safetensors"), path("cast-out.safetensors")
    save_file({"w": values, "matrix": values[:values.numel() // 64 * 64].reshape(-1, 64).clone()}, file)
    vise("convert", file, "-o", out, "--dtype", target, "--force")
    ours = load_file(out)
    good = same_bits(ours["w"], wanted) and same_bits(ours["matrix"].reshape(-1), wanted[:ours["matrix"].numel()])
    return good, f"{values.numel()} values as torch rounds them, {int(overflow.sum())} beyond the range left out"


def refused(value, source, target):
    """What has no place in the new dtype, or is no number, stops the run by name."""
    file, out = path("bad.safetensors"), path("bad-out.safetensors")
    save_file({"good": torch.ones(4), "bad": torch.tensor([1.0, value], dtype=FLOATS[source])}, file)
    try:
        vise("convert", file, "-o", out, "--dtype", target, "--force")
    except common.ViseError as error:
        return "bad" in str(error).split("ended with")[1] and not os.path.exists(out), str(error).split("ended with ")[1]
    return False, f"accepted: {load_file(out)['bad']}"


# ---- models ----------------------------------------------------------------------------------------------------------


def model(options, check_values):
    out = path("model")
    vise("convert", EXAMPLE, "-o", out, *options, "--force")
    tensors, source = read(out), load_file(os.path.join(EXAMPLE, "model.safetensors"))
    if check_values == "packed":
        names = sorted(os.listdir(out))
        good = are_packed(out, source) and {n for n in names if n.endswith(".safetensors")} == \
            {n for n in names if n.endswith(".vise.safetensors")} != set()
        vise("convert", out, "-o", path("model-back"), "--unpack", "--force")
        again = read(path("model-back"))
        wrong = different(again, source)
        return good and not wrong, f"{len(tensors)} tensors, restored{wrong or ''}"
    wanted = source if check_values is None else {name: t.to(check_values) for name, t in source.items()}
    wrong = different(tensors, wanted)
    shards = len(glob.glob(os.path.join(out, "*.safetensors")))
    return not wrong and ("--max-shard-size" not in options or shards > 1), f"{len(tensors)} tensors in {shards} files{wrong or ''}"


def quantized(options):
    out = path("quantized")
    vise("quant", EXAMPLE, "-o", out, "--scheme", "int4-g32-asym", "--otherwise", "int8-channel", *options, "--force")
    tensors = read(out)
    kinds = sorted({str(t.dtype) for t in tensors.values()})
    return len(tensors) > 47, f"{len(tensors)} tensors, {', '.join(kinds)}"


def logits():
    rows = torch.tensor([[1, 2, 3]])
    ours, _ = common.vise_logits(EXAMPLE, rows)
    return ours.dtype == torch.float32 and ours.shape == (1, 3, 512), str(tuple(ours.shape))


source = path("every.safetensors")
save_file(every_dtype(), source, metadata={"format": "pt"})
check("safetensors every dtype, carried", carried, source)
check("safetensors every dtype, shards", carried, source, "--max-shard-size", "4KB")
check("safetensors every dtype, packed", carried, source, "--pack")
check("safetensors metadata", metadata, source)
for a in FLOATS:
    for b in FLOATS:
        if a != b:
            check(f"safetensors cast {a} to {b}", cast, a, b)
for value, a, b in ((math.nan, "f32", "bf16"), (math.inf, "f32", "f16"), (-math.inf, "bf16", "f32"), (65520.0, "f32", "f16"),
                    (3.4e38, "f32", "bf16"), (1e5, "bf16", "f16")):
    check(f"safetensors cast of {value} from {a} to {b} is refused", refused, value, a, b)
check("safetensors model", model, [], None)
check("safetensors model, bfloat16", model, ["--dtype", "bf16"], torch.bfloat16)
check("safetensors model, float16, shards", model, ["--dtype", "f16", "--max-shard-size", "100KB"], torch.float16)
check("safetensors model, packed", model, ["--pack"], "packed")
check("safetensors model, packed shards", model, ["--pack", "--max-shard-size", "200KB"], "packed")
check("safetensors quantized model", quantized, [])
check("safetensors quantized model, packed shards", quantized, ["--pack", "--max-shard-size", "100KB"])
check("safetensors logits", logits)
common.finish()
