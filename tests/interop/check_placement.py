#!/usr/bin/env python3
"""Where modules lie: the device maps of `vise plan --device-map` beside accelerate's, and in transformers; and
`vise convert --offload-folder` read by accelerate."""
import json
import os
import warnings

import common  # first: it silences what is imported next
from common import EXAMPLE, check, path, vise

import accelerate
import torch
from accelerate import disk_offload, infer_auto_device_map
from accelerate.utils import calculate_maximum_sizes, check_device_map, load_offloaded_weight, offload_weight
from safetensors.torch import load_file, save_file

from check_architectures import CLS, MODELS, make, reference


def plan(folder, memory, *options):
    """The map, and what the plan says of each device."""
    out = path("map.json")
    told = json.loads(vise("plan", folder, "--memory", memory, "--device-map", out, "--json", *options))
    written = json.load(open(out))
    assert written == told["device_map"]
    return written, {device["device"]: device for device in told["devices"]}


def spread(device_map, names):
    """The device of every tensor."""
    def of(name):
        while name not in device_map:
            if not name:
                raise AssertionError("a tensor without a device")
            name = name.rpartition(".")[0]
        return device_map[name]

    return {name: of(name) for name in names}


# What a GPU that is not here would hold: accelerate takes out of the bounds what the machine has not.
accelerate.utils.modeling.get_max_memory = lambda bounds: bounds
ORDER = {0: 0, 1: 1, "cpu": 8, "disk": 9}
# Accelerate goes by the order in which a class makes its modules. Ours is that in which they run, where the two differ: OPT's
# norm and projection behind the blocks are made in front of them, XLM-RoBERTa's classifier is made first, and the parts of a
# tower of images have no order that the file tells.
OUT_OF_ORDER = {
    "OPT": ("decoder.final_layer_norm", "decoder.project_out"),
    "XLMRoberta": ("classifier",),
    "Gemma3For": ("vision_tower", "multi_modal_projector"),
    "Mistral3": ("vision_tower", "multi_modal_projector"),
    "Qwen2VL": ("visual",),
    "Qwen2_5_VL": ("visual",),
}


# ---- beside accelerate -----------------------------------------------------------------------------------------------


def beside_accelerate(model, folder):
    """Over many bounds. accelerate holds back the largest layer that is left even where nothing is offloaded, so ours never
    offloads more; where a block comes from the disk, or from the host to a GPU, both hold back the same, and agree."""
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in model.state_dict().items()}
    stored = sum(p.numel() * p.element_size() for p in model.parameters())
    same = tried = 0
    exempt = [part for kind, parts in OUT_OF_ORDER.items() if type(model).__name__.startswith(kind) for part in parts]
    for kind in ("cpu", "gpu"):
        for share in range(30, 125, 5):
            bytes_ = stored * share // 100
            theirs = {"cpu": bytes_} if kind == "cpu" else {0: bytes_, "cpu": 10 * stored}
            memory = f"cpu={bytes_}" if kind == "cpu" else f"gpu0={bytes_},cpu={10 * stored}"
            try:
                ours, devices = plan(folder, memory, "--context", 0)
            except common.ViseError as error:
                assert "too small" in str(error), error
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    reference = infer_auto_device_map(model, max_memory=theirs,
                                                      no_split_module_classes=model._no_split_modules)
                except IndexError:  # it cannot place an encoder with a tied head
                    continue
            a, b = spread(ours, sizes), spread(reference, sizes)
            tried += 1
            a = {name: at for name, at in a.items() if not any(part in name for part in exempt)}
            for name in a:
                assert ORDER[a[name]] <= ORDER[b[name]], f"{memory}: {name} on {a[name]}, by accelerate on {b[name]}"
            same += all(a[name] == b[name] for name in a)
            for device, limit in theirs.items():
                held = devices[f"gpu{device}" if device == 0 else device]
                assert held["weights"] + held["reserved"] <= limit
    return same, tried


# ---- in transformers -------------------------------------------------------------------------------------------------


def outputs(model, suffix, ids):
    """Rows of a classifier in one batch where it has a token to pad with: by itself each is a product with a vector, whose
    rounding depends on where the weights happen to lie in memory, offloaded or not."""
    if suffix != CLS or model.config.get_text_config().pad_token_id is None:
        return reference(model, suffix, ids)
    with torch.no_grad():
        return model(ids).logits


def loaded_by(family, prefix, suffix, options):
    model = make(family, prefix, suffix, options)
    folder = path(f"{family}{suffix}")
    model.save_pretrained(folder)
    ids = torch.randint(3, 119, (2, 24), generator=torch.Generator().manual_seed(1))
    expected = outputs(model, suffix, ids)
    stored = sum(p.numel() * p.element_size() for p in model.parameters())
    device_map, devices = plan(folder, f"cpu={stored * 7 // 10}", "--context", 0)
    assert set(device_map.values()) == {"cpu", "disk"}, device_map
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_device_map(model, device_map)
        again = type(model).from_pretrained(folder, device_map=device_map, offload_folder=path("offload"),
                                            attn_implementation=model.config._attn_implementation)
    wrong = [str(w.message) for w in caught if "device_map" in str(w.message)
             and not str(w.message).endswith("['embed_out']")]  # its name in older versions
    assert not wrong, wrong
    assert again.hf_device_map == device_map
    off = (outputs(again, suffix, ids) - expected).abs().max().item()
    if not model._no_split_modules: # accelerate would take the blocks apart
        return off == 0.0, f"logits off by {off:.0e}"
    same, tried = beside_accelerate(model, folder)
    agree = same * 2 > tried or suffix == "ForMaskedLM" and tried == 0
    return off == 0.0 and agree, f"logits off by {off:.0e}; {same} of {tried} maps are accelerate's"


