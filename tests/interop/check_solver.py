#!/usr/bin/env python3
"""The solver of --method gptq beside GPTQ in torch, in the terms of its authors' code: asymmetric int4 in groups of 128,
float32 scales, the range of a group from the weights as updated so far, columns from left to right, damping 0.01 of the mean
diagonal. The algorithm is arXiv:2210.17323, written here in torch; where ../shared/peers/peer_gptq.py is found, its function
must give the same matrix to the last bit, so that codes and loss are compared with that program too.
"""
import os
import subprocess
import time

import common  # first: it silences what is imported next
from common import BUILD, ROOT, check, path, skip

import numpy as np
import torch

GROUP = BLOCK = 128
HIGHEST = 15
PEER = os.path.join(ROOT, "../shared/peers/peer_gptq.py")


def gptq(weight, gram):
    """Returns the quantized weight, its codes and the loss."""
    w, h = weight.clone(), gram.clone()
    rows, cols = w.shape
    h.diagonal().add_(0.01 * h.diagonal().mean())
    factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(h)), upper=True)
    out, codes, loss = torch.zeros_like(w), torch.zeros(w.shape, dtype=torch.uint8), 0.0
    for start in range(0, cols, BLOCK):
        end = min(start + BLOCK, cols)
        block, u = w[:, start:end].clone(), factor[start:end, start:end]
        errors = torch.zeros_like(block)
        for i in range(end - start):
            if (start + i) % GROUP == 0:
                group = block[:, i:i + GROUP]
                low, high = group.amin(1).clamp(max=0), group.amax(1).clamp(min=0)
                scale = (high - low).clamp(min=1e-8) / HIGHEST
                zero = torch.round(-low / scale)
            code = torch.clamp(torch.round(block[:, i] / scale) + zero, 0, HIGHEST)
            q = (code - zero) * scale
            error = (block[:, i] - q) / u[i, i]
            out[:, start + i], codes[:, start + i], errors[:, i] = q, code.to(torch.uint8), error
            block[:, i:] -= error.unsqueeze(1) * u[i, i:].unsqueeze(0)
        loss += float((errors * errors).sum()) / 2
        if end < cols:
            w[:, end:] -= errors @ factor[start:end, end:]
    return out, codes, loss


def peer_function():
    """gptq_torch of the peer's script, which runs a benchmark when it is imported."""
    text = open(PEER).read()
    start, end = text.index("def gptq_torch"), text.index("def gptq_np")
    names = {"GS": GROUP, "BS": BLOCK, "MAXQ": HIGHEST, "time": time}
    exec(text[start:end], names)
    return names["gptq_torch"]


def problem(rows, cols, seed):
    """Weights and the Gram matrix of inputs that go together, as peer_gptq.py makes them."""
    random = np.random.default_rng(seed)
    w = random.standard_normal((rows, cols), dtype=np.float32) * np.float32(0.02)
    tokens = 2048
    x = random.standard_normal((tokens, cols), dtype=np.float32)
    x[:, 1:] += 0.5 * x[:, :-1]
    x = torch.from_numpy(x)
    h = x.t() @ x * (2.0 / tokens)
    h += 0.05 * torch.eye(cols) * h.diagonal().mean()
    return torch.from_numpy(w), h


def solve(program, weight, gram, actorder="none", ranges="updated"):
    rows, cols = weight.shape
    weight.numpy().tofile(path("w"))
    gram.numpy().tofile(path("h"))
    run = subprocess.run([program, "int4-g128-asym", ranges, actorder, str(rows), str(cols), path("w"), path("h"), path("q")],
                         capture_output=True, text=True)
    if run.returncode != 0:
        raise common.ViseError(run.stderr.strip())
    data = open(path("q"), "rb").read()
    codes = torch.frombuffer(bytearray(data[:rows * cols]), dtype=torch.uint8).reshape(rows, cols)
    q = torch.frombuffer(bytearray(data[rows * cols:]), dtype=torch.float32).reshape(rows, cols)
    return q, codes, float(run.stdout.split()[0])


def true_loss(weight, q, gram):
    """1/2 tr((W - Q) H (W - Q)^T) in float64, H damped as the solver sees it."""
    h = gram.double()
    h.diagonal().add_(0.01 * h.diagonal().mean())
    d = (weight - q).double()
    return float(((d @ h) * d).sum()) / 2


def agrees(program, rows, cols, seed):
    weight, gram = problem(rows, cols, seed)
    ours, ours_codes, ours_loss = solve(program, weight, gram)
    theirs, theirs_codes, theirs_loss = gptq(weight, gram)
    equal = (ours_codes == theirs_codes).double().mean().item()
    off = abs(ours_loss / theirs_loss - 1)
    honest = abs(ours_loss / true_loss(weight, ours, gram) - 1)  # the loss told is that of the weight written
    same_program = ""
    if os.path.exists(PEER):
        theirs_again, loss_again, _ = peer_function()(weight, gram)
        if not torch.equal(theirs_again, theirs) or loss_again != theirs_loss:
            return False, "the algorithm as written here is not peer_gptq.py's"
        same_program = ", peer_gptq.py to the bit"
    return equal >= 0.999 and off <= 1e-3 and honest <= 1e-3, \
        f"{100 * equal:.4f} % equal codes, loss {off:.0e} apart ({ours_loss:.4f}; {honest:.0e} from that of its weights)" \
        f"{same_program}"


def static_order(program):
    """Activation order does what it is for: on inputs of very unequal size the loss falls."""
    weight, gram = problem(256, 512, 9)
    size = torch.logspace(0, 2, 512)[torch.randperm(512, generator=torch.Generator().manual_seed(1))]
    gram = gram * size[:, None] * size[None, :]
    plain, sorted_ = (true_loss(weight, solve(program, weight, gram, order, "original")[0], gram) for order in ("none", "static"))
    return sorted_ < plain, f"loss {sorted_:.1f} against {plain:.1f} from left to right"


program = path("solve")
subprocess.run([os.environ.get("CC", "gcc"), "-std=c17", "-D_GNU_SOURCE", "-O2", "-I" + ROOT,
                os.path.join(ROOT, "tests/interop/solve_main.c"), os.path.join(BUILD, "libvise.a"), "-lcjson", "-lzstd",
                "-lutf8proc", "-lpcre2-8", "-lm", "-lpthread", "-ldl", "-o", program], check=True)
if not os.path.exists(PEER):
    skip("solver peer_gptq.py", "not found in ../shared/peers; compared with the same algorithm as written here")
for seed, (rows, cols) in enumerate([(512, 512), (768, 768), (2048, 1024), (200, 640)]):
    check(f"solver {rows} x {cols}", agrees, program, rows, cols, seed)
check("solver static activation order", static_order, program)
common.finish()
