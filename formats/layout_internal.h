/* What the files of the layouts share. */
#ifndef VISE_FORMATS_LAYOUT_INTERNAL_H
#define VISE_FORMATS_LAYOUT_INTERNAL_H

#include <stdbool.h>

#include "core/json.h"
#include "formats/layout.h"
#include "tensor/activation_type.h"

/* The object "quantization_config" of a source's config.json, or "compression_config" of older files; NULL:
 * none. */
const cJSON *vise_quantization_config(const vise_source *source);

/* ---- the rows of the table, and functions of rows that another file holds, as vise_layout documents them ---- */

extern const vise_layout vise_layout_plain;
extern const vise_layout vise_layout_ct;
extern const vise_layout vise_layout_gguf;
extern const vise_layout vise_layout_bnb;
extern const vise_layout vise_layout_fp8;
extern const vise_layout vise_layout_gptq;
extern const vise_layout vise_layout_gptq_v2;
extern const vise_layout vise_layout_awq;

VISE_MUST_USE vise_status vise_plain_spell(const vise_spelling *weight, vise_part parts[VISE_PARTS_MAX],
                                           int *n_parts, vise_error *err);
VISE_MUST_USE vise_status vise_ct_config(const vise_spelling *weights, size_t n, vise_buf *buf,
                                         vise_error *err);
bool vise_ct_recognise(const vise_source *source);
VISE_MUST_USE vise_status vise_ct_find(const vise_source *source, vise_arena *arena, vise_found **found,
                                       size_t *n, vise_error *err);
VISE_MUST_USE vise_status vise_ct_load(const vise_source *source, const vise_found *found, int64_t row0,
                                       vise_qweight *q, vise_pool *pool, vise_error *err);
VISE_MUST_USE vise_status vise_gptq_find(const vise_source *source, vise_arena *arena, vise_found **found,
                                         size_t *n, vise_error *err);
VISE_MUST_USE vise_status vise_gptq_v1_config(const vise_spelling *weights, size_t n, vise_buf *buf,
                                              vise_error *err);
bool vise_gptq_v1_recognise(const vise_source *source);
VISE_MUST_USE vise_status vise_gptq_v2_config(const vise_spelling *weights, size_t n, vise_buf *buf,
                                              vise_error *err);
bool vise_gptq_v2_recognise(const vise_source *source);
VISE_MUST_USE vise_status vise_bnb_config(const vise_spelling *weights, size_t n, vise_buf *buf,
                                          vise_error *err);
bool vise_bnb_recognise(const vise_source *source);
VISE_MUST_USE vise_status vise_bnb_find(const vise_source *source, vise_arena *arena, vise_found **found,
                                        size_t *n, vise_error *err);

/* ---- what they share ------------------------------------------------------------------------------------------- */

/* The dtype of the scales of a weight. */
static inline vise_dtype vise_scales_dtype(const vise_spelling *weight)
{
    return weight->scale_dtype != VISE_DTYPE_BOOL ? weight->scale_dtype : weight->dtype;
}
/* VISE_EINTERNAL unless rows [row0, row0 + q->rows) are a tile of the weight. */
VISE_MUST_USE vise_status vise_check_tile(const char *module, int64_t weight_rows, int64_t weight_cols,
                                          int64_t row0, const vise_qweight *q, vise_error *err);
/* VISE_EUSAGE unless the weight's rows divide into the groups of its scheme. */
VISE_MUST_USE vise_status vise_check_groups(const vise_spelling *weight, vise_error *err);
/* Bytes of a part from its dtype and shape. */
VISE_MUST_USE vise_status vise_part_finish(const char *module, vise_part *part, vise_error *err);

/* A tile's share of a part whose columns are out features: `rows` pieces of row_bytes, the first at `offset`, each
 * `stride` behind the one before. In memory they lie side by side. */
typedef struct vise_columns {
    size_t rows, row_bytes;
    uint64_t stride, offset;
} vise_columns;
VISE_MUST_USE vise_status vise_columns_write(const vise_part_writer *writer, int part, const vise_columns *at,
                                             const void *bytes, vise_error *err);
VISE_MUST_USE vise_status vise_columns_read(const vise_source *source, size_t tensor, const vise_columns *at,
                                            void *bytes, vise_pool *pool, vise_error *err);

/* Scales [groups, rows]. A scale that float16 does not hold is VISE_EUNSUPPORTED; scratch takes 2 bytes for each. */
VISE_MUST_USE vise_status vise_scales_store_f16(const vise_spelling *weight, int part, int64_t row0,
                                                const vise_qweight *q, void *scratch,
                                                const vise_part_writer *writer, vise_error *err);
/* In the dtype that was found. */
VISE_MUST_USE vise_status vise_scales_load_f16(const vise_source *source, const vise_found *found, int part,
                                               int64_t row0, vise_qweight *q, vise_pool *pool,
                                               vise_error *err);

/* Scales of VISE_PER_BLOCK as float [blocks of rows, groups]: those of the blocks that begin in the tile, and those of
 * each of its rows. U8 is read as E8M0. scratch takes a row of them. */
