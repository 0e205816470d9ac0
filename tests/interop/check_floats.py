#!/usr/bin/env python3
"""fp8, mxfp8, mxfp4 and nvfp4 in the layout compressed-tensors, and fine-grained fp8. The compressed-tensors library chooses
the same codes and scales for the weights and decodes ours to the same values; transformers loads the files, every key at
its place, with the logits of `vise eval`. Files of llm-compressor (tests/data/llmcompressor-*) are read to the same weights
and logits."""
import glob
import json
import os
import sys

import common  # first: it silences what is imported next
from common import LIMIT, ROOT, check, distance, load, logits_of, make_llama, path, sample_rows, vise, vise_logits
from compressed import load_compressed, quantized_modules, same_with_activations, stored_tensors

import torch
import transformers
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.modeling import register_key_hook, register_value_hook
from compressed_tensors.quantization import QuantizationScheme
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

NAMES = {torch.float32: "f32", torch.bfloat16: "bf16", torch.float16: "f16"}


def config_of(folder):
    with open(os.path.join(folder, "config.json")) as file:
        return json.load(file)


def state_of(tensors, name):
    return {key[len(name) + 1:]: tensor for key, tensor in tensors.items() if key.startswith(name + ".")}


def compressor_of(scheme):
    return BaseCompressor.get_value_from_registry(getattr(scheme.format, "value", scheme.format))


def decoded(folder, modules):
    """Weights that the library decodes to other values than vise does, each in the dtype that the library gives it."""
    tensors, different, floats = stored_tensors(folder), [], {}
    for name, scheme in modules.items():
        theirs = compressor_of(scheme).decompress(state_of(tensors, name), scheme)["weight"]
        if theirs.dtype not in floats:
            vise("convert", folder, "-o", path("plain"), "--dequantize", "--dtype", NAMES[theirs.dtype], "--force")
            floats[theirs.dtype] = stored_tensors(path("plain"))
        if not torch.equal(theirs, floats[theirs.dtype][name + ".weight"]):
            different.append(name)
    return different


def loaded(folder, rows, count, static=False):
    model, wrong = load_compressed(folder)
    modules = quantized_modules(model)
    different = decoded(folder, modules)
    narrow = any(compressor_of(s).__name__.startswith(("NVFP4", "MXFP4", "MXFP8")) for s in modules.values())
    if narrow: # decoded to bfloat16 as the model runs for the first time, and runs in that alone
        model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16,
                                                                  attn_implementation="eager").eval()
        logits_of(model, rows)
        torch.nn.Module.float(model)
        vise("convert", folder, "-o", path("plain"), "--dequantize", "--dtype", "f32", "--force")
        exact = stored_tensors(path("plain"))
        for name in modules: # which that it rounds: whether codes of activations are the same shows without
            model.get_submodule(name).weight.data = exact[name + ".weight"]
    ours, _ = vise_logits(folder, rows)
    theirs = logits_of(model, rows)
    if any(scheme.input_activations is not None for scheme in modules.values()):
        good, detail = same_with_activations(model, rows, ours, theirs, static)
    else:
        far = distance(ours, theirs)
        good, detail = far <= LIMIT, f"logits {far:.0e} apart"
    return good and not wrong and not different and len(modules) == count, \
        f"{wrong}{len(modules)} modules{f', decoded otherwise: {different}' if different else ''}, {detail}"


def quantized(source, rows, scheme, calibration=None, count=14):
    options = ["--calibration", calibration, "--samples", "16", "--length", "64", "--method", "rtn"] if calibration else []
    vise("quant", source, "-o", path("q"), "--scheme", scheme, *options, "--force")
    return loaded(path("q"), rows, count, static=calibration is not None)


