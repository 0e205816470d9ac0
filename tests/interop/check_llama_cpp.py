#!/usr/bin/env python3
"""GGUF files of vise beside llama.cpp (make interop-peers; llama_cpp.sh builds it):

  converter   for every family that its converter knows, the file from safetensors is the converter's, byte for byte:
              names, order, metadata, tokenizers; what the converter fails on becomes a file all the same
  loads       llama.cpp loads the file and computes transformers' logits; its tokenizer gives the same ids
  blocks      quantized files of every method have our logits in llama.cpp
  quantize    llama-quantize gives every weight the type that vise gives it, and the same bytes, also with importances
  imatrix     llama-imatrix finds the importances that vise finds

usage: check_llama_cpp.py SOURCES BUILD MAIN: of llama.cpp, its build folder, and llama_main
"""
import contextlib
import io
import json
import logging
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

SOURCES, BUILD, MAIN = sys.argv[1:4]
sys.path[:0] = [os.path.join(SOURCES, "gguf-py"), SOURCES]
from common import (CALIBRATION, LIMIT, MODELS, VISE, ViseError, check, distance, finish, path, skip, unigrams, vise,
                    vise_logits)
import numpy
import torch
import transformers
import check_architectures as families
import gguf
from conversion import ModelBase, get_model_class

logging.disable(logging.CRITICAL)
TOKENIZERS = os.path.join(MODELS, "../tokenizers")
LENGTH = 40
TEXT = "Once upon a time, there was a fox who'd 3 hens  and 1234 eggs.\n\nThe END? naïve ☃ no"

# ---- the converter ---------------------------------------------------------------------------------------------------


load_hparams = ModelBase.load_hparams


def patched_hparams(folder, is_mistral_format=False):
    """Two keys that transformers 5 does not write any more and the converter asks for."""
    config = load_hparams(folder, is_mistral_format)
    if config.get("model_type") == "gpt2":
        config.setdefault("n_ctx", config["n_positions"])
    if config.get("model_type") == "gpt_neox":
        config["rotary_pct"] = (config.get("rope_parameters") or {}).get("partial_rotary_factor", 1.0)
    return config


ModelBase.load_hparams = staticmethod(patched_hparams)


def no_vocab(self):
    """What vise writes without a tokenizer: the size, or llama.cpp would not load the file."""
    self._set_vocab_none()
    if "vocab_size" not in "".join(self.gguf_writer.kv_data[0]):
        self.gguf_writer.add_vocab_size(self.hparams["vocab_size"])
    if self.model_arch == gguf.MODEL_ARCH.BERT:
        self.gguf_writer.add_token_type_count(self.hparams.get("type_vocab_size", 1))


def convert(folder, out, with_vocab):
    kind = get_model_class(patched_hparams(Path(folder))["architectures"][0])
    with torch.inference_mode(), contextlib.redirect_stderr(io.StringIO()):
        model = kind(Path(folder), gguf.LlamaFileType.MOSTLY_F16, Path(out), eager=True)
        writer = getattr(model, "impl", model)  # Mistral 3's has another one do the work
        if not with_vocab:
            writer.set_vocab = types.MethodType(no_vocab, writer)
        model.write()


def difference(theirs, ours):
    """What two files differ in, in a few words."""
    a, b = gguf.GGUFReader(theirs), gguf.GGUFReader(ours)
    for key in [*a.fields, *b.fields]:
        if key not in b.fields or key not in a.fields or a.fields[key].contents() != b.fields[key].contents():
            return key
    if list(a.fields) != list(b.fields):
        return "the order of keys"
    if [t.name for t in a.tensors] != [t.name for t in b.tensors]:
        return "names or order of tensors"
    return next((t.name for t, u in zip(a.tensors, b.tensors) if t.tensor_type != u.tensor_type
                 or t.data.tobytes() != u.data.tobytes()), "padding")


