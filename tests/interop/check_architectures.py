#!/usr/bin/env python3
"""Every architecture against transformers: small random models, made and saved by transformers itself, must give the
same logits in vise. Norms and biases are random too, or their bugs would stay unseen.

usage: check_architectures.py [FAMILY...]; VISE names the program.
The golden files of ../shared/models are looked at where they are found.
"""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
os.environ["HF_HUB_OFFLINE"] = "1"
warnings.filterwarnings("ignore")

import torch
import transformers
from safetensors.torch import load_file, save_file

SHARED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../shared")
TOLERANCE = 1e-3
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)
LENGTH = 70  # beyond the windows and the original contexts below
SIZES = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=4, num_attention_heads=8, num_key_value_heads=2,
             vocab_size=120, max_position_embeddings=128, bos_token_id=1, eos_token_id=2, pad_token_id=0)


def rope(kind, **more):
    return {"rope_parameters": {"rope_type": kind, "rope_theta": 10000.0, **more}}


SCALED = dict(original_max_position_embeddings=32)
LLAMA3 = rope("llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, **SCALED)
LONGROPE = rope("longrope", short_factor=[1.0, 1.1, 1.2, 1.3], long_factor=[1.5, 2.0, 3.0, 4.0])
GPT2 = dict(n_embd=64, n_layer=3, n_head=4, vocab_size=120, n_positions=96, bos_token_id=1, eos_token_id=2)
NEO = dict(hidden_size=64, num_layers=4, num_heads=4, vocab_size=120, max_position_embeddings=96,
           attention_types=[[["global", "local"], 2]], window_size=16, bos_token_id=1, eos_token_id=2)
NEOX = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=120,
            max_position_embeddings=128, bos_token_id=1, eos_token_id=2)
OPT = dict(hidden_size=64, ffn_dim=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=120,
           max_position_embeddings=96, word_embed_proj_dim=64, bos_token_id=2, eos_token_id=2, pad_token_id=1)
BLOOM = dict(hidden_size=64, n_layer=3, n_head=8, vocab_size=120, bos_token_id=1, eos_token_id=2)
FALCON = dict(hidden_size=64, num_hidden_layers=3, num_attention_heads=8, vocab_size=120, bos_token_id=1, eos_token_id=2)
BERT = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, vocab_size=120,
            max_position_embeddings=96, type_vocab_size=2, pad_token_id=0)
DISTIL = dict(dim=64, hidden_dim=96, n_layers=3, n_heads=4, vocab_size=120, max_position_embeddings=96, pad_token_id=0)
MOE = dict(num_experts_per_tok=2, moe_intermediate_size=48)
LM, CLS, NONE, MASKED = "ForCausalLM", "ForSequenceClassification", "Model", "ForMaskedLM"

