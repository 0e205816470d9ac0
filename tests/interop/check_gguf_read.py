#!/usr/bin/env python3
"""GGUF files of every family read back: safetensors to GGUF in float32 and back gives the same tensors, transformers loads
what comes back, and all three compute the same logits; expert by expert, norm by norm."""
import json
import os
import shutil

from common import LIMIT, check, distance, finish, load_file, logits_of, path, vise, vise_logits
import check_architectures as families
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


LABELLED = dict(id2label={0: "a", 1: "b", 2: "c"}, label2id={"a": 0, "b": 1, "c": 2})
ENCODERS = [("Bert", "Model", {}), ("DistilBert", "Model", {}), ("DistilBert", "ForSequenceClassification", LABELLED),
            ("Roberta", "Model", {}), ("Roberta", "ForSequenceClassification", LABELLED),
            ("XLMRoberta", "Model", dict(type_vocab_size=1)), ("XLMRoberta", "ForSequenceClassification", dict(num_labels=1))]
NAMES = {"DistilBert": {"hidden_size": "dim", "intermediate_size": "hidden_dim", "num_hidden_layers": "n_layers",
                                   "num_attention_heads": "n_heads"}}


def encoder(name, kind, more, first_token):
    """The pooler of a BERT has no place in GGUF; what a sentence encoder pools is told. RoBERTa's are BERTs by other names."""
    folder, file, again = path("encoder"), path("encoder.gguf"), path("encoder-again")
    shutil.rmtree(folder, ignore_errors=True)
    sizes = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, vocab_size=40,
                 max_position_embeddings=64, pad_token_id=1 if name.endswith("Roberta") else 0)
    torch.manual_seed(5)
    config = getattr(transformers, name + "Config")(**{NAMES.get(name, {}).get(key, key): value for key, value in sizes.items()}, **more)
    model = getattr(transformers, name + kind)(config).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3 + (1.0 if "orm.weight" in key else 0.0))
    model.save_pretrained(folder)
    with open(os.path.join(folder, "vocab.txt"), "w") as out:
        out.write("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + [f"w{i}" for i in range(35)]) + "\n")
    os.mkdir(os.path.join(folder, "1_Pooling"))
    for where, content in (("1_Pooling/config.json", {"pooling_mode_cls_token": first_token, "pooling_mode_mean_tokens": not first_token}),
                           ("modules.json", [{"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}])):
        with open(os.path.join(folder, where), "w") as out:
            json.dump(content, out)
    vise("convert", folder, "-o", file, "--dtype", "f32", "--force")
    vise("convert", file, "-o", again, "--force")
    with open(path("rows.json"), "w") as out:
        json.dump([[2, 7, 12, 9, 30, 3], [2, 30, 5, 39, 11, 3]], out)
    found = []
    for which in (folder, file, again):
        vise("eval", which, "--ids", path("rows.json"), "--save-logits", path("vectors.safetensors"))
        found += load_file(path("vectors.safetensors")).values()
        os.unlink(path("vectors.safetensors"))
    loaded = getattr(transformers, "AutoModel" + kind.removeprefix("Model")).from_pretrained(again)
    mine, theirs = loaded.state_dict(), model.state_dict()
    wrong = [key for key in theirs if "pooler" not in key and (key not in mine or not torch.equal(mine[key], theirs[key]))]
    same = all(torch.equal(found[0], other) for other in found[1:])
    ids = torch.tensor([[2, 7, 12, 9, 30, 3], [2, 30, 5, 39, 11, 3]])
    with torch.no_grad():
        off = distance(loaded.eval()(ids)[0], model(ids)[0])
    if name.endswith("Roberta"):
        wrong = []
    return same and not wrong and off < LIMIT and loaded.config.id2label == model.config.id2label, \
        f"{len(theirs)} tensors {wrong[:3]}, off by {off:.0e}"


def text_part(family, prefix, options):
    """The text part of a model with images is a model of its own: read back, it computes the same."""
    folder, file, again = path("images"), path("images.gguf"), path("images-again")
    model = families.make(family, prefix, families.WITH_IMAGES, options)
    model.save_pretrained(folder)
    vise("convert", folder, "-o", file, "--dtype", "f32", "--force")
    vise("convert", file, "-o", again, "--force")
    rows = torch.randint(3, 110, (2, 40), generator=torch.Generator().manual_seed(1))
    theirs = logits_of(model, rows)
    loaded, info = transformers.AutoModelForCausalLM.from_pretrained(again, dtype=torch.float32, output_loading_info=True)
    wrong = [f"{key}: {value}" for key, value in info.items() if value]
    far = max(distance(vise_logits(which, rows)[0], theirs) for which in (file, again))
    far = max(far, distance(logits_of(loaded.eval(), rows), theirs))
    return not wrong and far < LIMIT, f"{type(loaded).__name__}, off by {far:.0e} {wrong}"


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
for name, kind, more in ENCODERS:
    for first_token in (False, True):
        check(f"gguf read {name}{kind}, {'first token' if first_token else 'mean'}", encoder, name, kind, more, first_token)
for number, (name, sizes) in enumerate(MODELS):
    check(f"gguf read {number} {name}", back, name, sizes)
for family, prefix, options in (("qwen2_vl", "Qwen2VL", families.SECTIONS), ("qwen2_5_vl", "Qwen2_5_VL", families.SECTIONS),
                                ("mistral3", "Mistral3", dict(model_type="mistral", sliding_window=None)),
                                ("gemma3", "Gemma3", dict(families.GEMMA3, query_pre_attn_scalar=16))):
    check(f"gguf read {prefix}, text part", text_part, family, prefix, options)
finish()
