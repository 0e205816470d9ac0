/* What the files of the layouts share. */
#ifndef VISE_FORMATS_LAYOUT_INTERNAL_H
#define VISE_FORMATS_LAYOUT_INTERNAL_H

#include <stdbool.h>

#include "formats/layout.h"

/* The object "quantization_config" of a source's config.json, or "compression_config" of older files; NULL:
 * none. */
const cJSON *vise_quantization_config(const vise_source *source);

/* ---- the rows: functions as vise_layout documents them ---------------------------------------- */

VISE_MUST_USE vise_status vise_plain_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX],
                                           int *n_parts, vise_error *err);
size_t vise_plain_store_scratch(const vise_spelling *weight, int64_t rows);
VISE_MUST_USE vise_status vise_plain_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q,
                                           void *scratch, const vise_part_writer *writer, vise_error *err);
VISE_MUST_USE vise_status vise_plain_config(const vise_spelling *weights, size_t n, vise_buf *buf,
                                            vise_error *err);
bool vise_plain_recognise(const vise_source *source);
VISE_MUST_USE vise_status vise_plain_find(const vise_source *source, vise_arena *arena, vise_found **found,
                                          size_t *n, vise_error *err);
VISE_MUST_USE vise_status vise_plain_load(const vise_source *source, const vise_found *found, int64_t row0,
                                          vise_qweight *q, vise_pool *pool, vise_error *err);

VISE_MUST_USE vise_status vise_ct_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX],
                                        int *n_parts, vise_error *err);
size_t vise_ct_store_scratch(const vise_spelling *weight, int64_t rows);
VISE_MUST_USE vise_status vise_ct_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q,
                                        void *scratch, const vise_part_writer *writer, vise_error *err);
VISE_MUST_USE vise_status vise_ct_config(const vise_spelling *weights, size_t n, vise_buf *buf,
                                         vise_error *err);
bool vise_ct_recognise(const vise_source *source);
VISE_MUST_USE vise_status vise_ct_find(const vise_source *source, vise_arena *arena, vise_found **found,
                                       size_t *n, vise_error *err);
VISE_MUST_USE vise_status vise_ct_load(const vise_source *source, const vise_found *found, int64_t row0,
                                       vise_qweight *q, vise_pool *pool, vise_error *err);

VISE_MUST_USE vise_status vise_gguf_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX],
                                          int *n_parts, vise_error *err);
size_t vise_gguf_store_scratch(const vise_spelling *weight, int64_t rows);
VISE_MUST_USE vise_status vise_gguf_store(const vise_spelling *weight, int64_t row0, const vise_qweight *q,
                                          void *scratch, const vise_part_writer *writer, vise_error *err);
VISE_MUST_USE vise_status vise_gguf_config(const vise_spelling *weights, size_t n, vise_buf *buf,
                                           vise_error *err);
bool vise_gguf_recognise(const vise_source *source);
VISE_MUST_USE vise_status vise_gguf_find_weights(const vise_source *source, vise_arena *arena,
                                                 vise_found **found, size_t *n, vise_error *err);
VISE_MUST_USE vise_status vise_gguf_load(const vise_source *source, const vise_found *found, int64_t row0,
                                         vise_qweight *q, vise_pool *pool, vise_error *err);

/* ---- compressed-tensors -----------------------------------------------------------------------------------
 *
 *   pack-quantized   weight-only integers of 2 to 8 bits
 *       M.weight_packed      I32 [N, ceil(K*b/32)]: per row a dense bit stream of u = q + 2^(b-1)
 *       M.weight_scale       float [N, G], [N, 1] or [1]
 *       M.weight_shape       I64 [2] = {N, K}
 *       M.weight_zero_point  asymmetric: I32 [ceil(N*b/32), G], bit streams of z down the columns;
 *                            per tensor I8 [1]
 *   int-quantized    8-bit weights with 8-bit activations per token
 *       M.weight             I8 [N, K] = q = u - 128
 *       M.weight_scale       as above
 *       M.weight_zero_point  asymmetric: I8 like the scale
 *
 * Files of before May 2026 hold 32/b codes in each word where b is 3, 5, 6 or 7, and are known by their word
 * counts. Source: vllm-project/compressed-tensors 0.19, compressors/pack_quantized and naive_quantized. */

/* Indexes of parts. */
enum { VISE_CT_PACKED = 0, VISE_CT_SCALE = 1, VISE_CT_SHAPE = 2, VISE_CT_ZERO = 3 };
enum { VISE_CT_WEIGHT = 0, VISE_CT_INT_ZERO = 2 }; /* int-quantized; its scale as above */

/* Words of n codes: dense, or 32/bits codes to a word. */
uint64_t vise_ct_words(uint64_t n, int bits, bool old);
/* True if a found pack-quantized weight has the old packing. */
bool vise_ct_is_old(const vise_source *source, const vise_found *found);

/* What a config says of the weights that a group covers. */
typedef struct vise_ct_group {
    const char *name;   /* "group_0" */
    vise_scheme scheme; /* with its activation */
} vise_ct_group;

typedef struct vise_ct_config_file vise_ct_config_file; /* the groups and their targets */
VISE_MUST_USE vise_status vise_ct_config_read(const char *path, const cJSON *config,
                                              vise_ct_config_file **out, vise_error *err);
void vise_ct_config_free(vise_ct_config_file *file);
/* The group whose targets match the module: by exact name, by regular expression, by class (every class is
 * taken for that of the module). A config of one group covers whatever is quantized. NULL: none. */
const vise_ct_group *vise_ct_config_match(const vise_ct_config_file *file, const char *module);

/* Python's regular expressions, as far as such files use them, in POSIX's extended form: classes \d \w \s,
 * (?:...), lazy quantifiers (which match the same names). False for what is none of that: lookaround, counted
 * repetition, back references, flags. */
bool vise_ct_translate(const char *python, vise_buf *posix);

#endif
