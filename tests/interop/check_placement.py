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
from accelerate import infer_auto_device_map
from accelerate.utils import check_device_map

from check_architectures import LENGTH, MODELS, make, reference


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


# ---- beside accelerate -----------------------------------------------------------------------------------------------


def beside_accelerate(model, folder):
    """Over many bounds. accelerate holds back the largest layer that is left even where nothing is offloaded, so ours never
    offloads more; where a block comes from the disk, or from the host to a GPU, both hold back the same, and agree."""
    sizes = {name: tensor.numel() * tensor.element_size() for name, tensor in model.state_dict().items()}
    stored = sum(p.numel() * p.element_size() for p in model.parameters())
    same = tried = 0
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
            a = {name: at for name, at in a.items() if "decoder.final_layer_norm" not in name}  # OPT's: made before the blocks
            for name in a:
                assert ORDER[a[name]] <= ORDER[b[name]], f"{memory}: {name} on {a[name]}, by accelerate on {b[name]}"
            same += all(a[name] == b[name] for name in a)
            for device, limit in theirs.items():
                held = devices[f"gpu{device}" if device == 0 else device]
                assert held["weights"] + held["reserved"] <= limit
    return same, tried


# ---- in transformers -------------------------------------------------------------------------------------------------


def loaded_by(family, prefix, suffix, options):
    model = make(family, prefix, suffix, options)
    folder = path(f"{family}{suffix}")
    model.save_pretrained(folder)
    ids = torch.randint(3, 119, (2, 24), generator=torch.Generator().manual_seed(1))
    expected = reference(model, suffix, ids)
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
    off = (reference(again, suffix, ids) - expected).abs().max().item()
    if not model._no_split_modules: # accelerate would take the blocks apart
        return off == 0.0, f"logits off by {off:.0e}"
    same, tried = beside_accelerate(model, folder)
    agree = same * 2 > tried or suffix == "ForMaskedLM" and tried == 0
    return off == 0.0 and agree, f"logits off by {off:.0e}; {same} of {tried} maps are accelerate's"


for family, prefix, suffix, configurations in MODELS:
    for options in configurations[:2]:
        check(f"device map, {family} {suffix} {options or ''}", loaded_by, family, prefix, suffix, options)
common.finish()