def same_as_converter(folder, with_vocab):
    theirs, ours = path("theirs.gguf"), path("ours.gguf")
    convert(folder, theirs, with_vocab)
    vise("convert", folder, "-o", ours, "--dtype", "f16", "--force")
    with open(theirs, "rb") as a, open(ours, "rb") as b:
        same = a.read() == b.read()
    return same, f"{os.path.getsize(ours)} bytes" if same else f"differ in {difference(theirs, ours)}"


# What the converter cannot do: vise does, and what it gives is held by the logits or read back.
MORE = {"qwen2_moe": dict(norm_topk_prob=False), "gemma2": dict(query_pre_attn_scalar=16),
        "gemma3": dict(query_pre_attn_scalar=16, sliding_window=LENGTH)}  # as real models have it
families.MODELS = [(family, prefix, suffix, variants + ([dict(variants[0], **MORE[family])] if family in MORE else []))
                   for family, prefix, suffix, variants in families.MODELS]
FAILS = {("gemma3_text", 1): "soft caps of attention", ("gpt2", 1): "the width of the MLP is not said",
         ("falcon", 0): "one key-value head", ("falcon", 1): "biases", ("falcon", 2): "serial halves",
         ("falcon", 4): "one key-value head", ("falcon", 5): "serial halves",
         ("falcon", 7): "serial halves", ("falcon", 8): "no multi-query", ("falcon", 9): "no multi-query",
         ("gemma2", 2): "soft caps of null", **{key: "layers without experts" for key in (
             ("qwen2_moe", 1), ("qwen2_moe", 2), ("qwen3_moe", 1), ("qwen3_moe", 2), ("qwen3_moe", 3))}}
UNKNOWN = {"gpt_neo", "opt"}  # to llama.cpp


def is_known(architecture):
    try:
        return get_model_class(architecture) is not None
    except NotImplementedError:
        return False


def model_folder(family, prefix, suffix, number, options):
    folder = path(f"{family}-{suffix or 'LM'}-{number}")
    if not os.path.isdir(folder):
        families.make(family, prefix, suffix, options).save_pretrained(folder)
        if family.startswith("gemma3"):  # the converter reads the number of tokens from it
            with open(os.path.join(folder, "tokenizer.json"), "w") as file:
                json.dump({"model": {"type": "none", "vocab": {f"t{i}": i for i in range(110)}}, "added_tokens": []}, file)
    return folder


def check_converter():
    for family, prefix, suffix, variants in families.MODELS:
        for number, options in enumerate(variants):
            if family in UNKNOWN or prefix + suffix == "RobertaForMaskedLM":
                continue
            name = f"converter {prefix + suffix} {number}"
            if not is_known(prefix + suffix):
                skip(name, "the converter does not know it")
                continue
            folder = model_folder(family, prefix, suffix, number, options)
            if (family, number) in FAILS:
                check(name, lambda: (vise("convert", folder, "-o", path("ours.gguf"), "--force") is not None,
                                     f"written, where the converter fails: {FAILS[family, number]}"))
            else:
                check(name, same_as_converter, folder, False)


# ---- tokenizers ------------------------------------------------------------------------------------------------------


def write_json(folder, name, content):
    with open(os.path.join(folder, name), "w") as file:
        json.dump(content, file)


def gpt2_files(folder):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(os.path.join(TOKENIZERS, "gpt2", name), folder)
    end = "<|endoftext|>"
    write_json(folder, "tokenizer_config.json",
               {"tokenizer_class": "GPT2Tokenizer", "bos_token": end, "eos_token": end, "unk_token": end})


