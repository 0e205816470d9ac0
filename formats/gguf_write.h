/* Writing the head of a GGUF file: values of the metadata one by one, then the table of tensors. */
#ifndef VISE_FORMATS_GGUF_WRITE_H
#define VISE_FORMATS_GGUF_WRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "formats/gguf.h"

#define VISE_GGUF_ALIGNMENT 32

/* Values in their stored form. A failed append sticks to the buffer, as vise_buf says. */
typedef struct vise_gguf_values {
    vise_buf bytes;
    uint64_t count;
} vise_gguf_values;

void vise_gguf_values_init(vise_gguf_values *values);
void vise_gguf_values_deinit(vise_gguf_values *values);

void vise_gguf_put_u32(vise_gguf_values *values, const char *key, uint32_t value);
void vise_gguf_put_i32(vise_gguf_values *values, const char *key, int32_t value);
void vise_gguf_put_f32(vise_gguf_values *values, const char *key, float value);
void vise_gguf_put_bool(vise_gguf_values *values, const char *key, bool value);
void vise_gguf_put_text(vise_gguf_values *values, const char *key, const char *text);
/* An array of count elements; those of fixed size are given at once, texts follow one by one. */
void vise_gguf_put_array(vise_gguf_values *values, const char *key, vise_gguf_kind kind, uint64_t count,
                         const void *elements);
void vise_gguf_add_text(vise_gguf_values *values, const char *bytes, size_t length);
/* A value as it was read. */
void vise_gguf_put_value(vise_gguf_values *values, const vise_gguf_value *value);

/* A file among several: number from 0, how many, tensors of all. */
typedef struct vise_gguf_split {
    int number, count;
    size_t tensors;
} vise_gguf_split;

/* Appends everything before the data. The tensors' offsets count from the data and are multiples of the
 * alignment. Of several files the first has the values and each says which it is. */
VISE_MUST_USE vise_status vise_gguf_write_header(const vise_gguf_values *values, const vise_gguf_split *split,
                                                 const vise_gguf_tensor *tensors, size_t n, vise_buf *buf,
                                                 vise_error *err);

#endif
