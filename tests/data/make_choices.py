#!/usr/bin/env python3
"""Makes tests/data/choices.jsonl from a text: the first words of a sentence, how it goes on, and how three others do.

usage: make_choices.py examples/text/test.txt >tests/data/choices.jsonl
"""
import json
import random
import re
import sys

draw = random.Random(3)
with open(sys.argv[1]) as file:
    sentences = [s.split() for s in re.findall(r"[A-Z][^.!?\n]*\.", file.read())]
sentences = [s for s in sentences if 8 <= len(s) <= 16]
draw.shuffle(sentences)
for i, sentence in enumerate(sentences[:60]):
    cut = len(sentence) // 2
    others = [s[len(s) // 2 :] for s in draw.sample(sentences[60:], 3)]
    label = draw.randrange(4)
    endings = [" ".join(s) for s in others[:label] + [sentence[cut:]] + others[label:]]
    print(json.dumps({"ind": i, "ctx": " ".join(sentence[:cut]), "endings": endings, "label": str(label) if i % 2 else label}))
