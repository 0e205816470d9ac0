#!/usr/bin/env python3
"""Every linear of a Hugging Face folder to nf4 by bitsandbytes, shard by shard, saved as safetensors. The peer of bench_run_nf4.

    nf4_model.py MODEL OUT nested|plain

Prints processor and wall seconds behind the imports.
"""
import glob
import os
import sys
import time

import torch
from bitsandbytes.functional import quantize_4bit
from safetensors.torch import load_file, save_file


def main():
    model, out, nested = sys.argv[1:]
    os.makedirs(out, exist_ok=True)
    cpu, wall = time.process_time(), time.perf_counter()
    for path in sorted(glob.glob(os.path.join(model, "*.safetensors"))):
        kept = {}
        for name, tensor in load_file(path).items():
            if tensor.ndim != 2 or "embed" in name or "lm_head" in name:
                kept[name] = tensor
                continue
            packed, state = quantize_4bit(tensor, blocksize=64, quant_type="nf4", compress_statistics=nested == "nested")
            kept[name] = packed
            kept.update({name + "." + key: value for key, value in state.as_dict(packed=True).items()})
        save_file(kept, os.path.join(out, os.path.basename(path)))
    print(f"{time.process_time() - cpu:.2f} {time.perf_counter() - wall:.2f}")


main()
