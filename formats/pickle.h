/* A pickle read as data. Nothing is imported, built or called: what a pickle would call is compared with a list of the
 * few globals that torch.save writes, and stands for a value of ours. Any other global, and any opcode that torch does
 * not write, is an error that names it.
 *
 *   opcodes   PROTO 2 to 5, FRAME, STOP; MARK, BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET; NONE, NEWTRUE,
 *             NEWFALSE, BININT, BININT1, BININT2, LONG1, LONG4, BINFLOAT; texts, bytes and bytearrays of every size;
 *             tuples, lists, dicts, sets and what fills them; GLOBAL, STACK_GLOBAL, REDUCE, BUILD, BINPERSID
 *   globals   vise_pickle_globals (formats/pickle_torch.c)
 *
 * One pass from left to right; no opcode jumps or recurses, so that the number of steps is bounded by the bytes. Every
 * value costs 16 bytes, at most 2^22 of them; a value that is mentioned often is one value, and texts stay where they
 * are: a pickle that would unfold into billions of values does not.
 *
 * Source: CPython's pickletools.py; torch/serialization.py and torch/_utils.py of torch 2.13.
 */
#ifndef VISE_FORMATS_PICKLE_H
#define VISE_FORMATS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "tensor/dtype.h"

#define VISE_PICKLE_BYTES_MAX  ((size_t)64 << 20)
#define VISE_PICKLE_VALUES_MAX ((size_t)1 << 22)
#define VISE_PICKLE_NONE       UINT32_MAX /* no value, no entry */

typedef enum vise_pickle_kind {
    VISE_PICKLE_NULL,
    VISE_PICKLE_BOOL,
    VISE_PICKLE_INT,
    VISE_PICKLE_LONG, /* an integer of more than 64 bits: n bytes */
    VISE_PICKLE_FLOAT,
    VISE_PICKLE_TEXT,
    VISE_PICKLE_BYTES,
    VISE_PICKLE_TUPLE,
    VISE_PICKLE_LIST, /* and set */
    VISE_PICKLE_DICT, /* and OrderedDict */
    VISE_PICKLE_GLOBAL,
    VISE_PICKLE_STORAGE,
    VISE_PICKLE_TENSOR,
    VISE_PICKLE_OTHER /* a value that nobody here needs: a device */
} vise_pickle_kind;

typedef struct vise_pickle_value {
    uint8_t kind;
    uint32_t n; /* bytes of texts, items of tuples; index of a global, storage or tensor */
    union {
        int64_t number;
        double real;
        size_t at;        /* of a text in the pickle, of a tuple's first item in items */
        uint32_t ends[2]; /* first and last entry of a list or dict */
    };
} vise_pickle_value;

typedef struct vise_pickle_entry {
    uint32_t key, value, next; /* key: VISE_PICKLE_NONE in lists */
} vise_pickle_entry;

typedef enum vise_pickle_role {
    VISE_PICKLE_ORDERED_DICT,
    VISE_PICKLE_SET,
    VISE_PICKLE_SIZE,
    VISE_PICKLE_DEVICE,
    VISE_PICKLE_ENCODE,
    VISE_PICKLE_CLASS, /* only named: torch.Tensor */
    VISE_PICKLE_DTYPE,
    VISE_PICKLE_STORAGE_CLASS, /* of elements of a dtype */
    VISE_PICKLE_UNTYPED,       /* of bytes */
    VISE_PICKLE_TENSOR_V1,
    VISE_PICKLE_TENSOR_V2,
    VISE_PICKLE_TENSOR_V3,
    VISE_PICKLE_PARAMETER,
    VISE_PICKLE_PARAMETER_STATE,
    VISE_PICKLE_FROM_TYPE
} vise_pickle_role;

/* A row of the list of globals. dtype is VISE_DTYPE_COUNT where safetensors has none; bytes is the element's. */
typedef struct vise_pickle_global {
    const char *module, *name;
    vise_pickle_role role;
    vise_dtype dtype;
    uint32_t bytes;
} vise_pickle_global;

typedef struct vise_pickle_storage {
    const vise_pickle_global *type;
    uint32_t key;           /* a text */
    uint64_t count;         /* elements of the type, bytes of an untyped one */
    uint64_t first, extent; /* the part that is meant: in old files a storage may be a window into another */
} vise_pickle_storage;

typedef struct vise_pickle_tensor {
    const vise_pickle_global *type; /* that has dtype and bytes */
    uint32_t storage;               /* index */
    uint32_t shape, strides;        /* tuples of integers that are not negative; in elements */
    int64_t offset;                 /* of the first element in the storage, not negative */
} vise_pickle_tensor;

typedef struct vise_pickle {
    const char *path; /* opens every error */
    const uint8_t *bytes;
    size_t length;
    size_t at;     /* the next byte; behind STOP when run */
    bool ran_out;  /* the bytes ended before STOP */
    uint32_t root; /* the value */
    vise_pickle_value *values;
    size_t n_values, values_capacity;
    uint32_t *items;
    size_t n_items, items_capacity;
    vise_pickle_entry *entries;
    size_t n_entries, entries_capacity;
    vise_pickle_storage *storages;
    size_t n_storages, storages_capacity;
    vise_pickle_tensor *tensors;
    size_t n_tensors, tensors_capacity;
    uint32_t *stack, *marks, *memo;
    size_t n_stack, stack_capacity, n_marks, marks_capacity, n_memo, memo_capacity;
} vise_pickle;

/* Reads one pickle from bytes, which may go on behind it and must live as long as *pickle. Failures are VISE_EFORMAT,
 * VISE_EUNSUPPORTED for opcodes and globals that are not on the lists; *pickle is to be freed in any case. */
VISE_MUST_USE vise_status vise_pickle_read(const char *path, const void *bytes, size_t length,
                                           vise_pickle *pickle, vise_error *err);
void vise_pickle_deinit(vise_pickle *pickle); /* a zeroed one is fine */

static inline const vise_pickle_value *vise_pickle_at(const vise_pickle *pickle, uint32_t value)
{
    return &pickle->values[value];
}
static inline bool vise_pickle_is(const vise_pickle *pickle, uint32_t value, vise_pickle_kind kind)
{
    return pickle->values[value].kind == kind;
}
/* The n-th item of a tuple. */
static inline uint32_t vise_pickle_item(const vise_pickle *pickle, uint32_t tuple, size_t n)
{
    return pickle->items[pickle->values[tuple].at + n];
}
bool vise_pickle_is_text(const vise_pickle *pickle, uint32_t value, const char *text);
/* Of a dict; VISE_PICKLE_NONE: no such key. */
uint32_t vise_pickle_get(const vise_pickle *pickle, uint32_t dict, const char *key);

#endif
