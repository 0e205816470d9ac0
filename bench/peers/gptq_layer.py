#!/usr/bin/env python3
"""One linear layer through GPTQ in torch on the CPU, as published (Frantar et al. 2022, arXiv:2210.17323, algorithm 1):
the factor by cholesky, cholesky_inverse, cholesky; columns in lazy blocks of 128. The peer of bench_gptq.

    gptq_layer.py FOLDER ROWS COLS TOKENS GROUP

FOLDER holds raw float32 files w [ROWS, COLS] and x [TOKENS, COLS]. Prints one line:
peer VERSION gram-wall gram-cpu layer-wall layer-cpu loss   (seconds, best of several; cpu of all threads)
"""
import os
import sys
import time

import torch

BLOCK = 128
MAX_CODE = 15


def load(folder, name, rows, cols):
    return torch.from_file(os.path.join(folder, name), size=rows * cols, dtype=torch.float32).view(rows, cols).clone()


def grids(w, group):
    """Asymmetric min-max grids of the original weights: scale and zero [rows, groups]."""
    parts = w.split(group, dim=1)
    low = torch.stack([p.amin(1).clamp(max=0) for p in parts], 1)
    high = torch.stack([p.amax(1).clamp(min=0) for p in parts], 1)
    scale = (high - low).clamp(min=1e-8) / MAX_CODE
    return scale, torch.round(-low / scale)


def solve(w, h, scale, zero, group):
    cols = w.shape[1]
    w = w.clone()
    q = torch.zeros_like(w)
    u = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    loss = 0.0
    for first in range(0, cols, BLOCK):
        end = min(first + BLOCK, cols)
        block = w[:, first:end].clone()
        errors = torch.zeros_like(block)
        for j in range(first, end):
            column = block[:, j - first]
            s, z = scale[:, j // group], zero[:, j // group]
            projected = (torch.clamp(torch.round(column / s) + z, 0, MAX_CODE) - z) * s
            error = (column - projected) / u[j, j]
            q[:, j] = projected
            errors[:, j - first] = error
            block[:, j - first + 1:] -= error.unsqueeze(1) * u[j, j + 1:end].unsqueeze(0)
        loss += float((errors * errors).sum()) / 2
        w[:, end:] -= errors @ u[first:end, end:]
    return q, loss


def best(tries, function):
    wall = cpu = float("inf")
    result = None
    for _ in range(tries):
        start_wall, start_cpu = time.perf_counter(), time.process_time()
        result = function()
        wall = min(wall, time.perf_counter() - start_wall)
        cpu = min(cpu, time.process_time() - start_cpu)
    return wall, cpu, result


def main():
    folder = sys.argv[1]
    rows, cols, tokens, group = map(int, sys.argv[2:6])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_grad_enabled(False)
    w, x = load(folder, "w", rows, cols), load(folder, "x", tokens, cols)
    gram_wall, gram_cpu, h = best(5, lambda: x.t() @ x)
    h *= 2.0 / tokens
    h.diagonal().add_(0.01 * h.diagonal().mean())
    scale, zero = grids(w, group)
    tries = 5 if cols <= 1024 else 3 if cols <= 2048 else 1
    wall, cpu, (_, loss) = best(tries, lambda: solve(w, h, scale, zero, group))
    print(f"peer torch-{torch.__version__} {gram_wall} {gram_cpu} {wall} {cpu} {loss}")


main()
