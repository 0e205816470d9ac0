#!/usr/bin/env python3
"""The layout bitsandbytes. transformers loads what vise writes, every key at its place; bitsandbytes' own functions decode
the same weights, and choose the same codes and scales; logits are those of `vise eval`. And what bitsandbytes quantizes and
transformers saves is read by vise to the same weights.

Double quantization: bitsandbytes' path for processors looks the byte of a scale up in a table of 65 536 entries, which is
off by some places near zero; ours is the nearest, so it is compared by the scales that come out. Its kernel for processors
takes in_features that are multiples of 64."""
import json
import os

import common  # first: it silences what is imported next
from common import LIMIT, check, distance, load, logits_of, make_llama, path, sample_rows, vise, vise_logits

import torch
import transformers
import bitsandbytes
import bitsandbytes.functional as F
from safetensors.torch import load_file


def stored(folder):
    return load_file(os.path.join(folder, "model.safetensors"))


def plain(folder):
    vise("convert", folder, "-o", path("plain"), "--dequantize", "--dtype", "f32", "--force")
    return stored(path("plain"))


def codes_of(packed):
    """The order of nibbles is the high one first."""
    return torch.stack([packed.flatten() >> 4, packed.flatten() & 15], -1).flatten()


def state_of(tensors, name, kind):
    inside = {key[len(name) + len(".weight."):]: value for key, value in tensors.items()
              if key.startswith(name + ".weight.")}
    return F.QuantState.from_dict(inside, device=torch.device("cpu"))


def four_bits(source, scheme):
    """Codes and scales of bitsandbytes for the weights, its decoding of ours, and ours."""
    kind, double = scheme[:3], scheme.endswith("dq")
    vise("quant", source, "-o", path("q"), "--scheme", scheme, "--force")
    floats, ours, decoded = stored(source), stored(path("q")), plain(path("q"))
    names = sorted(key[:-len(".weight.absmax")] for key in ours if key.endswith(".weight.absmax"))
    worst = total = 0
    for name in names:
        weight = floats[name + ".weight"]
        state = state_of(ours, name, kind)
        theirs = F.dequantize_4bit(ours[name + ".weight"], state).float()
        if state.dtype == torch.float32 and (theirs - decoded[name + ".weight"]).abs().max() > 1e-7 * theirs.abs().max():
            return False, f"{name}: decoded otherwise"
        if (theirs - decoded[name + ".weight"].to(state.dtype).float()).abs().max() > 1e-7 * theirs.abs().max():
            return False, f"{name}: decoded otherwise"
        packed, wanted = F.quantize_4bit(weight, blocksize=state.blocksize, quant_type=kind)
        table = ours[name + ".weight.quant_map"] # fp4 has two zeros, and the library either for small values
        flips = (table[codes_of(packed).long()] != table[codes_of(ours[name + ".weight"]).long()]).sum().item()
        worst, total = worst + flips, total + weight.numel()
        scales = ours[name + ".weight.absmax"]
        if not double and (scales != wanted.absmax).any():
            return False, f"{name}: scales differ"
        if double:
            restored = F.dequantize_blockwise(scales, state.state2) + state.offset
            nested = (wanted.absmax - restored).abs().max() / ours[name + ".weight.nested_absmax"].max()
            if nested > 0.008 or abs(state.offset - wanted.absmax.mean()) > 1e-6:
                return False, f"{name}: scales off by {nested:.4f} of their range"
    return len(names) == 14 and worst <= 1e-3 * total, f"{len(names)} modules, {worst} of {total} codes differ"


def eight_bits(source):
    vise("quant", source, "-o", path("q"), "--scheme", "llm-int8", "--force")
    floats, ours, decoded = stored(source), stored(path("q")), plain(path("q"))
    names = [key[:-len(".SCB")] for key in ours if key.endswith(".SCB")]
    for name in names:
        codes, scale, _ = F.int8_vectorwise_quant(floats[name + ".weight"].half())
        far = (codes.int() - ours[name + ".weight"].int()).abs() # torch divides by a reciprocal: ties fall either way
        if (scale != ours[name + ".SCB"]).any() or far.max() > 1 or far.sum() > 1e-3 * far.numel():
            return False, f"{name}: codes or scales differ"
        theirs = F.int8_vectorwise_dequant(ours[name + ".weight"], ours[name + ".SCB"])
        if (theirs - decoded[name + ".weight"]).abs().max() > 1e-6 * theirs.abs().max():
            return False, f"{name}: decoded otherwise"
    return len(names) == 14, f"{len(names)} modules"


def decoded_by_library(model):
    """The model with its quantized modules replaced by what the library decodes: its kernels for processors compute in
    bfloat16 or round activations to eight bits, whatever the model's dtype."""
    for name, module in list(model.named_modules()):
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            weight = F.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        elif isinstance(module, bitsandbytes.nn.Linear8bitLt):
            weight = F.int8_vectorwise_dequant(module.weight.data, module.weight.SCB)
        else:
            continue
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None)
        linear.weight.data, linear.bias = weight, module.bias
        model.set_submodule(name, linear)
    return torch.nn.Module.float(model)


