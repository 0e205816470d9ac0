#!/usr/bin/env python3
"""The tokenizers library on one thread: the peer of bench_tokenizer.

    tokenizers_library.py prepare SHARED FOLDER    writes FOLDER/NAME/tokenizer.json and FOLDER/NAME.txt
    tokenizers_library.py time FOLDER TEXT TRIES   prints: peer VERSION load load-wall, and for the whole text and for its
                                                   lines: cold best best-wall fingerprint

Seconds of processor time, but for wall. Its best mode is what counts: encode_batch_fast (which leaves out offsets),
encode_batch and encode are tried in turn.
"""
import glob
import json
import os
import random
import struct
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
import tokenizers  # noqa: E402
from tokenizers import Tokenizer, models, pre_tokenizers  # noqa: E402

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEXT_BYTES = 1_000_000


# ---- tokenizers and texts ------------------------------------------------------------------------------------------

def gpt2(shared):
    files = (os.path.join(shared, "tokenizers/gpt2", name) for name in ("vocab.json", "merges.txt"))
    out = Tokenizer(models.BPE.from_file(*files))
    out.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    out.add_special_tokens(["<|endoftext|>"])
    return json.loads(out.to_str())


def llama3(shared, size=128_000):
    """Llama 3's split, and its size: GPT-2's vocabulary, and behind it random pairs of its tokens that make new ones."""
    out = gpt2(shared)
    vocab, merges = out["model"]["vocab"], out["model"]["merges"]
    tokens, draw = list(vocab), random.Random(1)
    letters = [t for t in tokens if t.isalpha()]
    while len(vocab) < size:
        left, right = draw.choice(tokens), draw.choice(letters)
        if not left[-1].isalpha() or left + right in vocab:
            continue
        vocab[left + right] = len(vocab)
        merges.append([left, right])
        tokens.append(left + right)
    out["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
    out["model"]["ignore_merges"] = True
    return out


def fields(data):
    """(number, value) of a protocol buffer."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        key = varint()
        if key & 7 == 0:
            value = varint()
        else:
            n = {1: 8, 5: 4}.get(key & 7) or varint()
            value, at = data[at:at + n], at + n
        yield key >> 3, value


def llama2(shared):
    """tokenizer.model as transformers turns it into tokenizer.json: a merge for each way to cut a piece in two pieces."""
    with open(os.path.join(shared, "tokenizers/llama2/tokenizer.model"), "rb") as file:
        pieces = [dict(fields(value)) for number, value in fields(file.read()) if number == 1]
    names = [p[1].decode() for p in pieces]
    score = {n: struct.unpack("<f", p[2])[0] if 2 in p else 0.0 for n, p in zip(names, pieces)}
    vocab = {n: i for i, n in enumerate(names)}
    merges = []
    for name in names:
        parts = [(name[:i], name[i:]) for i in range(1, len(name)) if name[:i] in vocab and name[i:] in vocab]
        parts.sort(key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
        merges += [(score[name], *pair) for pair in parts]
    merges.sort(key=lambda m: -m[0])
    return {"version": "1.0", "added_tokens": [], "post_processor": None, "decoder": None, "pre_tokenizer": None,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
            "model": {"type": "BPE", "vocab": vocab, "merges": [m[1:] for m in merges], "unk_token": "<unk>",
                      "fuse_unk": True, "byte_fallback": True}}


def bert(shared):
    with open(os.path.join(shared, "tokenizers/bert-base-uncased/tokenizer.json"), encoding="utf-8") as file:
        out = json.load(file)
    out.update(truncation=None, padding=None)
    return out


def english(shared):
    with open(os.path.join(shared, "data/books/valid.txt"), encoding="utf-8") as file:
        return file.read()


def wiki(shared):
    with open(os.path.join(shared, "data/wikitext2/wiki.valid.tokens.txt"), encoding="utf-8") as file:
        return file.read()


def code(_):
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
    names = sorted(glob.glob(os.path.join(root, "*/*.[ch]")) + glob.glob(os.path.join(root, "tests/*/*.py")))
    return "".join(open(name, encoding="utf-8").read() for name in names)


def cjk(_):
    """Made up, as no such text is at hand: words of one to four characters, drawn by Zipf's law, in sentences."""
    draw = random.Random(2)
    han = [chr(0x4E00 + draw.randrange(0x3000)) for _ in range(3000)]
    kana, hangul = [chr(c) for c in range(0x3042, 0x3094)], [chr(0xAC00 + draw.randrange(0x2BA0)) for _ in range(800)]

    def zipf(n):
        return min(int(n ** draw.random()), n - 1)

    words = ["".join(a[zipf(len(a))] for _ in range(draw.choice((1, 2, 2, 2, 3, 4))))
             for a in draw.choices((han, kana, hangul), (7, 2, 1), k=20000)]
    out, size = [], 0
    while size < TEXT_BYTES:
        sentence = "，".join("".join(words[zipf(20000)] for _ in range(draw.randrange(2, 9)))
                            for _ in range(draw.randrange(1, 4))) + draw.choice("。。。！？") + draw.choice(("", "", "\n"))
        out.append(sentence)
        size += len(sentence.encode())
    return "".join(out)


def prepare(shared, folder):
    for make in (gpt2, llama3, llama2, bert):
        os.makedirs(os.path.join(folder, make.__name__), exist_ok=True)
        with open(os.path.join(folder, make.__name__, "tokenizer.json"), "w", encoding="utf-8") as file:
            json.dump(make(shared), file, ensure_ascii=False, indent=2)
    for make in (english, wiki, code, cjk):
        text = make(shared).encode()[:TEXT_BYTES].decode(errors="ignore")
        with open(os.path.join(folder, make.__name__ + ".txt"), "w", encoding="utf-8", newline="") as file:
            file.write(text)


# ---- timing --------------------------------------------------------------------------------------------------------

def taken(work):
    """Processor and wall seconds, and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.process_time() - cpu, time.perf_counter() - wall, result


def fingerprint(encodings):
    """FNV-1a over the ids as 32-bit words."""
    h = 0xCBF29CE484222325
    for encoding in encodings:
        for i in encoding.ids:
            h = ((h ^ i) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return h


def modes(tokenizer, texts):
    yield lambda: tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    yield lambda: tokenizer.encode_batch(texts, add_special_tokens=False)
    yield lambda: [tokenizer.encode(text, add_special_tokens=False) for text in texts]


def measure(folder, path, tries):
    with open(path, encoding="utf-8", newline="") as file:
        text = file.read()
    name = os.path.join(folder, "tokenizer.json")
    columns = list(min(taken(lambda: Tokenizer.from_file(name))[:2] for _ in range(3)))
    for texts in ([text], [line for line in text.split("\n") if line]):
        cold = best = wall = float("inf")
        for i in range(3):
            tokenizer = Tokenizer.from_file(name)
            for t in range(tries):
                cpu_now, wall_now, result = taken(list(modes(tokenizer, texts))[i])
                cold = min(cold, cpu_now) if t == 0 else cold
                best, wall = min(best, cpu_now), min(wall, wall_now)
        columns += [cold, best, wall, fingerprint(result)]
    print("peer", "tokenizers-" + tokenizers.__version__, *(f"{c:016x}" if isinstance(c, int) else f"{c:.6f}" for c in columns))


if sys.argv[1] == "prepare":
    prepare(*sys.argv[2:4])
else:
    measure(sys.argv[2], sys.argv[3], int(sys.argv[4]))
