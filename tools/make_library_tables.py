#!/usr/bin/env python3
"""Writes text/library_tables.c: what the tokenizers library takes characters for, asked of the library itself.

Its normalizers and pre-tokenizers come from crates that know different versions of Unicode, so no one version of the Unicode
Character Database gives the same ids. Where utf8proc or PCRE2 (as Debian 12 has them: Unicode 15 and 14) know better, or less,
the difference is a table here.

    pip install tokenizers==0.23.3
    python tools/make_library_tables.py > text/library_tables.c
"""
import ctypes
import sys
import unicodedata

from tokenizers import Regex, normalizers, pre_tokenizers

CHARS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
utf8proc = ctypes.CDLL("libutf8proc.so.2")
utf8proc.utf8proc_category_string.restype = ctypes.c_char_p
utf8proc.utf8proc_get_property.restype = ctypes.POINTER(ctypes.c_int16)


def category(c):
    return utf8proc.utf8proc_category_string(c).decode()


def combining(c):
    return utf8proc.utf8proc_get_property(c)[1]


def decompose(c, compat):
    out = (ctypes.c_int32 * 64)()
    options = 1 << 1 | 1 << 4 | (1 << 2 if compat else 0)  # STABLE, DECOMPOSE, COMPAT
    bound = ctypes.c_int(0)
    n = utf8proc.utf8proc_decompose_char(c, out, 64, options, ctypes.byref(bound))
    return "".join(chr(x) for x in out[:n])


def matched(pattern):
    """The characters that a regular expression of one character takes."""
    out = set()
    for start in range(0, len(CHARS), 4096):
        chunk = CHARS[start:start + 4096]
        text = "".join(map(chr, chunk))
        found = pre_tokenizers.Split(Regex(pattern), "removed").pre_tokenize_str(text)
        left = set("".join(piece for piece, _ in found))
        out.update(c for c in chunk if chr(c) not in left)
    return out


def ranges(value):
    out = []
    for c in CHARS:
        v = value(c)
        if not v:
            continue
        if out and out[-1][1] == c - 1 and out[-1][2] == v:
            out[-1][1] = c
        else:
            out.append([c, c, v])
    return out


def show(name, items, form):
    print(f"const size_t {name}_count = {len(items)};")
    print(f"const vise_char_range {name}[{max(1, len(items))}] = {{")
    line = "   "
    for item in items:
        text = " " + form(item) + ","
        if len(line) + len(text) > 108:
            print(line)
            line = "   "
        line += text
    print(line)
    print("};\n")


def flags():
    clean = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=False)
    strip = normalizers.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False)
    accents, bert, digits = normalizers.StripAccents(), pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Digits(individual_digits=True)
    nfd, nfkd = normalizers.NFD(), normalizers.NFKD()
    out = {}
    # A starter that composes with what only newer versions know.
    fixed = {0x11930, 0x11935}
    for c in CHARS:
        s = chr(c)
        bits = 0
        cleaned = clean.normalize_str("a" + s)
        bits |= 1 if cleaned == "a" else 0
        bits |= 2 if cleaned == "a " else 0
        bits |= 4 if len(bert.pre_tokenize_str("a" + s + "a")) == 3 else 0
        bits |= 8 if strip.normalize_str("a" + s) == "a" else 0
        bits |= 16 if accents.normalize_str("a" + s) == "a" else 0
        bits |= 32 if len(digits.pre_tokenize_str("a" + s + "a")) == 3 else 0
        unknown = category(c) == "Cn" or nfd.normalize_str(s) != decompose(c, False) or nfkd.normalize_str(s) != decompose(c, True)
        if combining(c) and not unknown:
            # Behind U+0345 (class 240) a mark of a lower class moves to its front; in front of U+0334 (class 1) one of a higher stays behind.
            unknown = nfd.normalize_str("a\u0345" + s) == "a\u0345" + s and combining(c) != 240 and nfd.normalize_str(
                "a" + s + "\u0334") == "a" + s + "\u0334" and combining(c) != 1
        bits |= 64 if unknown or c in fixed else 0
        out[c] = bits
    return out


def lower():
    to_lower = normalizers.Lowercase().normalize_str
    out = []
    for c in CHARS:
        theirs = to_lower(chr(c))
        if len(theirs) == 1 and ord(theirs) != utf8proc.utf8proc_tolower(c):
            out.append([c, c, ord(theirs)])
        elif len(theirs) != 1 and c != 0x130:
            sys.exit(f"U+{c:04X} becomes {theirs!r}: text/normal.c knows of U+0130 alone")
    return out


CATEGORIES = "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp Cc Cf Co".split()


def newer():
    """Characters that the library's regular expressions know and Unicode 14 (PCRE2 10.42) does not."""
    out = []
    for i, name in enumerate(CATEGORIES):
        known = {c for c in CHARS if unicodedata.category(chr(c)) == name}
        theirs = matched(r"\p{%s}" % name)
        lost = sorted(c for c in known - theirs)
        if lost:
            print(f"U+{lost[0]:04X} is no {name} for the library", file=sys.stderr)
        out += ranges(lambda c: i + 1 if c in theirs and c not in known else 0)
    return sorted(out)


def han():
    return ranges(lambda c: 1 if c in HAN else 0)


if unicodedata.unidata_version != "14.0.0":
    sys.exit("a Python that knows Unicode 14 is wanted (3.11), as PCRE2 10.42 does")
FLAGS = flags()
HAN = matched(r"\p{Han}")
print("/* What the tokenizers library (0.23.3) takes characters for; written by tools/make_library_tables.py, not by hand. */")
print('#include "text/unicode.h"\n')
show("vise_library_flags", ranges(lambda c: FLAGS[c]), lambda r: f"{{0x{r[0]:x}, 0x{r[1]:x}, {r[2]}}}")
show("vise_library_lower", lower(), lambda r: f"{{0x{r[0]:x}, 0x{r[1]:x}, 0x{r[2]:x}}}")
show("vise_library_newer", newer(), lambda r: f"{{0x{r[0]:x}, 0x{r[1]:x}, {r[2]}}}")
show("vise_library_han", han(), lambda r: f"{{0x{r[0]:x}, 0x{r[1]:x}, {r[2]}}}")