def loads(source, scheme, kind):
    """The library rounds decoded weights of four bits to the model's dtype; so does the file whose logits are ours."""
    vise("quant", source, "-o", path("q"), "--scheme", scheme, "--force")
    dtype = os.path.basename(source) if kind is bitsandbytes.nn.Linear4bit else "f32"
    vise("convert", path("q"), "-o", path("plain"), "--dequantize", "--dtype", dtype, "--force")
    rows = ROWS[source]
    ours = vise_logits(path("plain"), rows)[0]
    model, wrong = load(path("q"))
    found = sum(isinstance(module, kind) for module in model.modules())
    decoded = distance(ours, logits_of(decoded_by_library(load(path("q"))[0]), rows))
    computed = distance(ours, logits_of(model, rows))
    return not wrong and found == 14 and decoded < LIMIT and computed < 0.1, \
        f"{found} modules, logits {decoded:.1e} apart, as its kernels compute {computed:.1e}{wrong}"


def theirs(source, **options):
    """Quantized by bitsandbytes, saved by transformers."""
    config = transformers.BitsAndBytesConfig(**options)
    model, _ = load(source, quantization_config=config)
    model.save_pretrained(path("theirs"))
    floats = plain(path("theirs"))
    count = 0
    for name, module in model.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            want = F.dequantize_4bit(module.weight.data, module.weight.quant_state).float()
        elif isinstance(module, bitsandbytes.nn.Linear8bitLt):
            codes = module.weight.data if module.state.CB is None else module.state.CB
            scale = module.weight.SCB if module.state.SCB is None else module.state.SCB
            want = F.int8_vectorwise_dequant(codes, scale)
        else:
            continue
        count += 1
        got = floats[name + ".weight"].to(module.weight.quant_state.dtype).float() if hasattr(
            module.weight, "quant_state") else floats[name + ".weight"]
        if (got - want).abs().max() > 1e-6 * want.abs().max():
            return False, f"{name}: values differ"
    with open(os.path.join(path("theirs"), "config.json")) as file:
        method = json.load(file)["quantization_config"]["quant_method"]
    return count == 14, f"{count} modules of {method}"


def outliers(source, model):
    """Columns of inputs that reach the threshold, by hooks in transformers, where every linear's input stands behind the
    decoded weights of those in front. One that lies next to the threshold may fall on either side."""
    threshold, rows = 4.0, sample_rows(model, 16, 64, seed=7)
    with open(path("calibration.jsonl"), "w") as file:
        for row in rows.tolist():
            file.write(json.dumps({"input_ids": row}) + "\n")
    vise("quant", source, "-o", path("q"), "--scheme", "llm-int8", "--calibration", path("calibration.jsonl"), "--samples",
         16, "--length", 64, "--outlier-threshold", threshold, "--force")
    with open(os.path.join(path("q"), "report.json")) as file:
        report = json.load(file)
    vise("convert", path("q"), "-o", path("plain"), "--dequantize", "--dtype", "f32", "--force")
    plain_model, largest = load(path("plain"))[0], {}
    for name, module in plain_model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_pre_hook(lambda module, inputs, name=name: largest.__setitem__(
                name + ".weight", inputs[0].abs().flatten(0, -2).amax(0)))
    logits_of(plain_model, rows)
    for weight in report["weights"]:
        most = largest.pop(weight["name"])
        low, high = ((most >= threshold * (1 + sign * 1e-4)).sum().item() for sign in (1, -1))
        if not low <= weight["outlier_columns"] <= high or abs(weight["largest_input"] / most.max().item() - 1) > 1e-4:
            return False, f"{weight['name']}: {weight['outlier_columns']} columns, not {low} to {high}"
    whole = report["outliers"]
    counts = [weight["outlier_columns"] for weight in report["weights"]]
    good = whole["outlier_columns"] == sum(counts) > 0 and whole["with_outliers"] == sum(map(bool, counts)) and \
        whole["columns"] == sum(weight["shape"][1] for weight in report["weights"])
    return good and not largest, f"{sum(counts)} of {whole['columns']} columns in {whole['measured']} linears"


ROWS = {}
for name, dtype, seed in (("f32", torch.float32, 31), ("bf16", torch.bfloat16, 32)):
    folder = path(name)
    model = make_llama(folder, seed=seed, dtype=dtype, hidden_size=128, intermediate_size=256, num_hidden_layers=2)
    ROWS[folder] = sample_rows(model, 4, 64)
    for scheme in ("nf4", "fp4", "nf4-b64-dq", "fp4-b128", "nf4-b128-dq"):
        check(f"bitsandbytes {name} {scheme}, the library's codes", four_bits, folder, scheme)
        check(f"bitsandbytes {name} {scheme}, transformers", loads, folder, scheme, bitsandbytes.nn.Linear4bit)
    check(f"bitsandbytes {name} llm-int8, the library's codes", eight_bits, folder)
    check(f"bitsandbytes {name} llm-int8, transformers", loads, folder, "llm-int8", bitsandbytes.nn.Linear8bitLt)
    check(f"bitsandbytes {name} llm-int8, outlier columns", outliers, folder, model)
    check(f"bitsandbytes {name}, its nf4 read", theirs, folder, load_in_4bit=True, bnb_4bit_quant_type="nf4")
    check(f"bitsandbytes {name}, its fp4 with double quantization read", theirs, folder, load_in_4bit=True,
          bnb_4bit_use_double_quant=True)
    check(f"bitsandbytes {name}, its int8 read", theirs, folder, load_in_8bit=True)
common.finish()