def cache(source, rows, kv_scheme, *scheme):
    """Scales of the key-value cache: each is what the library makes of the range that its own hooks see in front of its
    cache, and with its cache it computes our logits, which are others without it."""
    calibration = torch.tensor([json.loads(line)["input_ids"] for line in open(path("calibration.jsonl"))])
    vise("quant", source, "-o", path("q"), "--kv-scheme", kv_scheme, "--calibration", path("calibration.jsonl"), "--samples",
         16, "--length", 64, *scheme, "--force")
    model, wrong = load_compressed(path("q"))
    attentions = {name: module for name, module in model.named_modules() if hasattr(module, "kv_cache")}
    ours = vise_logits(path("q"), rows)[0]
    theirs = logits_of(model, rows)
    good, detail = same_with_activations(model, rows, ours, theirs, static=True)
    largest = {}

    def see(which):
        def hook(module, states):
            seen = states.abs().amax((0, 2, 3)).reshape(-1, 1, 1)
            largest[module, which] = torch.maximum(largest.get((module, which), seen), seen)
        return hook
    for module in attentions.values():
        register_key_hook(module, see("k"))
        register_value_hook(module, see("v"))
    logits_of(model, calibration)
    off = 0.0
    for (module, which), seen in largest.items():
        args = module.quantization_scheme.input_activations
        seen = seen if args.strategy == "attn_head" else seen.amax().reshape(1)
        wanted, stored = calculate_qparams(-seen, seen, args)[0], getattr(module, which + "_scale")
        good = good and stored.shape == wanted.shape
        off = max(off, (stored / wanted - 1).abs().max().item())
    for module in attentions.values():
        module.quantization_enabled = False
    without = distance(theirs, logits_of(model, rows))
    vise("convert", path("q"), "-o", path("again"), "--max-shard-size", "50KB", "--force")
    a, b = stored_tensors(path("q")), stored_tensors(path("again"))
    configs = [config_of(path(name))["quantization_config"] for name in ("q", "again")]
    kept = sorted(a) == sorted(b) and all(torch.equal(a[key].view(torch.uint8), b[key].view(torch.uint8)) for key in a) and \
        sorted(configs[0].pop("ignore")) == sorted(configs[1].pop("ignore")) and configs[0] == configs[1]
    return good and not wrong and kept and without > 1e-3 and len(largest) == 2 * model.config.num_hidden_layers and \
        off <= (1e-5 if model.config.dtype == torch.float32 and "bf16" not in source else 2.0 ** -7), \
        f"{wrong}{len(largest)} scales off by {off:.0e} at most, {detail}, {without:.0e} without{'' if kept else ', lost by convert'}"


def tiny(kind, **config):
    sizes = dict(vocab_size=96, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, max_position_embeddings=128,
                 pad_token_id=0, bos_token_id=1, eos_token_id=2)
    torch.manual_seed(17)
    model = getattr(transformers, kind + "ForCausalLM")(getattr(transformers, kind + "Config")(**{**sizes, **config}))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(8)
    model.eval().save_pretrained(path(kind))
    return path(kind)


