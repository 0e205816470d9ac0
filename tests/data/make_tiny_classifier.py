#!/usr/bin/env python3
"""Makes tests/data/tiny-classifier: a BERT of 8 thousand weights with three labels, trained for a moment on made-up
sentences, its texts, and how many of them transformers finds right. Needs torch and transformers.

usage: make_tiny_classifier.py FOLDER
"""
import json
import os
import random
import sys

import torch
import transformers

NAMES = ["negative", "neutral", "positive"]
GOOD, BAD = "good great fine warm bright funny".split(), "bad awful poor cold dull sad".split()
PLAIN = "the a film plot scene cast music was is felt very quite and of in story".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *PLAIN, *GOOD, *BAD, "not", ".", ",", "##s", "##ly"]


def sentence(draw, length):
    words = [draw.choice(PLAIN) for _ in range(length)]
    score = 0
    for i in range(1, length):
        if draw.random() < 0.3:
            good = draw.random() < 0.5
            words[i] = draw.choice(GOOD if good else BAD)
            score += 1 if good else -1
    return " ".join(words) + " .", 1 + (score > 0) - (score < 0)


def write_tsv(path, rows):
    with open(path, "w") as file:
        file.write("label\tsentence\n")
        file.writelines(f"{NAMES[label] if i % 2 else label}\t{text}\n" for i, (text, label) in enumerate(rows))


@torch.no_grad()
def given(model, batch):
    return model(**batch).logits.argmax(-1).tolist()


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.txt"), "w") as file:
        file.write("\n".join(VOCABULARY) + "\n")
    tokenizer = transformers.BertTokenizer(os.path.join(folder, "vocab.txt"), do_lower_case=True)
    draw = random.Random(7)
    train = [sentence(draw, draw.randint(3, 9)) for _ in range(400)]
    dev = [sentence(draw, draw.randint(3, 20)) for _ in range(60)]  # the longest are cut
    pairs = [(sentence(draw, 4), sentence(draw, 4)) for _ in range(30)]

    torch.manual_seed(1)
    config = transformers.BertConfig(
        vocab_size=len(VOCABULARY), hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=16, type_vocab_size=2, id2label=dict(enumerate(NAMES)), hidden_dropout_prob=0.0,
        label2id={name: i for i, name in enumerate(NAMES)}, attention_probs_dropout_prob=0.0)
    model = transformers.BertForSequenceClassification(config)
    model.bert.embeddings.token_type_embeddings.weight.data.normal_(0, 0.5)
    batch = tokenizer([text for text, _ in train], padding=True, truncation=True, max_length=16, return_tensors="pt")
    labels = torch.tensor([label for _, label in train])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    model.eval().save_pretrained(folder)
    write_tsv(os.path.join(folder, "dev.tsv"), dev)
    with open(os.path.join(folder, "pairs.jsonl"), "w") as file:
        for (first, a), (second, b) in pairs:
            label = max(0, min(2, a + b - 1))
            file.write(json.dumps({"sentence1": first, "sentence2": second, "label": label}) + "\n")
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file:
        json.dump({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 16}, file)
    batch = tokenizer([t for t, _ in dev], padding=True, truncation=True, max_length=16, return_tensors="pt")
    labels = given(model, batch)
    print("dev", sum(a == b for a, (_, b) in zip(labels, dev)), len(dev), labels,
          sum(len(tokenizer(t)["input_ids"]) > 16 for t, _ in dev))
    batch = tokenizer([t for (t, _), _ in pairs], [t for _, (t, _) in pairs], padding=True, return_tensors="pt",
                      truncation=True, max_length=16)
    labels = given(model, batch)
    print("pairs", sum(g == max(0, min(2, a + b - 1)) for g, ((_, a), (_, b)) in zip(labels, pairs)), len(pairs), labels)


main()