# family: class prefix, its suffix, configurations
MODELS = [
    ("llama", "Llama", LM, [
        {}, dict(tie_word_embeddings=True, attention_bias=True, mlp_bias=True), dict(num_key_value_heads=8, head_dim=16),
        rope("linear", factor=2.5), LLAMA3, rope("yarn", factor=4.0, **SCALED),
        rope("yarn", factor=4.0, attention_factor=1.3, beta_fast=16.0, beta_slow=2.0, **SCALED),
        dict(max_position_embeddings=32, **rope("dynamic", factor=2.0)), rope("dynamic", factor=2.0),
        dict(original_max_position_embeddings=32, **LONGROPE), dict(num_key_value_heads=1, hidden_act="gelu_new"),
        dict(saved="version 4", **LLAMA3), dict(saved="version 4", **rope("yarn", factor=4.0, **SCALED)),
        dict(saved="version 4", max_position_embeddings=32, **rope("dynamic", factor=2.0))]),
    ("mistral", "Mistral", LM, [dict(sliding_window=16), dict(sliding_window=None, head_dim=16),
                                dict(sliding_window=20, tie_word_embeddings=True, num_key_value_heads=4, saved="version 4",
                                     **rope("yarn", factor=2.0, mscale=0.8, mscale_all_dim=0.6, **SCALED))]),
    ("qwen2", "Qwen2", LM, [{}, dict(use_sliding_window=True, sliding_window=16, max_window_layers=2,
                                     tie_word_embeddings=True),
                       dict(num_key_value_heads=8, **rope("yarn", factor=4.0, **SCALED)),
                       dict(use_sliding_window=True, sliding_window=16, max_window_layers=1, saved="version 4",
                            **rope("linear", factor=2.0))]),
    ("qwen3", "Qwen3", LM, [dict(head_dim=16), dict(head_dim=8, attention_bias=True, use_sliding_window=True,
                                                    sliding_window=16, max_window_layers=1),
                       dict(head_dim=16, tie_word_embeddings=True, saved="version 4",
                            **rope("yarn", factor=4.0, **SCALED)),
                       dict(head_dim=8, max_position_embeddings=32, **rope("dynamic", factor=3.0))]),
    ("smollm3", "SmolLM3", LM, [{}, dict(no_rope_layers=[0, 1, 1, 0], tie_word_embeddings=False, mlp_bias=True,
                                         attention_bias=True),
                                dict(no_rope_layer_interval=2, use_sliding_window=True, sliding_window=16),
                                rope("yarn", factor=4.0, **SCALED)]),
    ("phi3", "Phi3", LM, [dict(original_max_position_embeddings=128), dict(sliding_window=16, tie_word_embeddings=True),
                          dict(original_max_position_embeddings=32, **LONGROPE),
                          dict(original_max_position_embeddings=80, **LONGROPE),
                          rope("default", partial_rotary_factor=0.5),
                          dict(original_max_position_embeddings=32, saved="version 4", **LONGROPE),
                          dict(original_max_position_embeddings=32, head_dim=8, num_key_value_heads=8,
                               **rope("longrope", partial_rotary_factor=0.5, short_factor=[1.0, 1.1],
                                      long_factor=[1.5, 3.0]))]),
    ("gemma", "Gemma", LM, [dict(head_dim=16), dict(head_dim=8, tie_word_embeddings=False, attention_bias=True),
                            dict(head_dim=16, num_key_value_heads=1, **rope("linear", factor=2.0))]),
    ("gemma2", "Gemma2", LM, [dict(head_dim=16, sliding_window=16, query_pre_attn_scalar=24),
                              dict(head_dim=8, attn_logit_softcapping=2.0, final_logit_softcapping=1.5,
                                   attention_bias=True, sliding_window=20),
                              dict(head_dim=16, attn_logit_softcapping=None, final_logit_softcapping=None,
                                   sliding_window=16, tie_word_embeddings=False, saved="version 4")]),
    ("gemma3_text", "Gemma3", LM, [
        dict(head_dim=16, sliding_window=16, query_pre_attn_scalar=24, num_hidden_layers=7),
        dict(head_dim=16, sliding_window=16, layer_types=["sliding_attention", "full_attention"] * 2,
             rope_parameters={"full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e6},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}},
             attn_logit_softcapping=3.0, final_logit_softcapping=2.0),
        dict(head_dim=8, sliding_window=16, num_hidden_layers=7, attention_bias=True, tie_word_embeddings=False,
             num_key_value_heads=1, saved="version 4",
             rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
                              "sliding_attention": {"rope_type": "default", "rope_theta": 1e4}})]),
    ("gpt2", "GPT2LMHeadModel", "", [{}, dict(activation_function="gelu", n_inner=100, scale_attn_weights=False),
                                     dict(scale_attn_by_inverse_layer_idx=True, tie_word_embeddings=False),
                                     dict(reorder_and_upcast_attn=True, saved="bare")]),
    ("gpt_neo", "GPTNeo", LM, [{}, dict(intermediate_size=100, tie_word_embeddings=False),
                               dict(attention_types=[[["global"], 1], [["local"], 3]], activation_function="relu")]),
    ("gpt_neox", "GPTNeoX", LM, [{}, dict(use_parallel_residual=False, tie_word_embeddings=True,
                                          **rope("default", partial_rotary_factor=0.5)),
                                 dict(attention_bias=False, **rope("linear", factor=2.0, partial_rotary_factor=1.0)),
                                 dict(max_position_embeddings=32, use_parallel_residual=False, hidden_act="gelu_new",
                                      **rope("dynamic", factor=2.0, partial_rotary_factor=0.25)),
                                 dict(saved="version 4", **rope("default", partial_rotary_factor=0.5))]),
    ("opt", "OPT", LM, [{}, dict(do_layer_norm_before=False, enable_bias=False, tie_word_embeddings=False),
                        dict(activation_function="gelu"), dict(_remove_final_layer_norm=True, enable_bias=False),
                        dict(word_embed_proj_dim=96, tie_word_embeddings=False),
                        dict(word_embed_proj_dim=32, do_layer_norm_before=False)]),
    ("bloom", "Bloom", LM, [{}, dict(n_head=4, tie_word_embeddings=False), dict(hidden_size=72, n_head=6)]),
    ("falcon", "Falcon", LM, [
        {}, dict(new_decoder_architecture=True, num_kv_heads=2, bias=True), dict(multi_query=False, parallel_attn=False),
        dict(new_decoder_architecture=True, num_kv_heads=4, num_ln_in_parallel_attn=1), dict(alibi=True, bias=True),
        dict(alibi=True, parallel_attn=False, multi_query=False, tie_word_embeddings=False),
        dict(new_decoder_architecture=True, num_kv_heads=8, alibi=True), dict(parallel_attn=False, ffn_hidden_size=100),
        dict(multi_query=False, bias=True, activation="gelu_new", **rope("linear", factor=2.0)),
        dict(max_position_embeddings=32, num_attention_heads=4, **rope("dynamic", factor=2.0))]),
    ("mixtral", "Mixtral", LM, [dict(num_local_experts=4, num_experts_per_tok=2),
                                dict(num_local_experts=5, num_experts_per_tok=3, sliding_window=16,
                                     tie_word_embeddings=True),
                                dict(num_local_experts=3, num_experts_per_tok=2, saved="stacked")]),
    ("qwen2_moe", "Qwen2Moe", LM, [
        dict(num_experts=6, shared_expert_intermediate_size=40, norm_topk_prob=True, **MOE),
        dict(num_experts=5, shared_expert_intermediate_size=72, qkv_bias=False, tie_word_embeddings=True,
             num_key_value_heads=8, saved="version 4", **rope("yarn", factor=4.0, **SCALED), **MOE),
        dict(num_experts=6, shared_expert_intermediate_size=40, decoder_sparse_step=2, mlp_only_layers=[3],
             use_sliding_window=True, sliding_window=16, max_window_layers=3, saved="stacked", **MOE)]),
    ("qwen3_moe", "Qwen3Moe", LM, [
        dict(num_experts=6, head_dim=16, norm_topk_prob=True, **MOE),
        dict(num_experts=8, head_dim=8, mlp_only_layers=[1], attention_bias=True, tie_word_embeddings=True, **MOE),
        dict(num_experts=6, head_dim=16, decoder_sparse_step=2, use_sliding_window=True, sliding_window=16, **MOE),
        dict(num_experts=6, head_dim=16, mlp_only_layers=[2], saved="stacked", **rope("linear", factor=2.0), **MOE)]),
    ("bert", "Bert", MASKED, [{}, dict(hidden_act="gelu_new", tie_word_embeddings=False), dict(saved="gamma")]),
    ("bert", "Bert", CLS, [{}, dict(num_labels=5, saved="gamma")]),
    ("bert", "Bert", NONE, [{}]),
    ("roberta", "Roberta", MASKED, [dict(pad_token_id=1), dict(pad_token_id=1, type_vocab_size=1, hidden_act="gelu_new",
                                                                  layer_norm_eps=1e-5, tie_word_embeddings=False)]),
    ("roberta", "Roberta", CLS, [dict(num_labels=3, pad_token_id=1)]),
    ("roberta", "Roberta", NONE, [dict(pad_token_id=1)]),
    ("xlm-roberta", "XLMRoberta", MASKED, [dict(pad_token_id=1, type_vocab_size=1)]),
    ("xlm-roberta", "XLMRoberta", CLS, [dict(num_labels=3, pad_token_id=1, type_vocab_size=1)]),
    ("xlm-roberta", "XLMRoberta", NONE, [dict(pad_token_id=1, type_vocab_size=1)]),
    ("distilbert", "DistilBert", MASKED, [{}, dict(sinusoidal_pos_embds=True, activation="relu",
                                                      tie_word_embeddings=False)]),
    ("distilbert", "DistilBert", CLS, [dict(num_labels=3)]),
    ("distilbert", "DistilBert", NONE, [{}]),
]
# Models of text and images: their text part, beside which the rest is carried over.
EYES = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=4, image_size=32, patch_size=8)
QWEN_EYES = dict(depth=1, num_heads=4, patch_size=8)
SECTIONS = rope("default", mrope_section=[1, 1, 2])
GEMMA3 = dict(head_dim=16, sliding_window=16, query_pre_attn_scalar=24, num_hidden_layers=7)
IMAGES = {
    "gemma3": dict(vision_config=EYES, mm_tokens_per_image=4, image_token_index=119, boi_token_index=118,
                   eoi_token_index=117),
    "mistral3": dict(vision_config=dict(model_type="pixtral", head_dim=8, **EYES), image_token_index=119),
    "qwen2_vl": dict(vision_config=dict(embed_dim=32, hidden_size=64, **QWEN_EYES)),
    "qwen2_5_vl": dict(vision_config=dict(hidden_size=32, out_hidden_size=64, intermediate_size=48, **QWEN_EYES)),
}
WITH_IMAGES = "ForConditionalGeneration"
MODELS += [
    ("gemma3", "Gemma3", WITH_IMAGES, [GEMMA3, dict(final_logit_softcapping=2.0, outer=dict(tie_word_embeddings=False),
                                                    **GEMMA3)]),
    ("gemma3", "Gemma3", CLS, [dict(outer=dict(num_labels=3), **GEMMA3)]),
    ("mistral3", "Mistral3", WITH_IMAGES, [dict(model_type="mistral", sliding_window=None),
                                           dict(model_type="mistral", sliding_window=16, head_dim=16,
                                                outer=dict(tie_word_embeddings=False))]),
    ("qwen2_vl", "Qwen2VL", WITH_IMAGES, [SECTIONS, dict(outer=dict(tie_word_embeddings=True), **SECTIONS)]),
    ("qwen2_5_vl", "Qwen2_5_VL", WITH_IMAGES, [dict(outer=dict(tie_word_embeddings=False), **SECTIONS)]),
]

