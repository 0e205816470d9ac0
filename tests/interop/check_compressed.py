#!/usr/bin/env python3
"""What vise writes in the layout compressed-tensors: transformers loads it, every key at its place, with the logits that
`vise eval` gives of the same folder; the compressed-tensors library decodes the weights that `vise convert --dequantize`
writes, bit for bit. And a file of llm-compressor, read by both.

compressed-tensors 0.19 makes the place of a packed zero point with the shape that it has before packing, so that
transformers refuses every asymmetric file, llm-compressor's own too. Whether the library at hand still does so is found
out with that file; if it does, PackedZeroPoints gives the place its right shape, and nothing else, while a model loads.
"""
import contextlib
import glob
import json
import math
import os

import common  # first: it silences what is imported next
from common import (CALIBRATION, EXAMPLE, FIXTURE, LIMIT, MODELS, check, distance, load, logits_of, make_llama, nll, path,
                    sample_rows, skip, vise, vise_logits)

import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.compressors.pack_quantized import PackedQuantizationCompressor
from safetensors.torch import load_file

# ---- loading ---------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def packed_zero_points():
    original = PackedQuantizationCompressor.__dict__["compress"]

    def compress(cls, state_dict, scheme):
        out = original.__func__(cls, state_dict, scheme)
        zero = out.get("weight_zero_point")
        if zero is not None and zero.device.type == "meta":
            words = math.ceil(zero.shape[0] * scheme.weights.num_bits / 32)
            out["weight_zero_point"] = torch.empty((words, zero.shape[1]), dtype=torch.int32, device="meta")
        return out

    PackedQuantizationCompressor.compress = classmethod(compress)
    try:
        yield
    finally:
        PackedQuantizationCompressor.compress = original


def loads_asymmetric():
    try:
        return not load(FIXTURE)[1]
    except RuntimeError:
        return False


repair = contextlib.nullcontext if loads_asymmetric() else packed_zero_points
if repair is packed_zero_points:
    print("note: transformers with this compressed-tensors refuses llm-compressor's own asymmetric file: the place of "
          "packed zero points is given its shape by this script")


def load_compressed(folder):
    with repair():
        return load(folder)


# ---- what is held against each other ---------------------------------------------------------------------------------


def stored_tensors(folder):
    tensors = {}
    for file in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        tensors.update(load_file(file))
    return tensors


def quantized_modules(model):
    return {name: module.quantization_scheme for name, module in model.named_modules()
            if getattr(module, "quantization_scheme", None) is not None}


def decoded_by_library(tensors, name, scheme, dtype=None):
    state = {key[len(name) + 1:]: tensor for key, tensor in tensors.items() if key.startswith(name + ".weight")}
    if dtype is not None:
        state["weight_scale"] = state["weight_scale"].to(dtype)
    format = getattr(scheme.format, "value", scheme.format)
    return BaseCompressor.get_value_from_registry(format).decompress(state, scheme)["weight"]


def same_weights(folder, model, modules):
    """Whether all quantized weights, decoded in float32 by the library, are vise's bit for bit; and, rounded by both to
    the dtype of the scales, again."""
    tensors = stored_tensors(folder)
    narrow = tensors[next(iter(modules)) + ".weight_scale"].dtype
    different = []
    for dtype in {torch.float32, narrow}:
        out = path("dequantized")
        vise("convert", folder, "-o", out, "--dequantize", "--dtype", {torch.float32: "f32", torch.bfloat16: "bf16",
                                                                       torch.float16: "f16"}[dtype], "--force")
        ours = stored_tensors(out)
        for name, scheme in modules.items():
            theirs = decoded_by_library(tensors, name, scheme, torch.float32 if dtype == torch.float32 else None)
            if theirs.dtype != dtype or not torch.equal(ours[name + ".weight"], theirs):
                different.append(f"{name} in {dtype}")
        if "quantization_config" in json.load(open(os.path.join(out, "config.json"))):
            different.append("config.json still tells of quantization")
    return different


