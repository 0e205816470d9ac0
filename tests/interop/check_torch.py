#!/usr/bin/env python3
"""What torch.save wrote, read by vise: the logits are transformers', the tensors those of the safetensors version."""
import json
import os
import shutil

import torch

from common import (LIMIT, ViseError, check, distance, finish, load, load_file, logits_of, make_llama, path, sample_rows,
                    vise, vise_logits)


def beside(folder, name):
    """A new folder with the model's files but its weights."""
    target = path(name)
    shutil.copytree(folder, target, ignore=shutil.ignore_patterns("*.safetensors*"))
    return target


def whole(state, folder):
    torch.save(state, os.path.join(folder, "pytorch_model.bin"))


def legacy(state, folder):
    torch.save(state, os.path.join(folder, "pytorch_model.bin"), _use_new_zipfile_serialization=False)


def protocol5(state, folder):
    torch.save(dict(state), os.path.join(folder, "model.pt"), pickle_protocol=5)


def shards(state, folder):
    names = sorted(state, key=lambda name: name.startswith("model.layers"))  # tied ones in one, as transformers 4 did
    where = {}
    split = [0, 10, 20, len(names)]
    for i in range(3):
        file = f"pytorch_model-0000{i + 1}-of-00003.bin"
        part = names[split[i]:split[i + 1]]
        where.update({name: file for name in part})
        torch.save({name: state[name] for name in part}, os.path.join(folder, file))
    with open(os.path.join(folder, "pytorch_model.bin.index.json"), "w") as file:
        json.dump({"metadata": {}, "weight_map": where}, file)


def views(state, folder):
    """Matrices stored transposed, and all of a layer's in one storage."""
    changed = {}
    for name, tensor in state.items():
        changed[name] = tensor.t().contiguous().t() if tensor.dim() == 2 else torch.stack([tensor, tensor], 1)[:, 1]
    for layer in range(3):
        names = [f"model.layers.{layer}.self_attn.{part}_proj.weight" for part in "qkv"]
        fused = torch.cat([state[name] for name in names])
        for name, rows in zip(names, fused.split([len(state[name]) for name in names])):
            changed[name] = rows
    if state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr():
        changed["lm_head.weight"] = changed["model.embed_tokens.weight"]
    torch.save(changed, os.path.join(folder, "pytorch_model.bin"))


def parameters(state, folder):
    torch.save({name: torch.nn.Parameter(tensor) for name, tensor in state.items()},
               os.path.join(folder, "consolidated.00.pth"))


def training(state, folder):
    values = [torch.nn.Parameter(tensor.clone()) for tensor in state.values()]
    optimizer = torch.optim.AdamW(values)
    for value in values:
        value.grad = torch.ones_like(value)
    optimizer.step()
    torch.save({"step": 7, "model": {"module." + name: tensor for name, tensor in state.items()},
                "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}, os.path.join(folder, "last.ckpt"))


def bits(tensor):
    return tensor.contiguous().view(torch.uint8)


def same(model, folder, name, save, rows):
    ours = beside(folder, name)
    state = model.state_dict()
    if name.startswith("bf16"):
        state = {key: tensor.bfloat16() for key, tensor in state.items()}
    save(state, ours)
    vise("convert", ours, "-o", path(name + "-out"), "--force")
    tensors = load_file(os.path.join(path(name + "-out"), "model.safetensors"))
    wanted = load_file(os.path.join(folder, "model.safetensors"))
    wrong = sorted(set(tensors) ^ set(wanted)) + [
        key for key in tensors if key in wanted and not
        (tensors[key].dtype == wanted[key].dtype and torch.equal(bits(tensors[key]), bits(wanted[key])))]
    off = distance(vise_logits(ours, rows)[0], logits_of(model, rows))
    twin = vise_logits(folder, rows)[0].equal(vise_logits(ours, rows)[0])
    return not wrong and off < LIMIT and twin, f"{len(tensors)} tensors equal, logits off by {off:.0e}{wrong or ''}"


def nothing_runs():
    """A pickle that would make a file when it is loaded."""
    class Evil:
        def __reduce__(self):
            return os.mkdir, (path("evil"),)

    torch.save({"a": torch.ones(2), "b": Evil()}, path("evil.pt"))
    try:
        vise("inspect", path("evil.pt"))
    except ViseError as error:
        return "refuses to load" in str(error) and not os.path.exists(path("evil")), str(error).split("ended with ")[1]
    return False, "accepted"


def main():
    for kind, options in (("untied", {}), ("tied", {"tie_word_embeddings": True}), ("bf16", {"dtype": torch.bfloat16})):
        folder = path(kind)
        make_llama(folder, **options)
        model = load(folder)[0]
        rows = sample_rows(model, 2, 24)
        for save in (whole, legacy, protocol5, shards, views, parameters, training):
            check(f"torch {kind}, {save.__name__}", same, model, folder, f"{kind}-{save.__name__}", save, rows)
    check("torch nothing is executed", nothing_runs)


main()
finish()