# Decoders that classify a text by its last token: what pads is no token, wherever it stands; where nothing pads, rows of
# one text.
LABELLED = dict(num_labels=3, pad_token_id=0)
for entry in [m for m in MODELS if m[2] in (LM, "")]:
    prefix = {"GPT2LMHeadModel": "GPT2", "Gemma3": "Gemma3Text"}.get(entry[1], entry[1])
    MODELS.append((entry[0], prefix, CLS, [{**entry[3][0], **LABELLED},
                                           {**entry[3][-1], "num_labels": 2, "pad_token_id": None}]))
BASE = {"gpt2": GPT2, "gpt_neo": NEO, "gpt_neox": NEOX, "opt": OPT, "bloom": BLOOM, "falcon": FALCON, "bert": BERT,
        "roberta": BERT, "xlm-roberta": BERT, "distilbert": DISTIL}
CONFIG = {"gpt2": "GPT2Config", "gemma3_text": "Gemma3TextConfig"}


def make(family, prefix, suffix, options):
    config_class = getattr(transformers, CONFIG.get(family, prefix + "Config"))
    if family in IMAGES:
        text = {**SIZES, **options}
        outer = {"tie_word_embeddings": family != "qwen2_vl", **text.pop("outer", {})}
        config = config_class(text_config=text, **IMAGES[family], **outer)
    else:
        config = config_class(**{**BASE.get(family, SIZES), **options})
    # Falcon's eager attention adds ALiBi twice.
    config._attn_implementation = "sdpa" if family == "falcon" else "eager"
    model = getattr(transformers, prefix + suffix)(config).eval()
    torch.manual_seed(sum(map(ord, family + suffix)) + len(str(options)))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan = parameter.shape[-1] if parameter.dim() > 1 else 1
            scale = 1.2 / fan**0.5 if parameter.dim() > 1 else 0.2
            if "embed" in name or "wte" in name or "wpe" in name:
                scale = 0.7
            parameter.normal_(0.0, scale)
            if parameter.dim() == 1 and "norm" in name.lower() and name.endswith("weight") and "gemma" not in family:
                parameter.add_(1.0)
            elif parameter.dim() == 1 and "ln_" in name and name.endswith("weight"):
                parameter.add_(1.0)
    model.tie_weights()
    return model