def compare(folder, rows, modules_expected=None):
    model, wrong = load_compressed(folder)
    modules = quantized_modules(model)
    if not modules:
        return False, "transformers sees no quantized module"
    if modules_expected is not None and set(modules) != modules_expected:
        return False, f"quantized for transformers: {sorted(modules)}"
    different = same_weights(folder, model, modules)
    activations = any(scheme.input_activations is not None for scheme in modules.values())
    ours, figures = vise_logits(folder, rows)
    theirs = logits_of(model, rows)
    if activations:
        good, detail = same_with_activations(model, rows, ours, theirs)
    else:
        far = distance(ours, theirs)
        good, detail = far <= LIMIT, f"logits of the worst position {far:.0e} apart"
    if different:
        detail += f"; decoded differently: {different}"
    return good and not wrong and not different, \
        f"{wrong}{len(modules)} modules decoded to the same bits, NLL {nll(theirs, rows):.4f}, {detail}"


def same_with_activations(model, rows, ours, theirs):
    """Activations that lie next to the middle of two codes round to either, by the order of a sum: transformers' own
    logits move as soon as the embedding changes in its last bits. We must lie as near as that, with the same NLL. Before
    positions have met others' roundings, most are equal."""
    with torch.no_grad():
        weight = model.get_input_embeddings().weight
        noise = torch.randint(-1, 2, weight.shape, generator=torch.Generator().manual_seed(5))
        kept = weight.clone()
        weight.mul_(1 + noise * 2.0 ** -23)
        moved = logits_of(model, rows)
        weight.copy_(kept)
    far, yardstick = ((x - theirs).norm() / theirs.norm() for x in (ours, moved))
    off, drift = (abs(nll(x, rows) / nll(theirs, rows) - 1) for x in (ours, moved))
    apart = (ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)
    equal = (apart < 1e-4).float().mean().item()
    few = model.config.num_hidden_layers > 1  # roundings spread from layer to layer
    return bool(far <= 2 * yardstick + 1e-5 and off <= max(1e-3, 2 * drift) and (few or equal >= 0.8)), \
        f"logits {far:.0e} apart ({yardstick:.0e} between two runs of transformers, last bits of the embedding changed), " \
        f"NLL {off:.0e} ({drift:.0e}), {100 * equal:.0f} % of the positions equal"


# ---- models and runs -------------------------------------------------------------------------------------------------

SCHEMES = ["int4-g32", "int4-g128", "int4-g32-asym", "int3-g32", "int2-g32-asym", "int8-channel",
           "int8-channel+int8-token"]


def ids_file(model, n, length):
    file = path("calibration.jsonl")
    with open(file, "w") as out:
        for row in sample_rows(model, n, length, seed=7).tolist():
            out.write(json.dumps({"input_ids": row}) + "\n")
    return file


def quantized(source, rows, scheme, method, calibration, *more, expect=None):
    folder = path("quantized")
    options = ["--calibration", calibration, "--samples", "24", "--length", "96"] if method == "gptq" else []
    vise("quant", source, "-o", folder, "--scheme", scheme, "--method", method, *options, *more, "--force")
    return compare(folder, rows, expect)


def pruned(source, rows, calibration, prune, quant, keep=None):
    """Both passes in one run, as a recipe: the mask is honoured by the quantization."""
    out, recipe = path("quantized"), path("recipe.json")
    calibrated = "wanda" in prune.values() or "gptq" in quant.values()
    with open(recipe, "w") as file:
        json.dump({"input": source, "passes": [{"pass": "prune", **prune}, {"pass": "quant", **quant}],
                   **({"calibration": {"text": calibration, "samples": 24, "length": 96}} if calibrated else {})}, file)
    vise("run", recipe, "-o", out, "--force")
    good, detail = compare(out, rows)
    wrong, zeros = [], []
    for name, tensor in stored_tensors(path("dequantized")).items():
        if "proj.weight" in name:
            zeros.append((tensor == 0).float().mean().item())
            if keep is not None and ((tensor.reshape(-1, keep[1]) != 0).sum(1) > keep[0]).any():
                wrong.append(name)
    return good and not wrong and min(zeros) >= 0.5, \
        f"{detail}, at least {100 * min(zeros):.0f} % zeros{f'; too many kept in {wrong}' if wrong else ''}"


def one_model(name, folder, calibration, schemes, more=()):
    model, _ = load(folder)
    rows = sample_rows(model, 8, 96)
    if calibration is None:
        calibration = ids_file(model, 24, 96)
    for scheme in schemes:
        for method in ("rtn", "gptq"):
            check(f"compressed-tensors {name} {scheme} {method}", quantized, folder, rows, scheme, method, calibration,
                  *more)
    return rows, calibration


