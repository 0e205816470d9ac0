#!/usr/bin/env python3
"""Token ids of vise beside those of the tokenizers library: real tokenizers where they are found, and small made-up ones that
have every component which text/ holds, over mixed text. Then the speed of both, one thread, on one text.

    python tests/interop/tokenizer_ids.py [--models FOLDER] [--library build/release/libvise.a] [--time TEXT]
"""
import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

WORDS = """the Once upon a time, there was a little girl named Lily. don't I'm we'll they've you're he'd IT'S DON'T 'tis rock'n'roll
int main(void) { return x += 3.14e-10f; } /* comment */ #include <stdio.h> def f(self, *args): foo_bar.baz[0] == "str\\n" && !true
中文字符 日本語のテキスト 한국어 문장입니다 العربية نص עברית ไทย हिन्दी देवनागरी Ελληνικά Русский текст Ünïcödé naïve café ﬁ ſ 'ſ 'S ½ ² Ⅳ ٣٤٥ १२३
🙂 👨‍👩‍👧‍👦 🇩🇪 ✨ — “quotes” … € £ ¥ ∑∫ → 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𠀀𠮷 123 4567 1,000,000 2024-01-31 3.14159 0x7fff a1b2c3 ___ --- ... !!! ??? ▁ ▁▁ a▁b <s> </s> <unk> <|bos|> <0x0A>
<|eos|> [X] [Y] [Zz] word[X]word""".split()
GAPS = [" ", " ", " ", " ", " ", "  ", "\n", "\n\n", "\t", " \n ", "\r\n", "   \n\n\t ", "\u00a0", "\u3000", "\u2028", "\u0085", "",
        "\x00", "\x01\x7f", " " * 20, "\u200b", "\u0301", "\ufeff", "\U0010ffff", "\n \u00a0\n"]


def mixed_texts(seed, n):
    random.seed(seed)
    for i in range(n):
        kind = i % 8
        if kind < 5:
            yield "".join(random.choice(WORDS) + random.choice(GAPS) for _ in range(random.randint(1, 30)))
        elif kind == 5:
            yield "".join(random.choice(GAPS) for _ in range(random.randint(1, 12))) + random.choice(WORDS)
        elif kind == 6:
            yield "".join(chr(random.choice([random.randint(0, 0x7F), random.randint(0x80, 0x2FFF), random.randint(0x3000, 0xD7FF),
                                             random.randint(0xE000, 0x1FFFF)])) for _ in range(random.randint(1, 60)))
        else:
            yield random.choice("ab ▁\n") * random.randint(1, 400) + random.choice(WORDS) * random.randint(1, 20)


def every_character():
    """Each character between letters, digits, spaces and behind an added token that must not stand inside a word."""
    characters = [chr(c) for c in range(0x32400) if not 0xD800 <= c < 0xE000]
    for i in range(0, len(characters), 512):
        yield "".join(f"a{c}1{c} {c}{c}the{c}" for c in characters[i:i + 512])


GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"
          r"\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")