def older_config(path):
    """config.json as version 4 of transformers wrote it."""
    with open(path) as f:
        config = json.load(f)
    rotary = config.pop("rope_parameters", None) or {}
    if "full_attention" in rotary:
        config["rope_local_base_freq"] = rotary["sliding_attention"]["rope_theta"]
        config["sliding_window_pattern"] = config.pop("_sliding_window_pattern")
        rotary = rotary["full_attention"]
    theta, part = rotary.pop("rope_theta", None), rotary.pop("partial_rotary_factor", None)
    if config["model_type"] == "gpt_neox":
        config.update(rotary_emb_base=theta, rotary_pct=part)
    else:
        config.update({k: v for k, v in (("rope_theta", theta), ("partial_rotary_factor", part)) if v is not None})
    kind = rotary.pop("rope_type", "default")
    config["rope_scaling"] = None if kind == "default" else {"type": kind, **rotary}
    config.pop("layer_types", None)
    config["torch_dtype"] = config.pop("dtype")
    config["transformers_version"] = "4.45.0"
    with open(path, "w") as f:
        json.dump(config, f)


def rename(file, stored, *changes):
    for old, new in changes:
        stored = {name.replace(old, new): tensor for name, tensor in stored.items()}
    save_file(stored, file, metadata={"format": "pt"})