def fixture():
    rows = torch.randint(3, 105, (4, 96), generator=torch.Generator().manual_seed(2))
    return compare(FIXTURE, rows)


def everything_else(untied, rows, calibration):
    linears = {f"model.layers.{i}.{m}" for i in range(2) for m in
               ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj",
                "mlp.up_proj", "mlp.down_proj")}
    common_options = (untied, rows, "int4-g32", "rtn", calibration)
    check("compressed-tensors untied, head too", quantized, *common_options, "--include", "model.layers.*", "--include",
          "lm_head", expect=linears | {"lm_head"})
    check("compressed-tensors untied, some modules left out", quantized, *common_options, "--exclude",
          "model.layers.1.*", "--exclude", "*.q_proj",
          expect={m for m in linears if ".1." not in m and "q_proj" not in m})
    check("compressed-tensors untied, shards", quantized, *common_options, "--max-shard-size", "60KB", expect=linears)
    check("compressed-tensors untied, packed and unpacked", unpacked, *common_options)
    two_of_four, half = {"method": "magnitude", "pattern": "2:4"}, {"method": "wanda", "sparsity": 0.5}
    for prune, scheme, method in ((two_of_four, "int4-g32", "gptq"), (half, "int4-g32", "gptq"), (half, "int3-g32", "gptq"),
                                  ({**half, "sparsity": None, "pattern": "2:4"}, "int4-g32-asym", "gptq"),
                                  (two_of_four, "int2-g32-asym", "rtn"), (two_of_four, "int8-channel", "gptq")):
        prune = {key: value for key, value in prune.items() if value is not None}
        check(f"compressed-tensors untied, {prune['method']} {prune.get('pattern', '50 %')}, {scheme} {method}", pruned, untied,
              rows, calibration, prune, {"scheme": scheme, "method": method}, (2, 4) if "pattern" in prune else None)


def unpacked(source, rows, scheme, method, calibration):
    vise("quant", source, "-o", path("packed"), "--scheme", scheme, "--method", method, "--pack", "--force")
    vise("convert", path("packed"), "-o", path("unpacked"), "--unpack", "--force")
    return compare(path("unpacked"), rows)


check("compressed-tensors file of llm-compressor", fixture)

# One layer: where codes of activations flip, the flip stays at its position.
one = path("one-layer")
make_llama(one, seed=11, hidden_size=128, intermediate_size=256, num_hidden_layers=1)
one_model("one layer", one, None, ["int8-channel+int8-token"])

untied = path("untied")
make_llama(untied, seed=12, hidden_size=128, intermediate_size=256, num_hidden_layers=2)
rows, calibration = one_model("untied", untied, None, SCHEMES)
everything_else(untied, rows, calibration)

biased = path("biased")
make_llama(biased, seed=13, hidden_size=128, intermediate_size=256, num_hidden_layers=2, attention_bias=True, mlp_bias=True,
           tie_word_embeddings=True, dtype=torch.bfloat16)
one_model("biases, tied, bfloat16", biased, None, ["int4-g32", "int2-g32-asym", "int8-channel+int8-token"])

half = path("half")
make_llama(half, seed=14, hidden_size=128, intermediate_size=256, num_hidden_layers=2, dtype=torch.float16)
one_model("float16", half, None, ["int4-g128", "int4-g32-asym"])

# Rows of down_proj are 172 long: groups of 32 need an otherwise.
one_model("stories260K, otherwise int8-channel,", EXAMPLE, CALIBRATION, ["int4-g32", "int4-g32-asym", "int3-g32"],
          ("--otherwise", "int8-channel"))
one_model("stories260K, otherwise float,", EXAMPLE, CALIBRATION, ["int4-g32"], ("--otherwise", "float"))
one_model("stories260K", EXAMPLE, CALIBRATION, ["int8-channel", "int8-channel+int8-token"])

books = os.path.join(MODELS, "llama-books")
if os.path.isdir(books):
    one_model("llama-books", books, os.path.join(MODELS, "../data/books/calib.txt"),
              ["int4-g128", "int3-g128", "int2-g32-asym", "int8-channel+int8-token"])
else:
    skip("compressed-tensors llama-books", "not found in ../shared/models")
common.finish()
