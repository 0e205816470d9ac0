#!/usr/bin/env python3
"""One Llama block in eager torch on the CPU, float32: the peer of bench_forward.

    forward_block.py HIDDEN FFN HEADS KV_HEADS HEAD_DIM WINDOWS LENGTH TRIES

Windows are run as one batch of 8 at a time (faster here than one by one). Prints: peer VERSION wall cpu   (seconds)
"""
import os
import sys
import time

import torch
import torch.nn.functional as F


def rms_norm(x, weight):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight


def rotate(x, cosine, sine):
    half = x.shape[-1] // 2
    return x * cosine + torch.cat((-x[..., half:], x[..., :half]), -1) * sine


def main():
    hidden, ffn, heads, kv, dim, windows, length, tries = map(int, sys.argv[1:9])
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    q, k, v, o = (torch.randn(n, m) * m**-0.5 for n, m in ((heads * dim, hidden), (kv * dim, hidden),
                                                          (kv * dim, hidden), (hidden, heads * dim)))
    gate, up, down = (torch.randn(n, m) * m**-0.5 for n, m in ((ffn, hidden), (ffn, hidden), (hidden, ffn)))
    norms = torch.ones(2, hidden)
    angle = torch.arange(length)[:, None] * 1e4 ** (-torch.arange(0, dim, 2) / dim)
    cosine, sine = (torch.cat((f(angle), f(angle)), -1) for f in (torch.cos, torch.sin))

    def block(x):
        n = rms_norm(x, norms[0])
        parts = [(n @ w.t()).view(x.shape[0], length, -1, dim).transpose(1, 2) for w in (q, k, v)]
        a = F.scaled_dot_product_attention(rotate(parts[0], cosine, sine), rotate(parts[1], cosine, sine), parts[2],
                                           is_causal=True, enable_gqa=True)
        x = x + a.transpose(1, 2).reshape(x.shape[0], length, -1) @ o.t()
        n = rms_norm(x, norms[1])
        return x + (F.silu(n @ gate.t()) * (n @ up.t())) @ down.t()

    x = torch.randn(windows, length, hidden)
    wall = cpu = float("inf")
    for _ in range(tries):
        start_wall, start_cpu = time.perf_counter(), time.process_time()
        for first in range(0, windows, 8):
            block(x[first:first + 8])
        wall = min(wall, time.perf_counter() - start_wall)
        cpu = min(cpu, time.process_time() - start_cpu)
    print(f"peer torch-{torch.__version__} {wall} {cpu}")


main()
