#!/usr/bin/env python3
"""Tokenizers out of GGUF files: a folder becomes a GGUF file and that a folder again; transformers loads the tokenizer of both
and gives the same ids, and vise measures the same perplexity of a text by the folder, the file and what came back."""
import json
import os
import shutil

from common import MODELS, check, finish, path, skip, unigrams, vise
import sentencepiece
import tokenizers
import torch
import transformers
from tokenizer_ids import mixed_texts

FILES = os.path.join(MODELS, "../tokenizers")
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
SIZES = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2,
             max_position_embeddings=128)
TEXTS = [text for text in mixed_texts(5, 300) if not any(word in text for word in ("<s>", "</s>", "<unk>", "\0"))]


def write_json(folder, name, content):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
        json.dump(content, file)


def pieces(folder):
    shutil.copy(os.path.join(FILES, "llama2", "tokenizer.model"), folder)
    write_json(folder, "tokenizer_config.json",
               {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True, "add_eos_token": False, "bos_token": "<s>",
                "eos_token": "</s>", "unk_token": "<unk>", "chat_template": "{{ messages[0].content }}"})


def gpt2(folder):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(os.path.join(FILES, "gpt2", name), folder)
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "GPT2Tokenizer"})


def words(folder):
    shutil.copy(os.path.join(FILES, "bert-base-uncased", "tokenizer.json"), folder)
    write_json(folder, "tokenizer_config.json",
               {"tokenizer_class": "BertTokenizer", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]",
                "pad_token": "[PAD]", "mask_token": "[MASK]"})


def split(folder, regex, nfc, bos):
    """A tokenizer.json like Llama 3's or Qwen2's, of GPT-2's tokens and merges."""
    gpt2(folder)
    made = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(os.path.join(folder, "vocab.json"),
                                                               os.path.join(folder, "merges.txt"), ignore_merges=bos))
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(
        [tokenizers.pre_tokenizers.Split(tokenizers.Regex(regex), "isolated"), level])
    made.normalizer = tokenizers.normalizers.NFC() if nfc else None
    made.decoder = tokenizers.decoders.ByteLevel()
    made.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    made.add_tokens(["<tool>"])
    if bos:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="<|endoftext|> $A", pair="<|endoftext|> $A <|endoftext|>:1 $B:1", special_tokens=[("<|endoftext|>", 50256)])
    for name in ("vocab.json", "merges.txt"):
        os.unlink(os.path.join(folder, name))
    made.save(os.path.join(folder, "tokenizer.json"))
    write_json(folder, "tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|im_end|>",
                                                 **({"bos_token": "<|endoftext|>"} if bos else {})})


def llama3(folder):
    split(folder, LLAMA3, False, True)


def qwen2(folder):
    split(folder, LLAMA3.replace("{1,3}", ""), True, False)


def unigrams_json(folder):
    unigrams(folder)
    transformers.AutoTokenizer.from_pretrained(folder).save_pretrained(folder)
    os.unlink(os.path.join(folder, "sentencepiece.bpe.model"))


class Pieces:
    """What sentencepiece itself makes of tokenizer.model; texts that spell special tokens are no matter of its own."""
    chat_template = None

    def __init__(self, file):
        self.model = sentencepiece.SentencePieceProcessor(model_file=file)

    def __call__(self, text):
        return {"input_ids": [1] + self.model.encode(text)}

    def decode(self, ids):
        return "<s> " + self.model.decode(ids[1:])


def tokenizer_of(folder):
    if os.path.exists(os.path.join(folder, "tokenizer.model")):
        return Pieces(os.path.join(folder, "tokenizer.model"))
    return transformers.AutoTokenizer.from_pretrained(folder)


def around(name, options, write, prefix=None):
    folder, file, again = path("model"), path("model.gguf"), path("again")
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(1)
    config = getattr(transformers, name + "Config")(**options)
    kind = {"GPT2": "LMHeadModel", "Bert": "ForSequenceClassification", "XLMRoberta": "Model"}.get(name, "ForCausalLM")
    getattr(transformers, name + kind)(config).save_pretrained(folder)
    write(folder)
    vise("convert", folder, "-o", file, "--force")
    vise("convert", file, "-o", again, "--force")
    wanted, got = tokenizer_of(folder), tokenizer_of(again)
    if name == "XLMRoberta":  # the file has one flag for this and for what sentencepiece does with spaces
        wanted.clean_up_tokenization_spaces = got.clean_up_tokenization_spaces
    wrong = sum(wanted(text)["input_ids"] != got(text)["input_ids"] for text in TEXTS)
    wrong += sum(wanted.decode(wanted(text)["input_ids"]) != got.decode(got(text)["input_ids"]) for text in TEXTS[:50])
    if wanted.chat_template and wanted.chat_template != got.chat_template:
        return False, "the chat template is another"
    if name in ("Bert", "XLMRoberta"):
        return wrong == 0, f"{wrong} of {len(TEXTS)} texts differ"
    with open(path("text.txt"), "w", encoding="utf-8") as out:
        out.write("Once upon a time there was a small fox, and it don't run 1234 times.\n" * 40)
    options = ("--text", path("text.txt"), "--length", "64", "--samples", "4", "--json")
    found = [json.loads(vise("eval", model, *options))["accuracy"]["perplexity"]["after"] for model in (folder, file, again)]
    return wrong == 0 and max(found) <= min(found) * 1.001, \
        f"{wrong} of {len(TEXTS)} texts differ; perplexities " + ", ".join(f"{value:.2f}" for value in found)


if os.path.isdir(FILES):
    check("tokenizer of a GGUF file, sentencepiece", around, "Llama", {**SIZES, "vocab_size": 32000}, pieces)
    check("tokenizer of a GGUF file, GPT-2", around, "GPT2", dict(n_embd=32, n_layer=1, n_head=2, n_positions=128), gpt2)
    check("tokenizer of a GGUF file, Llama 3's", around, "Llama", {**SIZES, "vocab_size": 50304}, llama3)
    check("tokenizer of a GGUF file, Qwen2's", around, "Qwen2", {**SIZES, "vocab_size": 50304}, qwen2)
else:
    skip("tokenizers of GGUF files", f"no {FILES}")
ENCODER = dict(hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2, max_position_embeddings=128,
               vocab_size=602, pad_token_id=1)
for name, write in (("of its model", unigrams), ("of tokenizer.json", unigrams_json)):
    check(f"tokenizer of a GGUF file, unigrams {name}", around, "XLMRoberta", ENCODER, write)
finish()
