#!/usr/bin/env python3
"""nf4 in blocks of 64 by bitsandbytes on one thread: the tensor that bench_nf4 encodes, with and without double quantization.

    nf4_bitsandbytes.py ROWS COLS

Prints lines `NAME VERSION Mweights-per-second`, by processor time of the process, best of several.
"""
import sys
import time

import bitsandbytes
import torch
from bitsandbytes.functional import quantize_4bit

ROUNDS = 3


def main():
    rows, cols = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    weight = torch.randn(rows, cols) * 0.02
    for dtype in (torch.float32, torch.bfloat16):
        source = weight.to(dtype)
        for nested in (False, True):
            best = float("inf")
            for _ in range(ROUNDS):
                start = time.process_time()
                quantize_4bit(source, blocksize=64, quant_type="nf4", compress_statistics=nested)
                best = min(best, time.process_time() - start)
            name = f"nf4{'-dq' if nested else ''}-{'f32' if dtype == torch.float32 else 'bf16'}"
            print(name, f"bitsandbytes-{bitsandbytes.__version__}", f"{rows * cols / best / 1e6:.2f}", flush=True)


main()