def added(content, **flags):
    token = {"id": 0, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    return {**token, **flags}


def made_up():
    """Variants by name. Byte-level ones start from a small trained vocabulary."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.train_from_iterator(list(mixed_texts(99, 400)), trainers.BpeTrainer(
        vocab_size=700, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    bytes_base = json.loads(trained.to_str())
    trained = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator([t.replace("\x00", "") for t in mixed_texts(98, 400)], trainers.BpeTrainer(
        vocab_size=600, special_tokens=["<unk>"] + [f"<0x{b:02X}>" for b in range(256)], limit_alphabet=80, show_progress=False))
    marks_base = json.loads(trained.to_str())
    marks_base["added_tokens"] = []

    def variant(base, model={}, **changes):
        out = json.loads(json.dumps(base))
        out.update(changes)
        out["model"].update(model)
        return out

    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}

    def split(regex, behavior="Isolated", invert=False):
        return {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}, byte_level]}

    def metaspace(scheme, cut):
        return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": cut}

    llama2 = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                                                 {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    flags = [added("<s>", special=True), added("[X]", lstrip=True), added("[Y]", rstrip=True, normalized=True),
             added("[Zz]", lstrip=True, rstrip=True, special=True), added("word", single_word=True), added("the", single_word=True),
             added("[X]word"), added("time,", normalized=True), added("\n\n"), added(" \n", normalized=True), added("中", special=True)]
    vocabulary = list(bytes_base["model"]["vocab"])
    some_lost = {t: i for i, t in enumerate(vocabulary) if t not in "ĠĊaé中"}
    yield "gpt2", variant(bytes_base)
    yield "gpt2, prefix space", variant(bytes_base, pre_tokenizer={**byte_level, "add_prefix_space": True, "use_regex": True})
    yield "gpt2 by Split", variant(bytes_base, pre_tokenizer=split(GPT2))
    yield "llama3", variant(bytes_base, pre_tokenizer=split(LLAMA3))
    yield "llama3, ignore_merges", variant(bytes_base, {"ignore_merges": True}, pre_tokenizer=split(LLAMA3, "Removed", True))
    yield "qwen2", variant(bytes_base, pre_tokenizer=split(QWEN2))
    yield "bytes without regex", variant(bytes_base, pre_tokenizer=byte_level)
    yield "bytes, added tokens", variant(bytes_base, added_tokens=flags)
    yield "bytes, pairs", variant(bytes_base, {"merges": [m.split(" ") if isinstance(m, str) else m for m in
                                                         bytes_base["model"]["merges"]]})
    yield "bytes with holes, unk", variant(bytes_base, {"vocab": {**some_lost, "<unk>": 9999}, "unk_token": "<unk>", "merges": []})
    yield "bytes with holes, fused unk", variant(bytes_base, {"vocab": {**some_lost, "<unk>": 9999}, "unk_token": "<unk>",
                                                             "fuse_unk": True, "merges": []})
    yield "bytes with holes, no unk", variant(bytes_base, {"vocab": some_lost, "merges": []})
    yield "llama2", variant(marks_base, normalizer=llama2, pre_tokenizer=None)
    yield "llama2, added tokens", variant(marks_base, normalizer=llama2, pre_tokenizer=None, added_tokens=flags)
    for scheme in ("always", "first", "never"):
        for cut in (True, False):
            yield f"metaspace {scheme} split={cut}", variant(marks_base, pre_tokenizer=metaspace(scheme, cut), added_tokens=flags)
    yield "metaspace in Sequence", variant(marks_base, pre_tokenizer={"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": GPT2}, "behavior": "Isolated", "invert": False}, metaspace("first", True)]})
    lost = {t: i for t, i in marks_base["model"]["vocab"].items() if t not in ("<0xE4>", "<0x0A>")}
    for fuse in (True, False):
        yield f"llama2 with holes, fuse={fuse}", variant(marks_base, {"vocab": lost, "fuse_unk": fuse}, normalizer=llama2,
                                                         pre_tokenizer=None)
    yield "no fallback", variant(marks_base, {"byte_fallback": False}, normalizer=llama2, pre_tokenizer=None)
    yield "no fallback, no unk", variant(marks_base, {"byte_fallback": False, "unk_token": None}, pre_tokenizer=None)
    yield "replacements", variant(marks_base, normalizer={"type": "Sequence", "normalizers": [
        {"type": "Replace", "pattern": {"String": "a"}, "content": ""}, {"type": "Replace", "pattern": {"String": ".."}, "content": " . "},
        {"type": "Prepend", "prepend": "x "}]}, pre_tokenizer=None, added_tokens=flags)


DEEPSEEK = [r"\p{N}{1,3}", "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|"
            "\\s*[\r\n]+|\\s+(?!\\S)|\\s+"]
DEEPSEEK_CODER = ["[\r\n]", "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                  "\\s+$", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"]
O200K = "|".join([
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
    r"\p{N}{1,3}", r" ?[^\s\p{L}\p{N}]+[\r\n/]*", r"\s*[\r\n]+", r"\s+(?!\S)", r"\s+"])
CL100K = (r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+")
BLOOM = " ?[^(\\s|[.,!?\u2026\u3002\uff0c\u3001\u0964\u06d4\u060c])]+"
CLASSES = [r"\d+", r"\D+", r"\S+", r"\P{L}+", r"[^\p{M}\s]+", r"\p{Han}+", r"^.{1,5}", r"\s+$", r"\A.\z|[a-c\-\]]{2,}?", r"(?<=a)b|(?<!\n)\n(?=x)|(?>a+)"] + [
    r"\p{%s}" % c for c in "L M N P S Z Lu Ll Lt Lm Lo Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp".split()]
BERT_NORMAL = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}


def sequence(*members):
    return {"type": "Sequence", "pretokenizers": list(members)}


def cut(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def pieces():
    """Normalizers and pre-tokenizers, seen through a vocabulary in which every piece shows: BPE over bytes without merges but with
    whole words. The pieces' ends are shown by a prefix space in front of each."""
    from tokenizers import pre_tokenizers
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    show = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": False}
    base = {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": show, "post_processor": None, "decoder": None,
            "model": {"type": "BPE", "vocab": {c: i for i, c in enumerate(alphabet)}, "merges": []}}
    for name in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents"):
        yield name, {**base, "normalizer": {"type": name}}
    for left, right in ((True, True), (True, False), (False, True)):
        yield f"Strip {left} {right}", {**base, "normalizer": {"type": "Strip", "strip_left": left, "strip_right": right}}
    yield "Replace by Regex", {**base, "normalizer": {"type": "Replace", "pattern": {"Regex": r" {2,}|\p{N}+"}, "content": "#"}}
    yield "NFD, StripAccents, Lowercase", {**base, "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "NFD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}}
    for clean in (True, False):
        for chinese in (True, False):
            for strip in (True, False, None):
                for lower in (True, False):
                    yield f"BertNormalizer {clean} {chinese} {strip} {lower}", {**base, "normalizer": {
                        "type": "BertNormalizer", "clean_text": clean, "handle_chinese_chars": chinese, "strip_accents": strip,
                        "lowercase": lower}}
    for name in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit"):
        yield name, {**base, "pre_tokenizer": sequence({"type": name}, show)}
    yield "CharDelimiterSplit", {**base, "pre_tokenizer": sequence({"type": "CharDelimiterSplit", "delimiter": "e"}, show)}
    for each in (True, False):
        yield f"Digits {each}", {**base, "pre_tokenizer": sequence({"type": "Digits", "individual_digits": each}, show)}
    for behavior in ("Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"):
        yield f"Punctuation {behavior}", {**base, "pre_tokenizer": sequence({"type": "Punctuation", "behavior": behavior}, show)}
        for invert in (True, False):
            yield f"Split by String {behavior} {invert}", {**base, "pre_tokenizer": sequence(cut(" ", behavior, invert, "String"), show)}
            yield f"Split by Regex {behavior} {invert}", {**base, "pre_tokenizer": sequence(cut(r"\p{L}|\p{N}+", behavior, invert), show)}
    for i, pattern in enumerate(CLASSES):
        yield f"Regex {pattern}", {**base, "pre_tokenizer": sequence(cut(pattern), show)}
    yield "DeepSeek-V3", {**base, "pre_tokenizer": sequence(*(cut(p) for p in DEEPSEEK), show)}
    yield "DeepSeek-Coder", {**base, "pre_tokenizer": sequence(*(cut(p) for p in DEEPSEEK_CODER), {"type": "Digits", "individual_digits": True}, show)}
    for name, pattern in (("o200k", O200K), ("cl100k", CL100K), ("BLOOM", BLOOM)):
        yield name, {**base, "pre_tokenizer": sequence(cut(pattern), show)}
    # Falcon: behind ByteLevel, pre-tokenizers see the characters that stand for bytes.
    behind = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    yield "Falcon", {**base, "model": {**base["model"], "ignore_merges": False}, "pre_tokenizer": sequence(
        {"type": "Punctuation", "behavior": "Contiguous"}, behind, {"type": "Digits", "individual_digits": False}, cut("[0-9][0-9][0-9]"))}


