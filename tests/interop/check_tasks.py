#!/usr/bin/env python3
"""`vise eval` on tasks: labels, against transformers on the same texts, right-padded in one batch.

usage: check_tasks.py; VISE names the program. The models of ../shared are looked at where they are found.
"""
import json
import os
import shutil

import torch
import transformers
from safetensors.torch import load_file

from common import EXAMPLE, LIMIT, MODELS, ROOT, check, distance, finish, path, skip, vise

TINY = os.path.join(ROOT, "tests/data/tiny-classifier")


def read_labels(file, names):
    """Rows of first text, second text or None, label."""
    with open(file) as lines:
        if file.endswith(".jsonl"):
            rows = [json.loads(line) for line in lines]
            return [(row["sentence1"], row.get("sentence2"), row["label"]) for row in rows]
        rows = [line.rstrip("\n").split("\t") for line in lines][1:]
    return [(text, None, names.index(label) if label in names else int(label)) for label, text in rows]


def macro_f1(truth, given):
    scores = []
    for label in set(truth) | set(given):
        right = sum(t == g == label for t, g in zip(truth, given))
        scores.append(2 * right / (truth.count(label) + given.count(label)))
    return sum(scores) / len(scores)


def words(folder):
    if os.path.exists(os.path.join(folder, "vocab.txt")):
        return transformers.BertTokenizer(os.path.join(folder, "vocab.txt"), do_lower_case=True)
    return transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"), pad_token="</s>",
                                                padding_side="right")


@torch.no_grad()
def labels(folder, file, right=None):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = words(folder)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    rows = read_labels(file, names)
    expected = []
    for first in range(0, len(rows), 64):
        part = rows[first : first + 64]
        pair = [b for _, b, _ in part] if part[0][1] is not None else None
        batch = tokenizer([a for a, _, _ in part], pair, padding=True, truncation=True,
                          max_length=model.config.max_position_embeddings, return_tensors="pt")
        batch.pop("token_type_ids", None) if model.config.model_type == "llama" else None
        expected.append(model(**batch).logits)
    expected = torch.cat(expected)
    out = json.loads(vise("eval", folder, "--labels", file, "--save-logits", path("labels.safetensors"), "--json"))
    off = distance(load_file(path("labels.safetensors"))["logits"], expected)
    got = out["accuracy"]["labels"]
    truth, given = [label for _, _, label in rows], expected.argmax(-1).tolist()
    count = sum(t == g for t, g in zip(truth, given))
    agree = abs(got["accuracy"]["after"] * len(rows) - count) < 1e-6 and abs(
        got["macro_f1"]["after"] - macro_f1(truth, given)) < 1e-9
    return (off < LIMIT and agree and right in (None, count),
            f"logits off by {off:.1e}, {count} of {len(rows)} right, accuracy and macro F1 {'equal' if agree else 'DIFFER'}")


def decoder():
    """A Llama that classifies texts by their last token, and the same with its blocks in int8: the head stays."""
    folder, packed = path("decoder"), path("decoder-int8")
    names = {0: "negative", 1: "neutral", 2: "positive"}
    config = transformers.LlamaConfig(hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=8,
                                      num_key_value_heads=2, vocab_size=512, max_position_embeddings=32, bos_token_id=1,
                                      eos_token_id=2, pad_token_id=2, id2label=names)
    torch.manual_seed(5)
    model = transformers.LlamaForSequenceClassification(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 0.0, 1.0 / parameter.shape[-1] ** 0.5)
    model.save_pretrained(folder)
    shutil.copy(os.path.join(EXAMPLE, "tokenizer.json"), folder)
    vise("quant", folder, "-o", packed, "--scheme", "int8-channel")
    shutil.copy(os.path.join(EXAMPLE, "tokenizer.json"), packed)
    for name, where in (("as it is", folder), ("in int8", packed)):
        check(f"labels: a decoder, {name}", labels, where, os.path.join(TINY, "dev.tsv"))


def main():
    decoder()
    for file in ("dev.tsv", "pairs.jsonl"):
        check(f"labels: {file} of the tiny classifier", labels, TINY, os.path.join(TINY, file))
    bert, dev = os.path.join(MODELS, "bert-tiny-sst2-local"), os.path.join(MODELS, "../data/sst2/glue_dev.tsv")
    if os.path.isdir(bert) and os.path.exists(dev):
        check("labels: SST-2's dev set", labels, bert, dev, right=705)
    else:
        skip("labels: SST-2's dev set", f"no {bert} or no {dev}")
    finish()


main()