VISE_MUST_USE vise_status vise_block_scales_store(vise_dtype dtype, int part, int64_t row0, const vise_qweight *q,
                                                  void *scratch, const vise_part_writer *writer, vise_error *err);
VISE_MUST_USE vise_status vise_block_scales_load(const vise_source *source, size_t tensor, int64_t row0,
                                                 vise_qweight *q, vise_pool *pool, vise_error *err);

#define VISE_MODULE_TEXT 512
/* What transformers 5 calls a module of a text model among others, "model.language_model.X", whose tensors are stored
 * as "language_model.model.X" or "model.X": configurations may tell it by either name. Empty for other names. */
void vise_module_among_others(const char *module, char name[VISE_MODULE_TEXT]);

/* A linear that stays as it is, on a list of such: GPT-NeoX's head is stored as embed_out, and called lm_head since
 * version 5 of transformers, so that the list has both. */
void vise_put_left_alone(vise_json_writer *w, const char *module);
/* The list of linears that stay floats, for loaders that leave a module alone whose name begins or ends with an entry;
 * VISE_EUNSUPPORTED where that cannot tell them apart. */
VISE_MUST_USE vise_status vise_put_skipped(vise_json_writer *w, const char *key, const vise_spelling *weights, size_t n,
                                           vise_error *err);

/* A complaint about a tensor of a module: VISE_EFORMAT. */
VISE_MUST_USE vise_status vise_found_bad(const vise_source *source, const char *module, const char *suffix,
                                         const char *what, vise_error *err);
/* The index of module + suffix; SIZE_MAX, or an error if it is required, when there is none. */
VISE_MUST_USE vise_status vise_found_part(const vise_source *source, vise_arena *arena, const char *module,
                                          const char *suffix, bool required, size_t *index, vise_error *err);
/* Granularity of a weight with so many groups in a row; a single one is a group if the config's group_size says so. */
VISE_MUST_USE vise_status vise_found_groups(const vise_source *source, int64_t groups, vise_found *found,
                                            vise_error *err);
/* found->group_of from a part I32 [columns]; NULL where groups are runs of columns. */
VISE_MUST_USE vise_status vise_found_g_idx(const vise_source *source, vise_arena *arena, vise_found *found, int part,
                                           const char *suffix, int64_t groups, vise_error *err);
typedef struct vise_found_list {
    vise_found *rows;
    size_t n, capacity;
} vise_found_list;
VISE_MUST_USE vise_status vise_found_add(vise_found_list *list, const vise_found *found, vise_error *err);
/* Moves the list into the arena if the search went well (status), frees it, and passes status on. */
VISE_MUST_USE vise_status vise_found_take(vise_found_list *list, vise_status status, vise_arena *arena,
                                          vise_found **found, size_t *n, vise_error *err);
/* "int4" of 4; NULL: none. */
const vise_weight_type *vise_int_type(int64_t bits);
const vise_weight_type *vise_codebook_type(const vise_codebook *codebook);
/* The float dtype that config.json gives to the model; `otherwise` where it says none. */
vise_dtype vise_config_dtype(const vise_source *source, vise_dtype otherwise);
/* The member's text; "" when it is none. */
const char *vise_config_text(const cJSON *config, const char *key);
/* True if a config names the method, or is auto-round's and packs as that method's tools do. */
bool vise_config_is_method(const cJSON *config, const char *method);

/* ---- gptq ------------------------------------------------------------------------------------------------------
 *
 *   M.qweight   I32 [K*b/32, N]    column n: a dense bit stream of the codes u of row n; b = 2, 3, 4, 8
 *   M.qzeros    I32 [G, N*b/32]    row g: a bit stream over n of z (gptq-v2) or z - 1 (gptq, version 1)
 *   M.scales    F16 [G, N]
 *   M.g_idx     I32 [K]            the group of each column: k / group, or any (desc_act)
 *
 * value = scale * (u - z); symmetric weights have z = 2^(b-1). Version 1 has no place for z = 0: tools that write it
 * borrow from the next field, and kernels disagree on what they read. Source: ModelCloud/GPTQModel,
 * nn_modules/qlinear and utils/model.py. */
enum { VISE_GPTQ_WEIGHT, VISE_GPTQ_ZERO, VISE_GPTQ_SCALE, VISE_GPTQ_G_IDX };
enum { VISE_GPTQ_V1, VISE_GPTQ_V2 }; /* vise_found.variant */

/* ---- awq -------------------------------------------------------------------------------------------------------
 *
 *   M.qweight   I32 [K, N/8]   row k: words of eight out features, nibble i that of feature 0 2 4 6 1 3 5 7 [i]
 *   M.qzeros    I32 [G, N/8]   the same of the zero points
 *   M.scales    F16 [G, N]
 *
 * 4 bits; symmetric weights are stored with zero points of 8. Source: casper-hansen/AutoAWQ, modules/linear/gemm.py
 * and utils/packing_utils.py. */
enum { VISE_AWQ_WEIGHT, VISE_AWQ_ZERO, VISE_AWQ_SCALE };

