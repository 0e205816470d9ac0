#!/usr/bin/env python3
"""Wanda's selection (Sun et al. 2023, arXiv:2306.11695) in torch: scores, the lowest half of each row, and 2 of 4. The peer of
bench_mask.

    mask.py ROWS COLS

Prints lines `NAME VERSION Mweights-per-second`, by processor time of the process, best of several.
"""
import sys
import time

import torch

ROUNDS = 3


def half_of_rows(weight, norms):
    score = weight.abs() * norms
    lowest = torch.sort(score, dim=-1, stable=True)[1][:, : weight.shape[1] // 2]
    mask = torch.zeros_like(score, dtype=torch.bool)
    mask.scatter_(1, lowest, True)
    pruned = weight.clone()
    pruned[mask] = 0
    return pruned


def two_of_four(weight, norms):
    rows = weight.shape[0]
    score = weight.abs() * norms
    lowest = torch.topk(score.view(rows, -1, 4), 2, dim=2, largest=False)[1]
    mask = torch.zeros_like(score, dtype=torch.bool)
    mask.view(rows, -1, 4).scatter_(2, lowest, True)
    pruned = weight.clone()
    pruned[mask] = 0
    return pruned


def main():
    rows, cols = int(sys.argv[1]), int(sys.argv[2])
    torch.set_num_threads(1)
    weight = torch.randn(rows, cols) * 0.02
    norms = torch.rand(cols)
    for name, function in (("rows-50%", half_of_rows), ("2:4", two_of_four)):
        best = float("inf")
        for _ in range(ROUNDS):
            start = time.process_time()
            function(weight, norms)
            best = min(best, time.process_time() - start)
        print(name, torch.__version__, f"{weight.numel() / best / 1e6:.1f}", flush=True)


main()
