#!/usr/bin/env python3
"""GGUF files of every family read back: safetensors to GGUF in float32 and back gives the same tensors, transformers loads
what comes back, and all three compute the same logits; expert by expert, norm by norm."""
import os

from common import LIMIT, check, distance, finish, load_file, logits_of, path, vise, vise_logits
import torch
import transformers

SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
             vocab_size=120, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)
MOE = dict(num_experts=4, num_experts_per_tok=2, moe_intermediate_size=48)
GPT2 = dict(n_embd=64, n_layer=3, n_head=4, vocab_size=120, n_positions=96, bos_token_id=1, eos_token_id=2)
NEOX = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=120,
            max_position_embeddings=128, bos_token_id=1, eos_token_id=2)
BLOOM = dict(hidden_size=64, n_layer=3, n_head=8, vocab_size=120, bos_token_id=1, eos_token_id=2, seq_length=128)
HEAD = dict(head_dim=32)
FALCON = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=8, vocab_size=120, bos_token_id=1, eos_token_id=2)

MODELS = [
    ("Llama", SIZES), ("Mistral", {**SIZES, "sliding_window": None}), ("Mixtral", {**SIZES, "num_local_experts": 4}),
    ("SmolLM3", {**SIZES, "use_sliding_window": False}), ("Qwen2", SIZES), ("Qwen3", {**SIZES, **HEAD}),
    ("Qwen2Moe", {**SIZES, **MOE, "shared_expert_intermediate_size": 80}),
    ("Qwen3Moe", {**SIZES, **MOE, **HEAD, "norm_topk_prob": True}), ("Phi3", {**SIZES, "sliding_window": 40}),
    ("Phi3", {**SIZES, "partial_rotary_factor": 0.5}), ("Gemma", {**SIZES, **HEAD}),
    ("Gemma2", {**SIZES, **HEAD, "sliding_window": 16, "query_pre_attn_scalar": 32}),
    ("Gemma3", {**SIZES, **HEAD, "sliding_window": 16, "query_pre_attn_scalar": 32, "num_hidden_layers": 7}),
    ("GPT2", GPT2), ("GPTNeoX", NEOX), ("GPTNeoX", {**NEOX, "use_parallel_residual": False, "attention_bias": True}),
    ("Bloom", BLOOM), ("Falcon", {**FALCON, "multi_query": True}), ("Falcon", {**FALCON, "multi_query": True, "bias": True}),
    ("Falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 2}),
    ("Falcon", {**FALCON, "new_decoder_architecture": True, "num_kv_heads": 4, "num_ln_in_parallel_attn": 1}),
    ("Falcon", {**FALCON, "multi_query": False, "tie_word_embeddings": False})]


def make(name, sizes, folder):
    """Every parameter at random, norms and biases too."""
    torch.manual_seed(3)
    config = getattr(transformers, name + ("TextConfig" if name == "Gemma3" else "Config"))(**sizes)
    model = getattr(transformers, name + ("LMHeadModel" if name == "GPT2" else "ForCausalLM"))(config)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            scale = 0.3 if parameter.dim() == 1 else 1.5 / parameter.shape[-1] ** 0.5
            parameter.copy_(torch.randn_like(parameter) * scale + (1.0 if "norm" in key or ".ln_" in key else 0.0))
    model.save_pretrained(folder)
    return model.eval()


def back(name, sizes):
    folder, file, again = path("model"), path("model.gguf"), path("again")
    model = make(name, sizes, folder)
    vise("convert", folder, "-o", file, "--dtype", "f32", "--force")
    vise("convert", file, "-o", again, "--force")
    vise("convert", file, "-o", path("second.gguf"), "--force")
    ours, wanted = load_file(os.path.join(again, "model.safetensors")), load_file(os.path.join(folder, "model.safetensors"))
    wrong = sorted(set(ours) ^ set(wanted))
    for key in set(ours) & set(wanted):
        off = float("inf") if ours[key].shape != wanted[key].shape else float((ours[key] - wanted[key]).abs().max())
        if off > (2e-7 * float(1 + wanted[key].abs().max()) if name.startswith("Gemma") and "norm" in key else 0.0):
            wrong.append(f"{key} {off:.0e}")
    rows = torch.randint(3, 120, (2, 60), generator=torch.Generator().manual_seed(1))
    theirs = logits_of(model, rows)
    loaded, info = transformers.AutoModelForCausalLM.from_pretrained(again, dtype=torch.float32, output_loading_info=True)
    wrong += [f"{key}: {value}" for key, value in info.items() if value]
    far = {"gguf": vise_logits(file, rows)[0], "second": vise_logits(path("second.gguf"), rows)[0],
           "back": vise_logits(again, rows)[0], "loaded": logits_of(loaded.eval(), rows)}
    far = {key: distance(value, theirs) for key, value in far.items()}
    detail = ", ".join(f"{key} {value:.0e}" for key, value in far.items())
    return not wrong and max(far.values()) < LIMIT, f"{len(ours)} tensors, logits off by {detail}" + \
        (f" {wrong}" if wrong else "")


def unknown():
    """A family that is not shown as transformers': its tensors are carried from GGUF to GGUF, its blocks become floats."""
    make("Falcon", FALCON, path("falcon"))
    vise("convert", path("falcon"), "-o", path("falcon.gguf"), "--dtype", "f32", "--force")
    with open(path("falcon.gguf"), "rb") as file:
        content = file.read()
    with open(path("falcon.gguf"), "wb") as file:
        file.write(content.replace(b"falcon", b"strang"))
    vise("convert", path("falcon.gguf"), "-o", path("falcon2.gguf"), "--force")
    vise("convert", path("falcon2.gguf"), "-o", path("falcon.safetensors"), "--force")
    ours = load_file(path("falcon.safetensors"))
    return "blk.0.attn_qkv.weight" in ours, f"{len(ours)} tensors"


check("gguf read, not shown as transformers'", unknown)
for number, (name, sizes) in enumerate(MODELS):
    check(f"gguf read {number} {name}", back, name, sizes)
finish()