def bert_like(folder):
    """BERT's vocabulary under other components."""
    with open(os.path.join(folder, "tokenizer.json"), encoding="utf-8") as file:
        base = json.load(file)
    base.update(truncation=None, padding=None)
    yield "bert-base-uncased", base
    for lower in (True, False):
        for chinese in (True, False):
            yield f"BERT, lowercase={lower} chinese={chinese}", {**base, "normalizer": {
                **BERT_NORMAL, "lowercase": lower, "handle_chinese_chars": chinese}}
    yield "BERT, Whitespace", {**base, "pre_tokenizer": {"type": "Whitespace"}, "normalizer": None}
    yield "BERT, short words", {**base, "model": {**base["model"], "max_input_chars_per_word": 7, "continuing_subword_prefix": "#"}}


def from_gpt2(folder):
    """vocab.json and merges.txt of GPT-2, as its tokenizer.json and in Llama 3's manner."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    whole = Tokenizer(models.BPE.from_file(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt")))
    whole.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    whole.add_special_tokens(["<|endoftext|>"])
    out = json.loads(whole.to_str())
    yield "GPT-2, 50257 tokens", out
    out["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": LLAMA3}, "behavior": "Isolated", "invert": False},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}]}
    out["model"]["ignore_merges"] = True
    yield "GPT-2 in Llama 3's manner", out


def compare(program, folder, name, texts, theirs=None):
    theirs = theirs or tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    theirs.no_truncation()
    theirs.no_padding()
    data = b"".join(struct.pack("<Q", len(b)) + b for b in (t.encode() for t in texts))
    run = subprocess.run([program, "ids", folder], input=data, capture_output=True)
    if run.returncode != 0:
        print(f"FAIL {name}: {run.stderr.decode().strip()}")
        return False
    lines = run.stdout.decode().split("\n")
    wrong = 0
    for text, line in zip(texts, lines):
        ours = [int(x) for x in line.split()]
        want = theirs.encode(text, add_special_tokens=False).ids
        if ours != want:
            wrong += 1
            if wrong <= 2:
                print(f"  {name}: {text!r}\n    ours   {ours[:40]}\n    theirs {want[:40]}")
    print(f"{'FAIL' if wrong else 'ok'} {name}: {len(texts) - wrong} of {len(texts)} texts equal")
    return wrong == 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", default=os.path.join(ROOT, "../shared/models"))
    parser.add_argument("--library", default=os.path.join(ROOT, "build/release/libvise.a"))
    parser.add_argument("--time", default=os.path.join(ROOT, "../shared/data/books/valid.txt"))
    parser.add_argument("--texts", type=int, default=2400)
    parser.add_argument("--share", type=int, default=1,
                        help="of the texts with every character, each variant gets one in so many, each another")
    args = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as temporary:
        program = os.path.join(temporary, "tokenize")
        subprocess.run([os.environ.get("CC", "gcc"), "-std=c17", "-D_GNU_SOURCE", "-O2", "-I" + ROOT,
                        os.path.join(ROOT, "tests/interop/tokenize_main.c"), args.library, "-lcjson", "-lzstd", "-lutf8proc", "-lpcre2-8", "-lm", "-lpthread",
                        "-ldl", "-o", program], check=True)
        texts = [""] + list(mixed_texts(1, args.texts))
        found = [os.path.join(args.models, m) for m in sorted(os.listdir(args.models))] if os.path.isdir(args.models) else []
        real = [f for f in [os.path.join(ROOT, "examples/stories260K")] + found if os.path.exists(os.path.join(f, "tokenizer.json"))]
        if not found:
            print("SKIP more real tokenizers: none found in", args.models)
        if os.path.exists(args.time):
            with open(args.time, encoding="utf-8") as file:
                book = file.read()
            texts += [book[i:i + 997] for i in range(0, 300 * 997, 997)]
        for folder in real:
            good &= compare(program, folder, os.path.basename(folder), texts)
        gpt2 = os.path.join(args.models, "../tokenizers/gpt2")
        for name, content in [*made_up(), *(from_gpt2(gpt2) if os.path.isdir(gpt2) else [])]:
            folder = os.path.join(temporary, "made-up")
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False)
            good &= compare(program, folder, name, texts if name.startswith("GPT-2") else texts[:1 + args.texts])
            if name in ("gpt2", "llama3", "bytes, added tokens"):
                good &= compare(program, folder, name + ", every character", list(every_character()))
        bert = os.path.join(args.models, "../tokenizers/bert-base-uncased")
        every = list(every_character())
        for i, (name, content) in enumerate([*pieces(), *(bert_like(bert) if os.path.isdir(bert) else [])]):
            with open(os.path.join(folder, "tokenizer.json"), "w", encoding="utf-8") as file:
                json.dump(content, file, ensure_ascii=False)
            many = content["model"]["type"] == "WordPiece"
            good &= compare(program, folder, name, texts[:1 + args.texts if many else 401] + every[i % args.share::args.share])
        for folder in real if os.path.exists(args.time) else []:
            theirs = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
            parts = [p + "\n\n" for p in book.split("\n\n")]
            best = min(min(timed(lambda: theirs.encode(book, add_special_tokens=False)),
                           timed(lambda: [theirs.encode(p, add_special_tokens=False) for p in parts])) for _ in range(2))
            run = subprocess.run([program, "time", folder, "1"], input=book.encode(), capture_output=True, check=True)
            ours = float(run.stdout.split()[0])
            megabytes = len(book.encode()) / 1e6
            print(f"{os.path.basename(folder)}: ours {megabytes / ours:.1f} MB/s (cold cache), tokenizers {megabytes / best:.1f} MB/s "
                  f"(the better of the whole text and paragraphs), {best / ours:.1f} times")
    sys.exit(0 if good else 1)


def timed(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
