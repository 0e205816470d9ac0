#!/usr/bin/env python3
"""Whole models in eager torch on the CPU, float32: the peer of bench_forward.

    forward_model.py prepare NAME FOLDER                    writes random weights, unless they are there
    forward_model.py time FOLDER WINDOWS LENGTH TRIES       prints: peer VERSION wall cpu mean   (seconds)

Written for speed: fused attention, addmm, torch's own norms and GELU, one window or four at a time, the better counts.
From ids to logits of every token; mean is that of logsumexp over the tokens.
"""
import json
import os
import sys
import time

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

LLAMA = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu", "rms_norm_eps": 1e-5,
         "rope_theta": 10000.0, "tie_word_embeddings": False, "num_hidden_layers": 1}


def llama(hidden, ffn, heads, kv, vocab):
    return {**LLAMA, "hidden_size": hidden, "intermediate_size": ffn, "num_attention_heads": heads, "vocab_size": vocab,
            "num_key_value_heads": kv, "max_position_embeddings": 2048}


CONFIGS = {
    "gpt2": {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "activation_function": "gelu_new", "n_embd": 768,
             "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257, "layer_norm_epsilon": 1e-5},
    "bert": {"architectures": ["BertForMaskedLM"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": 768,
             "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12, "vocab_size": 30522,
             "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12},
    "books": llama(512, 1024, 8, 4, 4096),
    "tiny": llama(2048, 5632, 32, 4, 4096),
    "llama": llama(4096, 14336, 32, 8, 1024),
}


# ---- weights -------------------------------------------------------------------------------------------------------

def shapes(c):
    """Names and shapes; norms end in 'weight' and have one dimension."""
    if c["model_type"] == "gpt2":
        h = c["n_embd"]
        yield from (("wte.weight", (c["vocab_size"], h)), ("wpe.weight", (c["n_positions"], h)))
        for i in range(c["n_layer"]):
            for name, shape in (("ln_1", (h,)), ("ln_2", (h,)), ("attn.c_attn", (h, 3 * h)), ("attn.c_proj", (h, h)),
                                ("mlp.c_fc", (h, 4 * h)), ("mlp.c_proj", (4 * h, h))):
                yield f"h.{i}.{name}.weight", shape
                yield f"h.{i}.{name}.bias", shape[-1:]
        yield from (("ln_f.weight", (h,)), ("ln_f.bias", (h,)))
        return
    h, f = c["hidden_size"], c["intermediate_size"]
    if c["model_type"] == "bert":
        for name, n in (("word", c["vocab_size"]), ("position", c["max_position_embeddings"]), ("token_type", 2)):
            yield f"bert.embeddings.{name}_embeddings.weight", (n, h)
        linears = [("attention.self.query", (h, h)), ("attention.self.key", (h, h)), ("attention.self.value", (h, h)),
                   ("attention.output.dense", (h, h)), ("attention.output.LayerNorm", (h,)), ("intermediate.dense", (f, h)),
                   ("output.dense", (h, f)), ("output.LayerNorm", (h,))]
        named = [("bert.embeddings.LayerNorm", (h,)), ("cls.predictions.transform.dense", (h, h)),
                 ("cls.predictions.transform.LayerNorm", (h,))]
        named += [(f"bert.encoder.layer.{i}.{name}", s) for i in range(c["num_hidden_layers"]) for name, s in linears]
        for name, shape in named:
            yield name + ".weight", shape
            yield name + ".bias", shape[:1]
        yield "cls.predictions.bias", (c["vocab_size"],)
        return
    kv = h // c["num_attention_heads"] * c["num_key_value_heads"]
    yield from (("model.embed_tokens.weight", (c["vocab_size"], h)), ("lm_head.weight", (c["vocab_size"], h)),
                ("model.norm.weight", (h,)))
    for name, shape in (("input_layernorm", (h,)), ("post_attention_layernorm", (h,)), ("self_attn.q_proj", (h, h)),
                        ("self_attn.k_proj", (kv, h)), ("self_attn.v_proj", (kv, h)), ("self_attn.o_proj", (h, h)),
                        ("mlp.gate_proj", (f, h)), ("mlp.up_proj", (f, h)), ("mlp.down_proj", (h, f))):
        yield f"model.layers.0.{name}.weight", shape


def prepare(name, folder):
    path = os.path.join(folder, "model.safetensors")
    if os.path.exists(path):
        return
    os.makedirs(folder, exist_ok=True)
    torch.manual_seed(0)
    tensors = {}
    for key, shape in shapes(CONFIGS[name]):
        values = torch.randn(shape) * (shape[-1] ** -0.5 if len(shape) == 2 else 0.1)
        tensors[key] = (values + (len(shape) == 1 and key.endswith("weight"))).bfloat16()
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as file:
        json.dump(CONFIGS[name], file, indent=2)
    save_file(tensors, path + ".part", metadata={"format": "pt"})
    os.rename(path + ".part", path)


# ---- networks ------------------------------------------------------------------------------------------------------

def attend(q, k, v, **options):
    return F.scaled_dot_product_attention(q, k, v, **options).transpose(1, 2).flatten(2)


def gpt2(c, w, ids):
    h, heads = c["n_embd"], c["n_head"]
    x = w["wte.weight"][ids] + w["wpe.weight"][:ids.shape[1]]

    def norm(x, name):
        return F.layer_norm(x, (h,), w[name + ".weight"], w[name + ".bias"], c["layer_norm_epsilon"])

    def linear(x, name):
        return torch.addmm(w[name + ".bias"], x.flatten(0, 1), w[name + ".weight"]).view(*x.shape[:2], -1)

    for i in range(c["n_layer"]):
        p = f"h.{i}."
        parts = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in linear(norm(x, p + "ln_1"), p + "attn.c_attn").split(h, -1))
        x = x + linear(attend(*parts, is_causal=True), p + "attn.c_proj")
        x = x + linear(F.gelu(linear(norm(x, p + "ln_2"), p + "mlp.c_fc"), approximate="tanh"), p + "mlp.c_proj")
    return norm(x, "ln_f") @ w["wte.weight"].t()


def bert(c, w, ids):
    h, heads = c["hidden_size"], c["num_attention_heads"]

    def norm(x, name):
        return F.layer_norm(x, (h,), w[name + ".weight"], w[name + ".bias"], c["layer_norm_eps"])

    def linear(x, name):
        return F.linear(x, w[name + ".weight"], w[name + ".bias"])

    e = "bert.embeddings."
    x = norm(w[e + "word_embeddings.weight"][ids] + w[e + "position_embeddings.weight"][:ids.shape[1]]
             + w[e + "token_type_embeddings.weight"][0], e + "LayerNorm")
    for i in range(c["num_hidden_layers"]):
        p = f"bert.encoder.layer.{i}."
        parts = (linear(x, p + "attention.self." + t).unflatten(-1, (heads, -1)).transpose(1, 2) for t in ("query", "key", "value"))
        x = norm(x + linear(attend(*parts), p + "attention.output.dense"), p + "attention.output.LayerNorm")
        x = norm(x + linear(F.gelu(linear(x, p + "intermediate.dense")), p + "output.dense"), p + "output.LayerNorm")
    x = norm(F.gelu(linear(x, "cls.predictions.transform.dense")), "cls.predictions.transform.LayerNorm")
    return F.linear(x, w[e + "word_embeddings.weight"], w["cls.predictions.bias"])


def rotate(x, cosine, sine):
    half = x.shape[-1] // 2
    return x * cosine + torch.cat((-x[..., half:], x[..., :half]), -1) * sine


def llama_model(c, w, ids):
    dim = c["hidden_size"] // c["num_attention_heads"]
    angle = torch.arange(ids.shape[1])[:, None] * c["rope_theta"] ** (-torch.arange(0, dim, 2) / dim)
    cosine, sine = (torch.cat((f(angle), f(angle)), -1) for f in (torch.cos, torch.sin))

    def norm(x, name):
        return F.rms_norm(x, x.shape[-1:], w[name + ".weight"], c["rms_norm_eps"])

    x = w["model.embed_tokens.weight"][ids]
    p = "model.layers.0."
    n = norm(x, p + "input_layernorm")
    q, k, v = ((n @ w[f"{p}self_attn.{t}_proj.weight"].t()).unflatten(-1, (-1, dim)).transpose(1, 2) for t in "qkv")
    x = x + attend(rotate(q, cosine, sine), rotate(k, cosine, sine), v, is_causal=True,
                   enable_gqa=True) @ w[p + "self_attn.o_proj.weight"].t()
    n = norm(x, p + "post_attention_layernorm")
    x = x + (F.silu(n @ w[p + "mlp.gate_proj.weight"].t()) * (n @ w[p + "mlp.up_proj.weight"].t())) @ w[p + "mlp.down_proj.weight"].t()
    return norm(x, "model.norm") @ w["lm_head.weight"].t()


def measure(folder, windows, length, tries):
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        c = json.load(file)
    w = {name: t.float() for name, t in load_file(os.path.join(folder, "model.safetensors")).items()}
    run = {"gpt2": gpt2, "bert": bert, "llama": llama_model}[c["model_type"]]
    ids = (torch.arange(windows * length) * 7919 % c["vocab_size"]).view(windows, length)
    wall = cpu = float("inf")
    with torch.inference_mode():
        mean = sum(run(c, w, ids[i:i + 1]).logsumexp(-1).double().mean().item() for i in range(windows)) / windows
        for _ in range(tries):
            for batch in {1, min(4, windows)}:
                start_wall, start_cpu = time.perf_counter(), time.process_time()
                for first in range(0, windows, batch):
                    run(c, w, ids[first:first + batch])
                wall = min(wall, time.perf_counter() - start_wall)
                cpu = min(cpu, time.process_time() - start_cpu)
    print(f"peer torch-{torch.__version__} {wall} {cpu} {mean}")


if sys.argv[1] == "prepare":
    prepare(*sys.argv[2:4])
else:
    measure(sys.argv[2], *map(int, sys.argv[3:6]))