# ---- offloaded -------------------------------------------------------------------------------------------------------


def offloaded(family, prefix, suffix, options, dtype):
    """Every tensor of the class, bit for bit, by accelerate's reader; and a model whose weights lie there alone."""
    model = make(family, prefix, suffix, options).to(dtype)
    folder, off = path(f"{family}{suffix}-{dtype}"), path(f"{family}{suffix}-{dtype}.off")
    model.save_pretrained(folder)
    vise("convert", folder, "-o", path("out"), "--offload-folder", off, "--force", "--memory", "64MB")
    index = json.load(open(os.path.join(off, "index.json")))
    state = model.state_dict()
    missing = sorted(set(state) - set(index))
    assert not missing, f"not in the index: {missing}"
    for name, tensor in state.items():
        got = load_offloaded_weight(os.path.join(off, f"{name}.dat"), index[name])
        assert got.dtype == tensor.dtype and got.shape == tensor.shape and torch.equal(got, tensor), name
    ids = torch.randint(3, 119, (2, 24), generator=torch.Generator().manual_seed(1))
    expected = reference(model, suffix, ids)
    torch.manual_seed(5)
    other = type(model)(model.config).to(dtype).eval()
    disk_offload(other, off)
    off_by = (reference(other, suffix, ids) - expected).abs().max().item()
    return off_by == 0.0, f"{len(state)} tensors; logits off by {off_by:.0e}"


def every_dtype():
    """What a file may hold: float8 and integers, a scalar, and a name that starts with a dot."""
    tensors = {f"m.{str(dtype)[6:]}": torch.arange(12).to(dtype).reshape(3, 4) for dtype in (
        torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2, torch.int64,
        torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)}
    tensors["scalar"] = torch.tensor(1.5)
    tensors["bf16 scalar"] = torch.tensor(2.5, dtype=torch.bfloat16)
    save_file(tensors, path("dtypes.safetensors"))
    vise("convert", path("dtypes.safetensors"), "-o", path("copy.safetensors"), "--offload-folder", path("dtypes.off"))
    theirs = {}
    os.makedirs(path("theirs"))
    for name, tensor in tensors.items():
        offload_weight(tensor, name, path("theirs"), theirs)
    ours = json.load(open(path("dtypes.off", "index.json")))
    wrong = [name for name in tensors if ours[name] != {"dtype": theirs[name]["dtype"], "shape": list(theirs[name]["shape"])}
             or open(path("dtypes.off", name + ".dat"), "rb").read() != open(path("theirs", name + ".dat"), "rb").read()
             or not same(load_offloaded_weight(path("dtypes.off", name + ".dat"), ours[name]), tensors[name])]
    return not wrong, f"{len(tensors)} tensors, index and files as accelerate writes them {wrong or ''}"


def same(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(a.float(), b.float())


def bare():
    """A file of the bare model, whose names lack the prefix that those of its class have."""
    model = make("gpt2", "GPT2LMHeadModel", "", {})
    folder = path("bare")
    model.save_pretrained(folder)
    file = os.path.join(folder, "model.safetensors")
    save_file({name.removeprefix("transformer."): tensor.clone() for name, tensor in load_file(file).items()}, file,
              metadata={"format": "pt"})
    vise("convert", folder, "-o", path("bare.out"), "--offload-folder", path("bare.off"))
    index = json.load(open(path("bare.off", "index.json")))
    assert set(model.state_dict()) <= set(index), sorted(set(model.state_dict()) - set(index))
    device_map, _ = plan(folder, "cpu=250kB", "--context", 0)
    ids = torch.arange(3, 40).reshape(1, -1)
    again = type(model).from_pretrained(folder, device_map=device_map, offload_folder=path("offload"),
                                        attn_implementation="eager")
    off = (again(ids).logits - model(ids).logits).abs().max().item()
    return off == 0.0 and "transformer.h.0" in device_map and "disk" in device_map.values(), f"logits off by {off:.0e}"


def estimated(family, prefix, suffix, options):
    """The sum and float32 training of accelerate's estimate-memory, which knows of dtypes alone."""
    model = make(family, prefix, suffix, options)
    folder = path("estimated")
    model.save_pretrained(folder)
    memory = json.loads(vise("inspect", folder, "--json"))["memory"]
    total, _ = calculate_maximum_sizes(model)
    ours = {row["name"]: row for row in memory["run"]}
    trained = memory["training"][0]
    tied = sum(t.numel() * t.element_size() for t in model.parameters())
    # It counts buffers, which are in no file: angles, masks (a bool as an eighth of a byte).
    buffers = sum(t.numel() * (t.element_size() if t.dtype != torch.bool else 1 / 8) for t in model.buffers())
    good = total == tied + buffers
    good = good and ours["f32"]["weights"] == tied and ours["bf16"]["weights"] * 2 == tied
    good = good and trained["weights"] + trained["gradients"] + trained["optimizer"] == 4 * tied
    return good, f"{tied} bytes, by accelerate {total}"


for family, prefix, suffix, configurations in MODELS:
    if suffix == "ForCausalLM":
        check(f"memory, {family}", estimated, family, prefix, suffix, configurations[0])
check("offload, every dtype", every_dtype)
check("device map and offload, a file without prefixes", bare)
for family, prefix, suffix, configurations in MODELS:
    if "Moe" not in prefix and prefix != "Mixtral":  # whose experts transformers 5 stacks while it loads a file
        check(f"offload, {family} {suffix}", offloaded, family, prefix, suffix, configurations[-1],
              torch.bfloat16 if family == "llama" else torch.float32)
for family, prefix, suffix, configurations in MODELS:
    for options in configurations[:2]:
        check(f"device map, {family} {suffix} {options or ''}", loaded_by, family, prefix, suffix, options)
common.finish()