def save(model, folder, how):
    """As save_pretrained does; or "stacked": experts in tensors of three dimensions, as they are in memory; "version 4":
    with that version's configuration; "bare": names without the prefix; "gamma": the names that norms had in the first
    BERTs; "old eyes": the names that vision towers had before version 5."""
    model.save_pretrained(folder, save_original_format=how != "stacked")
    file = os.path.join(folder, "model.safetensors")
    stored = load_file(file)
    if how == "version 4":
        older_config(os.path.join(folder, "config.json"))
    if how == "bare":  # the model without its head's prefix, as the first GPT-2s are stored
        rename(file, stored, ("transformer.", ""))
    if how == "stacked":
        assert any(t.dim() == 3 for t in stored.values())
    if how == "gamma":
        rename(file, stored, ("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
    if how == "old eyes":
        rename(file, stored, ("vision_tower.", "vision_tower.vision_model."))


def reference(model, suffix, ids):
    with torch.no_grad():
        if suffix == NONE:
            return model(ids).last_hidden_state.mean(dim=1)
        if suffix == CLS:
            return torch.cat([model(row[None]).logits for row in ids])
        return model(ids).logits


def padded(model, suffix, rows):
    """The same rows, right-padded, in one batch with a mask: what each gives on its own."""
    pad = model.config.get_text_config().pad_token_id
    if pad is None:
        return torch.cat([reference(model, suffix, torch.tensor([row])) for row in rows])
    longest = max(len(r) for r in rows)
    ids = torch.tensor([r + [pad] * (longest - len(r)) for r in rows])
    mask = torch.tensor([[1] * len(r) + [0] * (longest - len(r)) for r in rows])
    with torch.no_grad():
        out = model(ids, attention_mask=mask)
    if suffix == NONE:
        weights = mask[:, :, None].float()
        return (out.last_hidden_state * weights).sum(1) / weights.sum(1)
    return out.logits


def run_vise(vise, folder, rows):
    with open(os.path.join(folder, "ids.json"), "w") as f:
        json.dump(rows, f)
    out = os.path.join(folder, "logits.safetensors")
    if os.path.exists(out):
        os.unlink(out)
    done = subprocess.run([vise, "eval", folder, "--ids", os.path.join(folder, "ids.json"), "--save-logits", out,
                           "--quiet"], capture_output=True, text=True)
    if done.returncode != 0:
        return None, done.stderr.strip()[-300:]
    return next(iter(load_file(out).values())), None


def compare(expected, got):
    if tuple(expected.shape) != tuple(got.shape):
        return f"shape {tuple(got.shape)}, expected {tuple(expected.shape)}", 1.0
    off = ((expected - got).abs().max() / expected.abs().max()).item()
    return (None if off <= TOLERANCE else f"off by {off:.2e} of the largest"), off


def check_models(vise, root, only):
    for family, prefix, suffix, variants in MODELS:
        if only and family not in only:
            continue
        for number, options in enumerate(variants):
            folder = os.path.join(root, f"{family}-{suffix or 'LM'}-{number}")
            options = dict(options)
            saved = options.pop("saved", None)
            model = make(family, prefix, suffix, options)
            save(model, folder, saved)
            generator = torch.Generator().manual_seed(7)
            ids = torch.randint(3, 120, (3, LENGTH), generator=generator)
            got, problem = run_vise(vise, folder, ids.tolist())
            off = 0.0
            if problem is None:
                problem, off = compare(reference(model, suffix, ids), got)
            if problem is None and suffix == MASKED:
                rows = [ids[0, :20].tolist(), ids[1, :33].tolist(), ids[2, :7].tolist()]
                for row, expected in zip(rows, padded(model, suffix, rows)):
                    got, problem = run_vise(vise, folder, [row])
                    if problem is None:
                        problem, off = compare(expected[: len(row)], got[0])
                    if problem is not None:
                        break
                problem = problem and "padded: " + problem
            if problem is None and suffix in (CLS, NONE):
                rows = [ids[0, :20].tolist(), ids[1, :33].tolist(), ids[2, :7].tolist()]
                if family not in ("bert", "roberta", "xlm-roberta", "distilbert"):
                    rows += [ids[0, 20:40].tolist() + [0, 0], [0, 0, 0]]  # texts that end with what pads
                got, problem = run_vise(vise, folder, rows)
                if problem is None:
                    problem, off = compare(padded(model, suffix, rows), got)
                problem = problem and "padded: " + problem
            report(f"{family} {prefix + suffix} {number}: {problem or f'{off:.1e}'}", problem is None)
            shutil.rmtree(folder)


# Quantized, with another scheme for some matrices: transformers must find all of it, and compute our logits. (Its 5.23
# decodes all experts of a block by one scheme.)
QUANTIZED = [
    ("mixtral", "Mixtral", LM, dict(num_local_experts=3, num_experts_per_tok=2, saved="stacked"), "o_proj"),
    ("gemma3", "Gemma3", WITH_IMAGES, dict(saved="old eyes", **GEMMA3), "down_proj"),
    ("mistral3", "Mistral3", WITH_IMAGES, dict(model_type="mistral", outer=dict(tie_word_embeddings=False)), "down_proj"),
    ("qwen2_vl", "Qwen2VL", WITH_IMAGES, SECTIONS, "down_proj"),
    ("opt", "OPT", LM, dict(word_embed_proj_dim=32, do_layer_norm_before=False), "down_proj"),
]


def check_quantized(vise, root, only):
    for family, prefix, suffix, options, role in QUANTIZED:
        if only and family not in only:
            continue
        folder, out = os.path.join(root, family), os.path.join(root, family + "-quantized")
        options = dict(options)
        saved = options.pop("saved", None)
        save(make(family, prefix, suffix, options), folder, saved)
        done = subprocess.run([vise, "quant", folder, "-o", out, "--scheme", "int8-channel", "--set",
                               f"role:{role}=int4-g32", "--quiet"], capture_output=True, text=True)
        problem, off = done.stderr.strip()[-300:] if done.returncode else None, 0.0
        if problem is None:
            model, info = getattr(transformers, prefix + suffix).from_pretrained(
                out, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
            wrong = {key: sorted(value) for key, value in info.items() if value}
            ids = torch.randint(3, 117, (2, 40), generator=torch.Generator().manual_seed(7))
            got, problem = run_vise(vise, out, ids.tolist())
            problem = problem or (f"loading info {wrong}" if wrong else None)
            if problem is None:
                problem, off = compare(reference(model.eval(), suffix, ids), got)
        report(f"{family} {prefix + suffix}, quantized: {problem or f'{off:.1e}'}", problem is None)


def golden(vise, root, name):
    """The golden logits that lie beside a model."""
    source = os.path.join(SHARED, "models", name)
    if not os.path.isdir(source):
        print(f"SKIP golden {name}: no {source}", flush=True)
        return
    folder = os.path.join(root, name)
    shutil.copytree(source, folder)
    with open(os.path.join(source, "golden.json")) as f:
        stored = json.load(f)
    classifier = isinstance(stored, list)
    rows = [r["input_ids"] for r in stored] if classifier else [stored["input_ids"]]
    got, problem = run_vise(vise, folder, rows)
    off = 0.0
    if problem is None:
        expected = [r["logits"] for r in stored] if classifier else stored["last_logits"]
        problem, off = compare(torch.tensor(expected), got if classifier else got[0, -1])
    report(f"golden {name}: {problem or f'{off:.1e}'}", problem is None)


def sst2(vise, root):
    """705 of the 872 sentences of SST-2's dev set, exactly; the words cut by transformers."""
    source, data = os.path.join(SHARED, "models/bert-tiny-sst2-local"), os.path.join(SHARED, "data/sst2/glue_dev.tsv")
    if not os.path.isdir(source) or not os.path.exists(data):
        print("SKIP bert-tiny on SST-2: no model or no data", flush=True)
        return
    tokenizer = transformers.BertTokenizer(os.path.join(source, "vocab.txt"), do_lower_case=True)
    with open(data) as f:
        pairs = [line.rstrip("\n").split("\t", 1) for line in f][1:]
    folder = os.path.join(root, "sst2")
    shutil.copytree(source, folder)
    rows = [tokenizer(text, truncation=True, max_length=128)["input_ids"] for _, text in pairs]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))  # rows of one length make one set of windows
    got, problem = run_vise(vise, folder, [rows[i] for i in order])
    right = 0
    if problem is None:
        right = sum(int(got[k].argmax()) == int(pairs[i][0]) for k, i in enumerate(order))
    report(f"bert-tiny on SST-2's dev set: {problem or f'{right} of {len(rows)}'}", right == 705 and len(rows) == 872)


failures = 0


def report(text, good):
    global failures
    failures += not good
    print(("ok " if good else "FAIL ") + text, flush=True)


def main():
    vise, only = os.environ.get("VISE", "build/vise"), set(sys.argv[1:])
    with tempfile.TemporaryDirectory() as root:
        check_models(vise, root, only)
        check_quantized(vise, root, only)
        if not only:
            for name in ("gpt2-slm4096", "gpt2-char-shakespeare-local", "mixtral-baby105-upcycled",
                         "bert-tiny-sst2-local"):
                golden(vise, root, name)
            sst2(vise, root)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
