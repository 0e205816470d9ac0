/* ZIP archives and checkpoints of torch.save, made by hand for tests. */
#ifndef VISE_TESTS_TORCH_HELP_H
#define VISE_TESTS_TORCH_HELP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"

/* An archive as torch writes it, entry by entry: stored, sizes behind the data. */
typedef struct help_zip {
    vise_buf buf, directory;
    uint16_t entries;
    bool sizes_in_front; /* as Python's zipfile writes them, in the local header */
    bool zip64;          /* with ZIP64 end records */
} help_zip;
void help_zip_init(help_zip *zip);
void help_zip_add(help_zip *zip, const char *name, const void *bytes, size_t n);
void help_zip_end(help_zip *zip); /* the whole is zip->buf then */
void help_zip_deinit(help_zip *zip);
void help_put(vise_buf *buf, uint64_t value, int bytes); /* little-endian */

/* Pieces of pickles. The arguments are pickled values: INT1(3), TEXT1("a"). */
#define INT1(byte)                 "K" byte
#define TEXT1(text)                "X\1\0\0\0" text /* of one byte */
#define PAIR(a, b)                 a b "\x86"
#define STORAGE(class, key, count) "((X\7\0\0\0storage" class key "X\3\0\0\0cpu" count "tQ"
#define FLOATS                     "ctorch\nFloatStorage\n"
#define HOOKS                      "ccollections\nOrderedDict\n)R"
#define TENSOR(class, key, count, offset, shape, strides)                                                    \
    "ctorch._utils\n_rebuild_tensor_v2\n" STORAGE(class, key, count) offset shape strides "\x89" HOOKS "tR"

#endif
