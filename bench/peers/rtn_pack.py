#!/usr/bin/env python3
"""Round to nearest, int4 in groups of 128, asymmetric, eight codes to a word: in torch and in numpy. The peer of bench_rtn.

    rtn_pack.py ROWS COLS

Prints lines `NAME VERSION Mweights-per-second`, by processor time of the process, best of several.
"""
import sys
import time

import numpy as np
import torch

GROUP = 128
ROUNDS = 5


def in_torch(weight):
    rows, cols = weight.shape
    groups = weight.float().view(rows, cols // GROUP, GROUP)
    low = groups.amin(2, keepdim=True).clamp(max=0)
    high = groups.amax(2, keepdim=True).clamp(min=0)
    scale = (high - low).clamp(min=1e-8) / 15
    zero = torch.round(-low / scale)
    codes = torch.clamp(torch.round(groups / scale) + zero, 0, 15).to(torch.int32).view(rows, cols // 8, 8)
    words = torch.zeros(rows, cols // 8, dtype=torch.int32)
    for i in range(8):
        words |= codes[:, :, i] << (4 * i)
    return words, scale.bfloat16(), zero.to(torch.uint8)


def in_numpy(weight):
    rows, cols = weight.shape
    groups = weight.reshape(rows, cols // GROUP, GROUP)
    low = np.minimum(groups.min(2, keepdims=True), 0)
    high = np.maximum(groups.max(2, keepdims=True), 0)
    scale = np.maximum(high - low, 1e-8) / 15
    zero = np.round(-low / scale)
    codes = np.clip(np.round(groups / scale) + zero, 0, 15).astype(np.uint32).reshape(rows, cols // 8, 8)
    words = np.zeros((rows, cols // 8), np.uint32)
    for i in range(8):
        words |= codes[:, :, i] << np.uint32(4 * i)
    return words, scale.astype(np.float16), zero.astype(np.uint8)


def main():
    rows, cols = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    weight = torch.randn(rows, cols) * 0.02
    for name, function, argument in (
        ("torch-f32 " + torch.__version__, in_torch, weight),
        ("torch-bf16 " + torch.__version__, in_torch, weight.bfloat16()),
        ("numpy-f32 " + np.__version__, in_numpy, weight.numpy()),
    ):
        best = float("inf")
        for _ in range(ROUNDS):
            start = time.process_time()
            function(argument)
            best = min(best, time.process_time() - start)
        print(name, f"{rows * cols / best / 1e6:.1f}", flush=True)


main()
