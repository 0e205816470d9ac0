/* How the key-value cache of a model is quantized when it runs: eight bits with scales that calibration found, of keys
 * and of values, stored beside the linears of attention. One row per kind.
 *
 *   NAME-tensor   one scale
 *   NAME-head     one scale for each key-value head
 *
 * Scales and codes are those of inputs with a static scale (tensor/activation_type.h). Source: compressed-tensors 0.19,
 * modeling/kvcache.py and "kv_cache_scheme".
 */
#ifndef VISE_TENSOR_CACHE_TYPE_H
#define VISE_TENSOR_CACHE_TYPE_H

#include <stdbool.h>
#include <stddef.h>

#include "tensor/activation_type.h"

typedef struct vise_cache_type {
    const char *name;
    const char *values; /* of what shares a scale: the name of an activation type */
    bool by_head;
} vise_cache_type;

const vise_cache_type *vise_cache_types(size_t *count);
const vise_cache_type *vise_cache_type_find(const char *name); /* NULL: none, also for NULL */
/* Never NULL for a row of the table. */
const vise_activation_type *vise_cache_values(const vise_cache_type *type);

#endif
