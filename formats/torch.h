/* Checkpoints of torch.save, read without executing anything.
 *
 *   since torch 1.6   a ZIP archive (formats/zip.h): NAME/data.pkl, a pickle (formats/pickle.h) that mentions storages
 *                     by key, and NAME/data/KEY, their bytes; NAME/byteorder
 *   before            five pickles - a magic number, 1001, facts of the machine, the object, the keys of the storages -
 *                     and behind them, for each key, a 64-bit count and the bytes
 *
 * A tensor is a view of a storage: offset, shape and strides. Several may share one. The object must be a dict of
 * tensors, or a checkpoint whose member "state_dict", "model", "module" or the like is one: then that part is taken,
 * and what else holds values - optimizers, states of random generators - is left out. A prefix that parallel or
 * compiled training puts before every name ("module.", "_orig_mod.") is taken off.
 *
 * Checked, beside what the parts check: that a storage is there and as long as the pickle says, that a view stays
 * within it, that names are UTF-8 and no two are alike, that a view which repeats elements is no longer than the file.
 * Files of big-endian machines and TorchScript archives are refused.
 *
 * Source: torch/serialization.py of torch 2.13, torch/csrc/jit/serialization (the archive).
 */
#ifndef VISE_FORMATS_TORCH_H
#define VISE_FORMATS_TORCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/mem.h"
#include "formats/safetensors.h"
#include "formats/source.h"
#include "tensor/dtype.h"

/* Elements that do not lie in the order of the shape, one behind the other. */
typedef struct vise_torch_view {
    uint64_t start; /* of the first element, in the file */
    size_t size;    /* bytes of an element */
    int ndim;
    int64_t shape[VISE_DIMS_MAX], strides[VISE_DIMS_MAX]; /* strides in elements, at least 0 */
} vise_torch_view;

typedef struct vise_torch_tensor {
    const char *name;
    vise_dtype dtype;
    uint64_t elements, bytes;
    uint64_t offset; /* of the first element, in the file */
    uint64_t span;   /* bytes from there to behind the last */
    bool apart;      /* the view is needed to read it; else its bytes begin at offset */
    vise_torch_view view;
} vise_torch_tensor;

/* In the arena that it was parsed into. */
typedef struct vise_torch {
    vise_torch_tensor *tensors; /* by offset */
    size_t n;
    const char *part;                 /* the member that was taken ("model"); NULL: everything */
    const char *left_out;             /* names of other members with values; NULL: none */
    char sha256[VISE_SHA256_HEX_MAX]; /* of all but the storages */
} vise_torch;

/* Failures are VISE_EFORMAT or VISE_EUNSUPPORTED (but want of memory) and say file, place and remedy. */
VISE_MUST_USE vise_status vise_torch_parse(const vise_st_input *input, vise_arena *arena, vise_torch *torch,
                                           vise_error *err);

/* Whether a and b are the same elements in the same order. */
bool vise_torch_same(const vise_torch_tensor *a, const vise_torch_tensor *b);

/* Bytes [offset, offset + n) of the elements in the order of the shape. */
VISE_MUST_USE vise_status vise_torch_view_read(const vise_torch_view *view, const vise_file *file,
                                               uint64_t offset, uint64_t n, void *bytes, vise_error *err);

#endif
