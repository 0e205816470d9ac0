#!/usr/bin/env python3
"""`vise eval` on tasks: labels, against transformers on the same texts, right-padded in one batch.

usage: check_tasks.py; VISE names the program. The models of ../shared are looked at where they are found.
"""
import json
import os

import torch
import transformers
from safetensors.torch import load_file

from common import LIMIT, MODELS, ROOT, check, distance, finish, path, skip, vise

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


@torch.no_grad()
def labels(folder, file, right=None):
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.BertTokenizer(os.path.join(folder, "vocab.txt"), do_lower_case=True)
    names = [model.config.id2label[i] for i in range(model.config.num_labels)]
    rows = read_labels(file, names)
    expected = []
    for first in range(0, len(rows), 64):
        part = rows[first : first + 64]
        pair = [b for _, b, _ in part] if part[0][1] is not None else None
        batch = tokenizer([a for a, _, _ in part], pair, padding=True, truncation=True,
                          max_length=model.config.max_position_embeddings, return_tensors="pt")
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


def main():
    for file in ("dev.tsv", "pairs.jsonl"):
        check(f"labels: {file} of the tiny classifier", labels, TINY, os.path.join(TINY, file))
    bert, dev = os.path.join(MODELS, "bert-tiny-sst2-local"), os.path.join(MODELS, "../data/sst2/glue_dev.tsv")
    if os.path.isdir(bert) and os.path.exists(dev):
        check("labels: SST-2's dev set", labels, bert, dev, right=705)
    else:
        skip("labels: SST-2's dev set", f"no {bert} or no {dev}")
    finish()


main()
