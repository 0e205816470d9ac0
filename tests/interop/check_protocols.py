#!/usr/bin/env python3
"""`vise eval --protocol` beside loops over transformers' logits, and what is said of the distance to a reference beside torch:
the model that is bundled, and one of 11 million parameters where it is found."""
import json
import math
import os

import tokenizers
import torch

import common
from common import EXAMPLE, MODELS, check, load, path, skip, vise

TEXT = os.path.join(common.ROOT, "examples/text/test.txt")
LIMIT = 1e-4  # relative, of every figure


def evaluate(model, *options):
    return json.loads(vise("eval", model, "--text", path("text.txt"), "--json", *options))["accuracy"]


def ids_of(folder):
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    with open(path("text.txt"), encoding="utf-8") as file:
        text = file.read()
    plain = tokenizer.encode(text, add_special_tokens=False).ids
    with_bos = tokenizer.encode(text).ids
    return plain, with_bos[0] if len(with_bos) > len(plain) else None


@torch.no_grad()
def nll_of(model, window, first=0):
    """Of the predictions from `first` on, in float64."""
    logits = model(torch.tensor([window])).logits[0].double()
    return torch.nn.functional.cross_entropy(logits[first:-1], torch.tensor(window[first + 1:]), reduction="none")


def windows_of(protocol, ids, bos, length, stride):
    """(window, first prediction that counts), as the authors of each protocol write their loops."""
    if protocol == "windows":
        own = length - (bos is not None)
        for i in range(len(ids) // own):
            yield ([bos] if bos is not None else []) + ids[i * own:(i + 1) * own], 0
    elif protocol == "papers":
        for i in range(len(ids) // length):
            yield ids[i * length:(i + 1) * length], 0
    elif protocol == "stride":
        before = 0
        for begin in range(0, len(ids), stride):
            end = min(begin + length, len(ids))
            window = ids[begin:end]
            target = list(window)
            target[:len(window) - (end - before)] = [-100] * (len(window) - (end - before))
            yield window, next(i for i, t in enumerate(target[1:]) if t != -100)
            before = end
            if end == len(ids):
                break
    else:
        stream = ([bos] if bos is not None else []) + ids
        for i in range(len(stream) // length):
            window = stream[i * length:(i + 1) * length]
            yield ([bos] if bos is not None else window[:1]) + window[1:], length // 2


def protocols(folder, model, ids, bos, length, samples):
    for protocol, options in (("windows", []), ("papers", []), ("papers", ["--bos"]), ("stride", []), ("stride", ["--stride", length // 4]),
                              ("stride", ["--stride", length]), ("stride", ["--stride", length - 1, "--bos"]), ("llama.cpp", [])):
        def same():
            stride = options[1] if "--stride" in options else length // 2
            stream = [bos] + ids if "--bos" in options else ids
            losses = [nll_of(model, window, first) for (window, first), _ in
                      zip(windows_of(protocol, stream, bos, length, stride), range(samples))]
            every = torch.cat(losses)
            tokens, mean = len(every), every.mean().item()
            # llama.cpp's own error, and the one that takes windows as the units
            alone = math.sqrt((every.pow(2).mean().item() - mean * mean) / (tokens - 1)) * math.exp(mean)
            sums = torch.stack([l.sum() - mean * len(l) for l in losses])
            error = math.sqrt(sums.pow(2).sum().item() * len(losses) / (len(losses) - 1)) / tokens
            figures = evaluate(folder, "--protocol", protocol, "--length", length, "--samples", samples, *options)
            perplexity = figures["perplexity"]
            wanted = {"after": math.exp(mean), "stderr_tokens": alone, "stderr_after": error * math.exp(mean),
                      "low": math.exp(mean - 1.959964 * error), "high": math.exp(mean + 1.959964 * error)}
            off = max(abs(perplexity[key] / value - 1) for key, value in wanted.items())
            named = figures["protocol"] == protocol and ("bos" in figures) == ("--bos" in options) and \
                figures.get("stride", stride) == stride
            return figures["tokens"] == tokens and off <= LIMIT and named, \
                f"{tokens} predictions, perplexity {math.exp(mean):.4f} +- {error * math.exp(mean):.4f} (tokens alone {alone:.4f}), " \
                f"relative difference {off:.0e}"
        check(f"protocol {protocol} {' '.join(map(str, options))} {os.path.basename(folder)}", same)


def whole_text(folder, model, ids):
    """Every token but the first counts once, and bits per byte are those of the text's bytes."""
    figures = evaluate(folder, "--protocol", "stride", "--length", 128)
    with open(path("text.txt"), "rb") as file:
        size = len(file.read())
    bits = math.log2(figures["perplexity"]["after"]) * figures["tokens"] / figures["bits_per_byte"]["after"]
    return figures["tokens"] == len(ids) - 1 and 0 <= size - bits < 32, f"{figures['tokens']} tokens of {len(ids)}, {bits:.1f} bytes of {size}"


def reference(folder, model, ids, bos, length, samples):
    """KL divergence, agreement and probabilities of a quantized copy, which both sides read."""
    copy = path("quantized-" + os.path.basename(folder))
    vise("quant", folder, "-o", copy, "--scheme", "int4-g32", "--otherwise", "int8-channel")
    dense = path("dense-" + os.path.basename(folder))
    vise("convert", copy, "-o", dense, "--dequantize", "--dtype", "f32")
    after, wrong = load(dense)
    for protocol in "windows", "llama.cpp":
        def same():
            kl, delta, top, losses = [], [], [], [[], []]
            for (window, first), _ in zip(windows_of(protocol, ids, bos, length, 0), range(samples)):
                with torch.no_grad():
                    p, q = (torch.log_softmax(m(torch.tensor([window])).logits[0, first:-1].double(), -1) for m in (model, after))
                target = torch.tensor(window[first + 1:])[:, None]
                kl.append((p.exp() * (p - q)).sum(-1))
                delta.append((q.gather(1, target).exp() - p.gather(1, target).exp())[:, 0])
                top.append(p.argmax(-1) == q.argmax(-1))
                losses[0].append(-q.gather(1, target).sum().item())
                losses[1].append(-p.gather(1, target).sum().item())
            windows = len(kl)
            kl, delta, top = torch.cat(kl), torch.cat(delta), torch.cat(top).double()
            tokens = len(kl)
            figures = evaluate(copy, "--reference", folder, "--protocol", protocol, "--length", length, "--samples", samples)
            wanted = {("kl", "mean"): kl.mean(), ("kl", "max"): kl.max(), ("kl", "min"): kl.min(), ("delta_p", "mean"): delta.mean(),
                      ("delta_p", "rms"): delta.pow(2).mean().sqrt(), ("delta_p", "min"): delta.min(), ("delta_p", "max"): delta.max()}
            for q, name in (50, "p50"), (90, "p90"), (95, "p95"), (99, "p99"), (99.9, "p999"):
                wanted["kl", name] = kl.quantile(q / 100)
                if q < 99.9:
                    wanted["delta_p", name] = delta.quantile(q / 100)
            ratio = math.exp((sum(losses[0]) - sum(losses[1])) / tokens)
            difference = torch.tensor([a - b for a, b in zip(*losses)], dtype=torch.float64) - math.log(ratio) * tokens / windows
            ratio_error = ratio * math.sqrt(difference.pow(2).sum().item() * windows / (windows - 1)) / tokens
            # Float32 logits: differences of nearly equal probabilities are as exact as the greatest of their kind.
            scale = {"kl": kl.mean().item(), "delta_p": delta.abs().mean().item()}
            off = max(abs(figures[a][b] - value.item()) / max(abs(value.item()), scale[a]) for (a, b), value in wanted.items())
            off = max(off, abs(figures["perplexity"]["ratio"] / ratio - 1), abs(figures["perplexity"]["stderr"] / ratio_error - 1) / 10)
            agreement = abs(figures["top1_agreement"] - top.mean().item()) * tokens
            return not wrong and figures["tokens"] == tokens and off <= LIMIT and agreement < 0.5, \
                f"{wrong}{tokens} predictions, KL {kl.mean():.5f}, delta p {100 * delta.mean():+.3f} %, agreement " \
                f"{100 * top.mean():.2f} % ({agreement:.1f} tokens apart), relative difference {off:.0e}"
        check(f"reference {protocol} {os.path.basename(folder)}", same)


def main():
    found = [(EXAMPLE, 64, 24), (os.path.join(MODELS, "llama-books"), 96, 8)]
    with open(TEXT, encoding="utf-8") as source, open(path("text.txt"), "w", encoding="utf-8") as file:
        file.write(source.read()[:12000])
    for folder, length, samples in found:
        if not os.path.isdir(folder):
            skip(f"protocols {os.path.basename(folder)}", "not found in ../shared/models")
            continue
        model, wrong = load(folder)
        ids, bos = ids_of(folder)
        protocols(folder, model, ids, bos, length, samples)
        check(f"every token once {os.path.basename(folder)}", whole_text, folder, model, ids)
        reference(folder, model, ids, bos, length, samples)
    common.finish()


main()