def gpt2_json(folder):
    gpt2_files(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for name in ("vocab.json", "merges.txt"):
        os.unlink(os.path.join(folder, name))
    tokenizer.add_tokens(["<|im_start|>", "xyz"])
    tokenizer.chat_template = "{% for m in messages %}{{m.content}}{% endfor %}"
    tokenizer.save_pretrained(folder)


def pieces(folder):
    shutil.copy(os.path.join(TOKENIZERS, "llama2", "tokenizer.model"), folder)
    added = {"0": "<unk>", "1": "<s>", "2": "</s>"}
    decoder = {key: {"content": text, "special": True} for key, text in added.items()}
    decoder |= {"32000": {"content": "<|im_x|>", "special": False}, "32001": {"content": "a▁b", "special": False}}
    write_json(folder, "tokenizer_config.json",
               {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>",
                "eos_token": {"content": "</s>"}, "unk_token": "<unk>", "chat_template": "{{x}}",
                "added_tokens_decoder": decoder})
    write_json(folder, "generation_config.json", {"temperature": 0.7, "top_k": 20, "top_p": 0.8, "repetition_penalty": 1.05})


def words(folder):
    shutil.copy(os.path.join(TOKENIZERS, "bert-base-uncased", "tokenizer.json"), folder)
    write_json(folder, "tokenizer_config.json",
               {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "cls_token": "[CLS]", "sep_token": "[SEP]",
                "unk_token": "[UNK]", "pad_token": "[PAD]", "mask_token": "[MASK]"})


def unigrams_json(folder):
    unigrams(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["<x>"])
    tokenizer.save_pretrained(folder)
    os.unlink(os.path.join(folder, "sentencepiece.bpe.model"))
    with open(os.path.join(folder, "tokenizer_config.json")) as file:
        write_json(folder, "tokenizer_config.json", {**json.load(file), "clean_up_tokenization_spaces": True})


# family, suffix, name of the folder (which tells of the model, too), tokens, tokenizer
VOCABULARIES = [
    ("gpt2", "GPT2LMHeadModel", "", "gpt2-tiny-124M-v1.5", 50257, gpt2_files),
    ("gpt2", "GPT2LMHeadModel", "", "My-gpt2-finetuned", 50300, gpt2_json),
    ("qwen2_moe", "Qwen2Moe", "ForCausalLM", "Qwen1.5-MoE-A2.7B", 50300, gpt2_json),
    ("llama", "Llama", "ForCausalLM", "Llama-2-7b-chat-hf", 32000, pieces),
    ("mistral", "Mistral", "ForCausalLM", "mistral 7b v2", 32016, pieces),
    ("mixtral", "Mixtral", "ForCausalLM", "Mixtral-8x7B-v0.1", 32002, pieces),
    ("smollm3", "SmolLM3", "ForCausalLM", "smollm3-x", 50300, gpt2_json),
    ("gemma", "Gemma", "ForCausalLM", "gemma-2b-it", 32100, pieces),
    ("gemma2", "Gemma2", "ForCausalLM", "gemma-2-9b", 32100, pieces),
    ("gemma3_text", "Gemma3", "ForCausalLM", "gemma-3-1b", 32100, pieces),
    ("phi3", "Phi3", "ForCausalLM", "Phi-3-mini-4k-instruct", 32064, pieces),
    ("bert", "Bert", "ForSequenceClassification", "bert-x", 30522, words),
    ("distilbert", "DistilBert", "Model", "distilbert-base-uncased", 30522, words),
    ("roberta", "Roberta", "Model", "roberta-base", 50300, gpt2_json),
    ("xlm-roberta", "XLMRoberta", "Model", "xlm-roberta-base", 602, unigrams),
    ("xlm-roberta", "XLMRoberta", "ForSequenceClassification", "bge-reranker-v2-m3", 640, unigrams_json),
    ("qwen2_vl", "Qwen2VL", families.WITH_IMAGES, "Qwen2-VL-2B-Instruct", 50300, gpt2_json),
    ("mistral3", "Mistral3", families.WITH_IMAGES, "Mistral-Small-3.1-24B-Instruct-2503", 32100, pieces),
    ("gemma3", "Gemma3", families.WITH_IMAGES, "gemma-3-4b-it", 32100, pieces),
    ("bloom", "Bloom", "ForCausalLM", "bloom-7b1", 50300, gpt2_json),
    ("falcon", "Falcon", "ForCausalLM", "falcon-40b", 50300, gpt2_json),
    ("gpt_neox", "GPTNeoX", "ForCausalLM", "pythia-70m", 50304, gpt2_json),
]


ENCODERS = ("bert", "roberta", "xlm-roberta", "distilbert")


def vocabulary_options(family, name, tokens):
    variants = next(v for f, _, _, v in families.MODELS if f == family)
    options = dict(variants[3 if family == "falcon" else 0], vocab_size=tokens)
    if family == "llama":  # a tensor of factors, of the size that it has in use
        options |= dict(hidden_size=512, num_attention_heads=4, rope_parameters={
            "rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 64})
    if family in ("bert", "xlm-roberta"):
        options |= dict(num_labels=3 if family == "bert" else 1)
    if family == "phi3":
        options |= dict(original_max_position_embeddings=32, **families.LONGROPE)
    return options


def llama_tokens(file, text):
    run = subprocess.run([MAIN, file, "tokens", text], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"llama.cpp does not load {file}: {run.stderr.strip()[-300:]}")
    return [int(token) for token in run.stdout.split()]


def same_tokens(folder, tokenizer):
    vise("convert", folder, "-o", path("ours.gguf"), "--force")
    got, expected = llama_tokens(path("ours.gguf"), TEXT), tokenizer(TEXT)["input_ids"]
    return got == expected, f"{len(got)} tokens" if got == expected else f"{got[:12]}..., expected {expected[:12]}..."


def same_hidden(folder):
    """What an encoder makes of every token, beside transformers."""
    ids = torch.randint(5, 110, (1, LENGTH), generator=torch.Generator().manual_seed(7))
    vise("convert", folder, "-o", path("ours.gguf"), "--dtype", "f32", "--force")
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        expected = model(ids).last_hidden_state[0]
    got = llama_values("hidden", path("ours.gguf"), ids[0].tolist(), expected.shape[1])
    off = ((got - expected).abs().max() / expected.abs().max()).item()
    return off < 1e-3, f"off by {off:.1e} of the largest"


def check_vocabularies():
    if not os.path.isdir(TOKENIZERS):
        skip("converter with tokenizers", f"no {TOKENIZERS}")
        return
    for family, prefix, suffix, name, tokens, write in VOCABULARIES:
        folder = path(name)
        base = families.BASE.get(family, families.SIZES)
        options = vocabulary_options(family, name, tokens)
        families.BASE[family] = {key: value for key, value in base.items() if key not in options}
        families.make(family, prefix, suffix, options).to(torch.bfloat16).save_pretrained(folder)
        families.BASE[family] = base
        write(folder)
        check(f"converter with tokenizer, {name}", same_as_converter, folder, True)
        if write not in (pieces, unigrams) and "finetuned" not in name:  # unigrams: the converter adds no <s>
            check(f"ids of llama.cpp, {name}", same_tokens, folder, transformers.AutoTokenizer.from_pretrained(folder))
        if family in ENCODERS:
            check(f"hidden states of llama.cpp, {name}", same_hidden, folder)
    for name in ("llama-stories260K", "llama-books"):
        folder = os.path.join(MODELS, name)
        if os.path.isdir(folder):
            tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
            if name == "llama-stories260K":
                check(f"converter with tokenizer, {name}", same_as_converter, folder, True)
            check(f"ids of llama.cpp, {name}", same_tokens, folder, tokenizer)


# ---- logits ----------------------------------------------------------------------------------------------------------


def llama_values(kind, file, ids, width):
    run = subprocess.run([MAIN, file, kind, path("values.bin"), *map(str, ids)], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(f"llama.cpp does not run {file}: {run.stderr.strip()[-300:]}")
    return torch.from_numpy(numpy.fromfile(path("values.bin"), dtype=numpy.float32).reshape(len(ids), width).copy())


def llama_logits(file, ids, vocab):
    return llama_values("logits", file, ids, vocab)


def same_logits(folder, model):
    ids = torch.randint(3, 110, (1, LENGTH), generator=torch.Generator().manual_seed(7))
    vise("convert", folder, "-o", path("ours.gguf"), "--dtype", "f32", "--force")
    with torch.no_grad():
        expected = model(ids).logits[0].float()
    got = llama_logits(path("ours.gguf"), ids[0].tolist(), gguf_vocab(path("ours.gguf")))
    off = ((got - expected[:, :got.shape[1]]).abs().max() / expected.abs().max()).item()
    return off < 1e-3, f"off by {off:.1e} of the largest"


def gguf_vocab(file):
    return int(next(t for t in gguf.GGUFReader(file).tensors if t.name == "token_embd.weight").shape[1])


# Variants that llama.cpp computes as transformers does; vise warns of the others that it knows.
COMPUTED = {"llama": (0, 1, 2, 3, 4, 5), "mistral": (1,), "qwen2": (0,), "qwen3": (0,), "smollm3": (0,), "phi3": (0, 4),
            "gemma": (0,), "gemma2": (3,), "gpt2": (0,), "gpt_neox": (0,), "bloom": (0, 2), "falcon": (3,),
            "mixtral": (0,), "qwen2_moe": (3,), "qwen3_moe": (0,), "gemma3": (2,), "mistral3": (0,), "qwen2_vl": (0, 1),
            "qwen2_5_vl": (0,)}


def check_logits():
    for family, prefix, suffix, variants in families.MODELS:
        for number in COMPUTED.get(family, ()) if suffix in ("ForCausalLM", "", families.WITH_IMAGES) else ():
            folder = model_folder(family, prefix, suffix, number, variants[number])
            Path(folder, "tokenizer.json").unlink(missing_ok=True)  # all rows of the embedding
            model = getattr(transformers, prefix + suffix).from_pretrained(folder, dtype=torch.float32,
                                                                           attn_implementation="eager").eval()
            check(f"logits of llama.cpp, {prefix + suffix} {number}", same_logits, folder, model)


# llama.cpp rounds what linears read to 8 bits, as its quantized blocks do: how far that carries its logits from those of
# the floats that the blocks stand for, a file of llama-quantize tells. The same values as floats, it has our logits.
FED = [("q4_0-mix", "Q4_0"), ("q4_k_m", "Q4_K_M"), ("q2_k-mix", "Q2_K"), ("iq4_nl-mix", "IQ4_NL"), ("q3_k_m", "Q3_K_M")]


def both_logits(file, rows):
    ours = vise_logits(file, rows)[0]
    return ours, llama_logits(file, rows[0].tolist(), ours.shape[-1])[None]


def same_blocks(folder, rows, tokenizer, yardstick, *options):
    file, plain = path("ours.gguf"), path("plain.gguf")
    vise("quant", folder, "-o", file, *options, "--force")
    vise("convert", file, "-o", plain, "--dequantize", "--dtype", "f32", "--force")
    ours, theirs = both_logits(file, rows)
    far = distance(llama_logits(plain, rows[0].tolist(), ours.shape[-1])[None], ours)
    off = distance(theirs, ours)
    good = far <= LIMIT and off <= 1.5 * yardstick and llama_tokens(file, TEXT) == tokenizer(TEXT)["input_ids"]
    return good, f"as floats {far:.0e} apart; as blocks {off:.0e} (a file of llama-quantize {yardstick:.0e})"


def check_blocks():
    folder, source, theirs = os.path.join(MODELS, "llama-books"), path("source.gguf"), path("theirs.gguf")
    if not os.path.isdir(folder):
        skip("logits of llama.cpp, quantized", f"no {folder}")
        return
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"))
    with open(CALIBRATION) as file:
        rows = torch.tensor([tokenizer(file.read(2000))["input_ids"][:LENGTH]])
    text = ["--samples", "16", "--length", "128"]
    vise("convert", folder, "-o", source, "--force")
    vise("imatrix", folder, "--text", CALIBRATION, *text, "-o", path("imatrix.gguf"), "--force")
    for scheme, name in FED:
        importances = ["--imatrix", path("imatrix.gguf")]
        subprocess.run([os.path.join(BUILD, "bin/llama-quantize"), *importances, source, theirs, name, "2"], capture_output=True,
                       check=True)
        yardstick = distance(*reversed(both_logits(theirs, rows)))
        for method, options in (("rtn", ["--method", "rtn"]), ("importances", importances),
                                ("gptq", ["--method", "gptq", "--calibration", CALIBRATION, *text])):
            check(f"logits of llama.cpp, llama-books {scheme} {method}", same_blocks, folder, rows, tokenizer, yardstick,
                  "--scheme", scheme, *options)


# ---- llama-quantize --------------------------------------------------------------------------------------------------


# family, prefix, name, options: rows of whole super blocks; heads and experts as the mixtures ask for them
WIDE = dict(hidden_size=256, intermediate_size=512, num_hidden_layers=16, num_attention_heads=8, num_key_value_heads=8,
            vocab_size=112)
QUANTIZED = [
    ("llama", "Llama", "16 layers", WIDE),
    ("llama", "Llama", "grouped queries, tied", dict(WIDE, num_key_value_heads=2, tie_word_embeddings=True)),
    ("llama", "Llama", "80 layers", dict(WIDE, num_hidden_layers=80, num_key_value_heads=4, intermediate_size=256)),
    ("qwen2", "Qwen2", "80 layers", dict(WIDE, num_hidden_layers=80, intermediate_size=256)),
    ("llama", "Llama", "short rows", dict(WIDE, hidden_size=96, intermediate_size=172)),
    ("mixtral", "Mixtral", "8 experts", dict(WIDE, num_local_experts=8, num_experts_per_tok=2)),
    ("qwen2_moe", "Qwen2Moe", "4 experts", dict(WIDE, num_experts=4, moe_intermediate_size=256,
                                               shared_expert_intermediate_size=512)),
    ("falcon", "Falcon", "falcon", dict(hidden_size=256, num_hidden_layers=16, num_attention_heads=8, num_kv_heads=2)),
    ("phi3", "Phi3", "fused rows", dict(WIDE, num_hidden_layers=8)),
    ("gemma2", "Gemma2", "tied", dict(WIDE, num_hidden_layers=8, head_dim=32)),
]
# what vise calls it, what llama-quantize does
MIXTURES = [(name, name.upper()) for name in ("q2_k_s", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m",
                                              "mxfp4_moe")] + \
           [(name + "-mix", name.upper()) for name in ("q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q6_k", "iq4_nl",
                                                       "iq4_xs", "tq1_0", "tq2_0", "q1_0")]


def same_as_quantize(folder, scheme, name, imatrix):
    theirs, ours, source = path("theirs.gguf"), path("ours.gguf"), path("source.gguf")
    options = ["--imatrix", imatrix] if imatrix else []
    run = subprocess.run([os.path.join(BUILD, "bin/llama-quantize"), *options, source, theirs, name, "2"],
                         capture_output=True, text=True)
    if run.returncode != 0:
        try:
            vise("quant", folder, "-o", ours, "--scheme", scheme, *options, "--force")
        except ViseError as error:
            return "imatrix" in str(error), "both refuse"
        return "no tensor type fallback" in run.stderr, "llama-quantize refuses"
    vise("quant", folder, "-o", ours, "--scheme", scheme, *options, "--force")
    a, b = gguf.GGUFReader(theirs), gguf.GGUFReader(ours)
    given = {t.name: t for t in b.tensors}  # llama-quantize has an order of its own
    wrong = [t.name if t.name not in given else
             f"{t.name} is {given[t.name].tensor_type.name}, not {t.tensor_type.name}"
             if t.tensor_type != given[t.name].tensor_type else t.name + " differs"
             for t in a.tensors if t.name not in given or t.tensor_type != given[t.name].tensor_type
             or t.data.tobytes() != given[t.name].data.tobytes()]
    kinds = {"general.file_type", "general.quantization_version"}
    wrong += [key for key in kinds if a.fields[key].contents() != b.fields[key].contents()]
    wrong += ["tensors"] if len(a.tensors) != len(b.tensors) else []
    return not wrong, ", ".join(wrong[:3]) + f" of {len(wrong)}" if wrong else f"{len(a.tensors)} tensors"


def check_quantize():
    for family, prefix, title, options in QUANTIZED:
        folder, name = path(f"q-{family}"), f"quantize {prefix}, {title}"
        shutil.rmtree(folder, ignore_errors=True)
        base = families.BASE.get(family, families.SIZES)
        families.BASE[family] = {key: value for key, value in base.items() if key not in options}
        families.make(family, prefix, "ForCausalLM", options).to(torch.float16).save_pretrained(folder)
        families.BASE[family] = base
        vise("convert", folder, "-o", path("source.gguf"), "--force")
        for scheme, theirs in MIXTURES:
            check(f"{name}, {scheme}", same_as_quantize, folder, scheme, theirs, None)
        if title not in ("16 layers", "8 experts"):
            continue
        rows = torch.randint(3, 110, (8, 64), generator=torch.Generator().manual_seed(1)).tolist()
        with open(path("rows.jsonl"), "w") as file:
            file.writelines(json.dumps({"input_ids": row}) + "\n" for row in rows)
        vise("imatrix", folder, "--text", path("rows.jsonl"), "--length", "64", "-o", path("imatrix.gguf"), "--force")
        for scheme, theirs in MIXTURES:
            check(f"{name}, importances, {scheme}", same_as_quantize, folder, scheme, theirs, path("imatrix.gguf"))


# ---- llama-imatrix ---------------------------------------------------------------------------------------------------


def same_importances(folder):
    text = os.path.join(os.path.dirname(CALIBRATION), "test.txt")
    theirs, ours, file = path("theirs.gguf"), path("ours.gguf"), path("source.gguf")
    vise("convert", folder, "-o", file, "--dtype", "f32", "--force")
    subprocess.run([os.path.join(BUILD, "bin/llama-imatrix"), "-m", file, "-f", text, "-c", "128", "-b", "128", "-t", "1",
                    "--chunks", "4", "--no-ppl", "-o", theirs], capture_output=True, check=True)
    vise("imatrix", folder, "--text", text, "--length", "128", "--samples", "4", "--protocol", "llama.cpp", "-o", ours, "--force")
    a, b = ({t.name: t for t in gguf.GGUFReader(name).tensors} for name in (theirs, ours))
    if list(a) != list(b) or any(t.shape.tolist() != b[name].shape.tolist() for name, t in a.items()):
        return False, f"{len(a)} tensors there, {len(b)} here"
    counts = all((a[name].data == b[name].data).all() for name in a if name.endswith(".counts"))
    off = max(abs(a[name].data - b[name].data).max() / a[name].data.max() for name in a)
    return counts and off < 1e-3, f"{len(a)} tensors, counts {'equal' if counts else 'differ'}, off by {off:.1e} of the largest"


def check_imatrix():
    for name in ("llama-books",):
        folder = os.path.join(MODELS, name)
        if os.path.isdir(folder):
            check(f"importances of llama-imatrix, {name}", same_importances, folder)
        else:
            skip(f"importances of llama-imatrix, {name}", f"no {folder}")


if __name__ == "__main__":
    only = sys.argv[4:]
    for name, work in (("converter", check_converter), ("vocabularies", check_vocabularies), ("logits", check_logits), ("blocks", check_blocks),
                       ("quantize", check_quantize), ("imatrix", check_imatrix)):
        if not only or name in only:
            work()
    finish()