def reduced(weight, args):
    """min and max of each group as calculate_qparams wants them."""
    strategy = args.strategy.value if hasattr(args.strategy, "value") else args.strategy
    n, k = weight.shape
    if strategy == "tensor":
        return weight.min().reshape(1), weight.max().reshape(1)
    if strategy == "channel":
        return weight.amin(1, keepdim=True), weight.amax(1, keepdim=True)
    if strategy == "block":
        r, c = args.block_structure
        padded = torch.nn.functional.pad(weight, (0, -k % c, 0, -n % r))
        blocks = padded.reshape(padded.shape[0] // r, r, padded.shape[1] // c, c)
        return blocks.amin((1, 3)), blocks.amax((1, 3))
    groups = weight.reshape(n, -1, args.group_size)
    return groups.amin(-1), groups.amax(-1)


def library_codes(source, scheme):
    """Every stored tensor that the library makes of the float weights (float32, so that it rounds nothing on the way)."""
    vise("quant", source, "-o", path("q"), "--scheme", scheme, "--force")
    floats, ours, config = stored_tensors(source), stored_tensors(path("q")), config_of(path("q"))["quantization_config"]
    group = config["config_groups"]["group_0"]
    scheme = QuantizationScheme(**{**group, "format": config["format"]})
    args = scheme.weights
    names = sorted(key[:-len(".weight_scale")] for key in ours if key.endswith(".weight_scale"))
    fused = [("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")]
    for name in names:
        weight = floats[name + ".weight"]
        state = {"weight": weight}
        if args.strategy == "tensor_group":
            leaf = name.rsplit(".", 1)[-1]
            members = next((m for m in fused if leaf in m), (leaf,))
            together = torch.cat([floats[f"{name[:-len(leaf)]}{m}.weight"].flatten() for m in members])
            state["weight_global_scale"] = generate_gparam(together.min().reshape(1), together.max().reshape(1))
        low, high = reduced(weight, args)
        scale, _ = calculate_qparams(low, high, args, global_scale=state.get("weight_global_scale"))
        state["weight_scale"] = scale
        for key, tensor in compressor_of(scheme).compress(state, scheme).items():
            mine = ours[f"{name}.{key}"]
            if mine.shape != tensor.shape or mine.dtype != tensor.dtype:
                return False, f"{name}.{key}: {mine.dtype} {list(mine.shape)}, not {tensor.dtype} {list(tensor.shape)}"
            if (mine.view(torch.uint8) != tensor.view(torch.uint8)).any():
                return False, f"{name}.{key}: {(mine.view(torch.uint8) != tensor.view(torch.uint8)).sum()} bytes differ"
    return len(names) == 14, f"{len(names)} modules, every byte of codes and scales"


def fine_grained(source, rows, scheme):
    """transformers decodes it where there is no GPU; a conversion to compressed-tensors holds the same codes."""
    vise("quant", source, "-o", path("q"), "--scheme", scheme, "--layout", "fp8", "--force")
    model, wrong = load(path("q"))
    vise("convert", path("q"), "-o", path("plain"), "--dequantize", "--dtype", "f32", "--force")
    far = distance(vise_logits(path("plain"), rows)[0], logits_of(model.float(), rows))
    vise("convert", path("q"), "-o", path("ct"), "--layout", "compressed-tensors", "--force")
    a, b = stored_tensors(path("q")), stored_tensors(path("ct"))
    names = [key for key in a if key.endswith(".weight") and a[key].dtype == torch.float8_e4m3fn]
    same = all(torch.equal(a[key].view(torch.uint8), b[key].view(torch.uint8)) and
               torch.equal(a[key + "_scale_inv"].flatten(), b[key + "_scale"].flatten()) for key in names)
    return not wrong and far <= LIMIT and same and len(names) == 14, \
        f"{wrong}{len(names)} modules, logits {far:.0e} apart, codes {'kept' if same else 'changed'} by conversion"


def theirs(folder):
    rows = torch.randint(3, 60, (4, 48), generator=torch.Generator().manual_seed(2))
    groups = config_of(folder)["quantization_config"]["config_groups"].values()
    static = any((group.get("input_activations") or {}).get("dynamic") is False for group in groups)
    return loaded(folder, rows, 7, static)


WEIGHTS = ["fp8-e4m3-tensor", "fp8-e4m3-channel", "fp8-e4m3-g32", "fp8-e4m3-128x128", "fp8-e4m3-48x96", "mxfp8", "mxfp4",
           "nvfp4"]
DYNAMIC = ["fp8-e4m3-channel+fp8-e4m3-token", "fp8-e4m3-128x128+fp8-e4m3-g128", "mxfp8+mxfp8-g32", "mxfp4+mxfp4-g32",
           "int4-g32+int8-token", "int4-g32+fp8-e4m3-token", "int4-channel+int4-token"]
STATIC = ["fp8-e4m3-channel+fp8-e4m3-tensor", "fp8-e4m3-tensor+fp8-e4m3-tensor", "nvfp4+nvfp4-g16"]
CACHES = {"f32": [["fp8-e4m3-tensor"], ["fp8-e4m3-head"], ["int8-tensor"], ["int8-head"]],
          "bf16": [["fp8-e4m3-tensor", "--scheme", "fp8-e4m3-channel+fp8-e4m3-token", "--method", "rtn"],
                   ["int8-head", "--scheme", "int4-g32"]]}
FAMILIES = {"Phi3": dict(num_key_value_heads=2, intermediate_size=96),
            "Qwen3": dict(num_key_value_heads=2, intermediate_size=96, head_dim=32)}

for folder in sys.argv[1:]: # files of llm-compressor elsewhere, and nothing else
    check(f"floats, {os.path.basename(folder)} read", theirs, folder)
if sys.argv[1:]:
    common.finish()

for name, dtype, seed in (("f32", torch.float32, 41), ("bf16", torch.bfloat16, 42)):
    folder = path(name)
    model = make_llama(folder, seed=seed, dtype=dtype, hidden_size=128, intermediate_size=256, num_hidden_layers=2)
    rows = sample_rows(model, 4, 64)
    for scheme in WEIGHTS:
        if dtype == torch.float32:
            check(f"floats {name} {scheme}, the library's codes", library_codes, folder, scheme)
        if dtype != torch.float32 or scheme.startswith("fp8"):
            check(f"floats {name} {scheme}, transformers", quantized, folder, rows, scheme)
    for scheme in DYNAMIC:
        if dtype != torch.float32 or not scheme.startswith("mx"):
            check(f"floats {name} {scheme}, transformers", quantized, folder, rows, scheme)
    with open(path("calibration.jsonl"), "w") as file:
        for row in sample_rows(model, 16, 64, seed=7).tolist():
            file.write(json.dumps({"input_ids": row}) + "\n")
    for scheme in STATIC:
        if dtype != torch.float32 or scheme.startswith("fp8"):
            check(f"floats {name} {scheme}, transformers", quantized, folder, rows, scheme, path("calibration.jsonl"))
    for kv, *scheme in CACHES[name]:
        check(f"floats {name} key-value cache {' '.join([kv, *scheme[1:2]])}", cache, folder, rows, kv, *scheme)
    for scheme in ("fp8-e4m3-128x128", "fp8-e4m3-64x32", "fp8-e4m3-tensor"):
        check(f"floats {name} {scheme} in layout fp8", fine_grained, folder, rows, scheme)

for kind, config in FAMILIES.items():
    check(f"floats {kind}, key-value cache", cache, tiny(kind, **config), rows, "fp8-e4m3-tensor")
for folder in sorted(glob.glob(os.path.join(ROOT, "tests/data/llmcompressor-*"))):
    if not folder.endswith("-int"):
        check(f"floats, {os.path.basename(folder)} read", theirs, folder)
common.finish()
