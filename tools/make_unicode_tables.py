#!/usr/bin/env python3
"""Writes text/unicode_tables.c: the character classes that tokenizers split by, as sorted ranges.

The tables are those of Unicode 16.0, which the tokenizers library's regular expressions know (the ids of newer characters would
differ otherwise). Python's own unicodedata is used if it has that version (3.14), else the unicodedata2 package:

    pip install unicodedata2==16.0.0
    python tools/make_unicode_tables.py > text/unicode_tables.c
"""
import sys
import unicodedata

VERSION = "16.0.0"
if unicodedata.unidata_version != VERSION:
    import unicodedata2 as unicodedata
if unicodedata.unidata_version != VERSION:
    sys.exit(f"Unicode {VERSION} is wanted, this is {unicodedata.unidata_version}")

# White_Space (PropList.txt); the same since Unicode 6.3.
SPACE = {0x9, 0xA, 0xB, 0xC, 0xD, 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}
# Alphabetic without being a letter, mark or letter number: Other_Alphabetic symbols (circled and squared Latin letters).
# Join_Control belongs to \w too (UTS 18, annex C).
OTHER_WORD = {*range(0x24B6, 0x24EA), *range(0x1F130, 0x1F14A), *range(0x1F150, 0x1F16A), *range(0x1F170, 0x1F18A), 0x200C, 0x200D}


def klass(c):
    if c in SPACE:
        return "SPACE"
    return {"L": "LETTER", "N": "NUMBER"}.get(unicodedata.category(chr(c))[0])


def word(c):
    category = unicodedata.category(chr(c))
    return category[0] in "LM" or category in ("Nd", "Nl", "Pc") or c in OTHER_WORD


def ranges(value):
    out = []
    for c in range(0x110000):
        v = value(c)
        if not v:
            continue
        if out and out[-1][1] == c - 1 and out[-1][2] == v:
            out[-1][1] = c
        else:
            out.append([c, c, v])
    return out


def show(items, form):
    line = "   "
    for item in items:
        text = " " + form(item) + ","
        if len(line) + len(text) > 108:
            print(line)
            line = "   "
        line += text
    print(line)


classes, words = ranges(klass), ranges(word)
print(f"/* Unicode {VERSION}; written by tools/make_unicode_tables.py, not by hand. */")
print('#include "text/unicode.h"\n')
print("#define L VISE_CHAR_LETTER\n#define N VISE_CHAR_NUMBER\n#define S VISE_CHAR_SPACE\n")
print(f"const size_t vise_unicode_classes_count = {len(classes)};")
print(f"const vise_char_range vise_unicode_classes[{len(classes)}] = {{")
show(classes, lambda r: f"{{0x{r[0]:x}, 0x{r[1]:x}, {r[2][0]}}}")
print(f"}};\n\nconst size_t vise_unicode_words_count = {len(words)};")
print(f"const vise_char_range vise_unicode_words[{len(words)}] = {{")
show(words, lambda r: f"{{0x{r[0]:x}, 0x{r[1]:x}, 1}}")
print("};")
