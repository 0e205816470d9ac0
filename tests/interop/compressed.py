"""Files in the layout compressed-tensors: loaded by transformers, decoded by the compressed-tensors library, and both held
against vise.

compressed-tensors 0.19 makes the place of a packed zero point with the shape that it has before packing, so that
transformers refuses every asymmetric file, llm-compressor's own too. Whether the library at hand still does so is found
out with that file; if it does, packed_zero_points gives the place its right shape, and nothing else, while a model loads.
"""
import contextlib
import glob
import json
import math
import os

from common import (FIXTURE, LIMIT, distance, load, logits_of, nll, nlls, path,  # first: it silences the rest
                    vise, vise_logits)

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
            if getattr(getattr(module, "quantization_scheme", None), "weights", None) is not None}


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


def compare(folder, rows, modules_expected=None, static=False):
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
        good, detail = same_with_activations(model, rows, ours, theirs, static)
    else:
        far = distance(ours, theirs)
        good, detail = far <= LIMIT, f"logits of the worst position {far:.0e} apart"
    if different:
        detail += f"; decoded differently: {different}"
    return good and not wrong and not different, \
        f"{wrong}{len(modules)} modules decoded to the same bits, NLL {nll(theirs, rows):.4f}, {detail}"


def same_with_activations(model, rows, ours, theirs, static=False):
    """Activations that lie next to the middle of two codes round to either, by the order of a sum: transformers' own
    logits move as soon as the embedding changes in its last bits. We must lie as near as that, and our mean NLL must differ
    by less than 1e-3 or, on so few tokens, less than four standard errors of the difference. In a model of one layer no
    rounding spreads to another, so that most positions are equal; fewer where codes have four bits. Static scales
    leave so few codes next to a middle that a change of the last bit may find none: there more of them are tried, of two
    bits more, or nearly all positions must be equal."""
    seeds, change = (5, 2.0 ** -21) if static else (3, 2.0 ** -23)
    moved = []
    weight = model.get_input_embeddings().weight
    kept = weight.detach().clone()
    for seed in range(seeds):
        noise = torch.randint(-1, 2, weight.shape, generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            weight.copy_(kept * (1 + noise * change))
        moved.append(logits_of(model, rows))
    with torch.no_grad():
        weight.copy_(kept)
    far, *yardsticks = (((x - theirs).norm() / theirs.norm()).item() for x in (ours, *moved))
    by_token = nlls(ours, rows) - nlls(theirs, rows)
    mean = nll(theirs, rows)
    off, error = abs(by_token.mean().item()) / mean, by_token.std().item() / by_token.numel() ** 0.5 / mean
    equal = ((ours - theirs).norm(dim=-1) < 1e-4 * theirs.norm(dim=-1)).float().mean().item()
    coarse = any(getattr(scheme.input_activations, "num_bits", 8) == 4 for scheme in quantized_modules(model).values())
    good = (far <= 2 * max(yardsticks) + 1e-5 or static and equal >= 0.95) and off <= max(1e-3, 4 * error) and \
        (equal >= (0.5 if coarse else 0.8) or model.config.num_hidden_layers > 1)
    return good, f"logits {far:.0e} apart (transformers by itself, last bits of the embedding changed: {max(yardsticks):.0e}), " \
        f"NLL {off:.0e} (standard error {error:.0e}), {100 * equal:.0f} % of the positions equal"
