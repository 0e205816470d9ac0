#!/usr/bin/env python3
"""Files that llm-compressor wrote (peers_write.py): vise gives the logits that transformers gives of them, and decodes the
weights that the compressed-tensors library decodes.

    build/venv/bin/python tests/interop/check_peers.py FOLDER
"""
import glob
import os
import sys

import common
from common import check, logits_of, path, sample_rows, vise, vise_logits
from compressed import compare, load_compressed, same_with_activations, stored_tensors

import torch


def cache(theirs):
    """The same scales from the same windows, and its file is read to transformers' logits."""
    source = os.path.join(os.path.dirname(theirs), "source")
    rows = torch.randint(3, 90, (16, 96), generator=torch.Generator().manual_seed(3))
    vise("quant", source, "-o", path("q"), "--kv-scheme", os.path.basename(theirs), "--calibration",
         os.path.join(source, "rows.jsonl"), "--samples", 16, "--length", 64, "--force")
    a, b = stored_tensors(path("q")), stored_tensors(theirs)
    names = [name for name in b if name.endswith(("k_scale", "v_scale"))]
    if sorted(a) != sorted(b) or len(names) != 2 or any(a[name].shape != b[name].shape for name in names):
        return False, "other tensors"
    off = max((a[name] / b[name] - 1).abs().max().item() for name in names)
    model, wrong = load_compressed(theirs)
    good, detail = same_with_activations(model, rows, vise_logits(theirs, rows)[0], logits_of(model, rows), static=True)
    return good and not wrong and off < 1e-6, f"{wrong}scales off by {off:.0e} at most, {detail}"


folder = sys.argv[1]
for config in sorted(glob.glob(os.path.join(folder, "*/*/config.json"))):
    model = os.path.dirname(config)
    if os.path.basename(os.path.dirname(model)) == "cache":
        if os.path.basename(model) != "source":
            check(f"llm-compressor {os.path.relpath(model, folder)}", cache, model)
    elif os.path.basename(model) != "source":
        check(f"llm-compressor {os.path.relpath(model, folder)}",
              lambda: compare(model, sample_rows(load_compressed(model)[0], 16, 96)))
common.finish()