/* ---- bitsandbytes ----------------------------------------------------------------------------------------------
 *
 *   4 bits, blocks of B weights of the flattened matrix (n of them, k blocks)
 *       M.weight                                    U8 [(n+1)/2, 1]: two codes a byte, the first in the high half
 *       M.weight.absmax                             F32 [k]; doubly quantized: U8 [k]
 *       M.weight.quant_map                          F32 [16]: the codebook
 *       M.weight.quant_state.bitsandbytes__nf4      U8: JSON, __fp4 for fp4; spaces behind it fill the room
 *       M.weight.nested_absmax                      doubly quantized: F32 [ceil(k/256)]
 *       M.weight.nested_quant_map                   doubly quantized: F32 [256]
 *   LLM.int8
 *       M.weight                                    I8 [N, K]
 *       M.SCB                                       F32 [N]: the largest magnitude of a row
 *       M.weight_format                             U8 []: 0, row-major
 *
 * Source: bitsandbytes 0.50, functional.py (QuantState) and nn/modules.py. The keys of the JSON are those and no more:
 * it asserts that. */
enum { VISE_BNB_WEIGHT, VISE_BNB_SCALE, VISE_BNB_MAP, VISE_BNB_STATE, VISE_BNB_NESTED, VISE_BNB_NESTED_MAP };
enum { VISE_BNB_FORMAT = 2 }; /* of LLM.int8 */

/* ---- fp8 -------------------------------------------------------------------------------------------------------
 *
 *   M.weight             F8_E4M3 [N, K]
 *   M.weight_scale_inv   F32 [ceil(N/rows), ceil(K/columns)], what codes are multiplied by (despite its name);
 *                        per tensor F32 []; read in other floats and as E8M0 in U8, too
 *   M.activation_scale   inputs with a calibrated scale: F32 []
 *
 * Source: transformers 5.23, integrations/finegrained_fp8.py. */
enum { VISE_FP8_WEIGHT, VISE_FP8_SCALE, VISE_FP8_INPUT };

/* ---- compressed-tensors -----------------------------------------------------------------------------------
 *
 *   pack-quantized   weight-only integers of 2 to 8 bits
 *       M.weight_packed      I32 [N, ceil(K*b/32)]: per row a dense bit stream of u = q + 2^(b-1)
 *       M.weight_scale       float [N, G], [N, 1] or [1]
 *       M.weight_shape       I64 [2] = {N, K}
 *       M.weight_zero_point  asymmetric: I32 [ceil(N*b/32), G], bit streams of z down the columns;
 *                            per tensor I8 [1]
 *       M.weight_g_idx       older files, read alone: I32 [K], the group of each column (actorder "group")
 *   int-quantized    integers with integer activations
 *       M.weight             I8 [N, K] = q = u - 2^(b-1)
 *       M.weight_scale       as above
 *       M.weight_zero_point  asymmetric: I8 like the scale
 *   float-quantized  fp8-e4m3 with activations; naive-quantized: without; mxfp8-quantized
 *       M.weight             F8_E4M3 [N, K]
 *       M.weight_scale       as above, or of blocks [ceil(N/rows), ceil(K/columns)]; mxfp8: U8 [N, K/32], E8M0
 *   mxfp4-pack-quantized, nvfp4-pack-quantized
 *       M.weight_packed      U8 [N, K/2]: two codes a byte, the first in the low half
 *       M.weight_scale       U8 [N, K/32], E8M0; nvfp4: F8_E4M3 [N, K/16]
 *       M.weight_global_scale  nvfp4: F32 [1], what the scales are divided by
 *   activations with a calibrated scale, in each form
 *       M.input_scale        float [1]; nvfp4: M.input_global_scale F32 [1]
 *
 * Files of before May 2026 hold 32/b codes in each word where b is 3, 5, 6 or 7, and are known by their word
 * counts. Source: vllm-project/compressed-tensors 0.19, compressors/pack_quantized and naive_quantized. */

/* Indexes of parts. */
enum { VISE_CT_PACKED = 0, VISE_CT_SCALE = 1, VISE_CT_SHAPE = 2, VISE_CT_ZERO = 3 };
enum { VISE_CT_WEIGHT = 0, VISE_CT_INT_ZERO = 2, VISE_CT_GLOBAL = 2 }; /* of the other forms */
enum { VISE_CT_G_IDX = 4, VISE_CT_INPUT = 5 }; /* of what is found; an input's scale is written behind all others */

typedef enum vise_ct_form {
    VISE_CT_PACKED_INTEGERS,
    VISE_CT_INTEGERS,
    VISE_CT_FLOAT8,
    VISE_CT_FLOAT4
} vise_ct_form;
vise_ct_form vise_ct_form_of(const vise_scheme *scheme);

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

/* What a "kv_cache_scheme" says; NULL: something that the writer does not say. */
const vise_cache_type *vise_ct_cache_type(const char *path, const cJSON *scheme);

/* Python's regular expressions, as far as such files use them, in POSIX's extended form: classes \d \w \s,
 * (?:...), lazy quantifiers (which match the same names). False for what is none of that: lookaround, counted
 * repetition, back references, flags. */
bool vise_ct_translate(const char *python, vise_buf *posix);

#endif
