/* The kernels of the tensor room, one row of functions per CPU level. Internal: other rooms call the public
 * headers.
 *
 * The row of VISE_CPU_REF is plain C and is the truth; every other row gives equal bits, and tests/unit
 * compares them. Nothing here calls a libm function whose bits could depend on the processor: only + - * /
 * and sqrtf, which IEEE 754 rounds correctly, and lrintf (to nearest, ties to even).
 */
#ifndef VISE_TENSOR_KERNELS_H
#define VISE_TENSOR_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/cpu.h"
#include "tensor/codec.h"
#include "tensor/dtype.h"
#include "tensor/grid.h"
#include "tensor/mask.h"
#include "tensor/planes.h"

#define VISE_TARGET_AVX2 __attribute__((target("avx2,fma,f16c,bmi,bmi2,popcnt")))
#define VISE_TARGET_AVX512                                                                                   \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi,bmi2,popcnt")))
#define VISE_INLINE static inline __attribute__((always_inline))

struct gguf_grid; /* gguf_blocks.h */

typedef struct vise_tensor_kernels {
    /* dtype: sources and targets may be unaligned */
    void (*bf16_to_f32)(const void *source, float *target, size_t n);
    void (*f16_to_f32)(const void *source, float *target, size_t n);
    void (*f32_to_bf16)(const float *source, void *target, size_t n);
    void (*f32_to_f16)(const float *source, void *target, size_t n);
    void (*count_cast)(const float *before, const float *after, size_t n, vise_cast_stats *stats);
    size_t (*count_nonfinite)(const float *values, size_t n);

    /* loss: n is a multiple of 16; value i adds to sums i % 16 */
    void (*loss_run)(const float *original, const float *values, size_t n, float error[16], float signal[16],
                     uint64_t *zeros);

    /* codec: one group of n values that share scale and zero point */
    void (*range)(const float *values, size_t n, float *min, float *max);
    void (*encode)(const float *values, size_t n, float scale, int zero, int max_code, uint8_t *codes);
    void (*decode)(const uint8_t *codes, size_t n, float scale, int zero, float *values);
    /* sum |decoded - value|^2.5 (times weights, if given), in 16 interleaved partial sums */
    float (*grid_error)(const float *values, const float *weights, size_t n, float scale, int zero,
                        int max_code);
    /* All of vise_encode_packed in registers; false (nothing done) where it has no path. May be NULL. */
    bool (*encode_packed)(vise_dtype dtype, const void *source, const vise_grid_rule *rule, vise_packed *out);

    /* codebook: the largest magnitude, of `largest` too; how many of 15 rising thresholds x * factor exceeds; values of
     * four-bit codes */
    float (*largest)(const float *values, size_t n, float largest);
    void (*count_thresholds)(const float *values, size_t n, float factor, const float thresholds[15], uint8_t *codes);
    void (*table_values)(const float table[16], const uint8_t *codes, size_t n, float scale, float *values);

    /* pack */
    void (*pack)(const uint8_t *codes, size_t n, int bits, uint32_t *words);
    void (*unpack)(const uint32_t *words, size_t n, int bits, uint8_t *codes);

    /* mask: one row; mask_above keeps what is above the threshold and, of what equals it, all but the first
     * `ties` */
    void (*mask_score)(const float *values, const float *norms, size_t n, float *score);
    size_t (*count_below)(const float *score, size_t n, float threshold);
    void (*mask_above)(const float *score, size_t n, float threshold, size_t ties, uint8_t *mask);
    void (*mask_pattern)(const float *score, size_t n, vise_pattern pattern, uint8_t *mask);
    void (*mask_apply)(const uint8_t *mask, size_t n, float *values);
    size_t (*count_zeros)(const float *values, size_t n);

    /* planes: split and merge never see VISE_PLANES_BYTES */
    void (*planes_split)(vise_plane_kind kind, const uint8_t *bytes, size_t n, uint8_t *const *planes);
    void (*planes_merge)(vise_plane_kind kind, const uint8_t *const *planes, size_t n, uint8_t *bytes);
    /* number of non-zero bytes */
    size_t (*count_nonzero_bytes)(const uint8_t *bytes, size_t n);
    /* true if some byte is non-zero where gate is zero */
    bool (*any_behind_zero)(const uint8_t *gate, const uint8_t *bytes, size_t n);
    void (*compact)(const uint8_t *gate, const uint8_t *bytes, size_t n, uint8_t *compacted);
    /* kept = count_nonzero_bytes(gate) */
    void (*expand)(const uint8_t *gate, const uint8_t *compacted, size_t kept, size_t n, uint8_t *bytes);

    /* gguf_blocks.h: blocks of GGUF. The searches take whole runs of n values (16 or 32, at most 16 runs). */
    void (*gguf_fit_offsets)(int n, int runs, const struct gguf_grid *grid, int weighing, const float *x,
                             const float *w, float *levels, float *scales, float *offsets);
    void (*gguf_fit_signed)(int n, int runs, int top, const float *x, const float *w, float *levels,
                            float *scales);
    void (*gguf_levels)(const float *x, int n, int runs, const float *scales, const float *offsets, float low,
                        float high, uint8_t *levels);
    void (*gguf_fit_entries)(int runs, const float *x, const float *w, float *scales);
    void (*gguf_entries)(const float *x, float inverse, uint8_t *q);
    void (*gguf_encode_q8_0)(const float *values, const float *importance, int64_t cols, void *blocks);
    void (*gguf_encode_q4_0)(const float *values, const float *importance, int64_t cols, void *blocks);
    void (*gguf_decode_q8_0)(const void *blocks, int64_t cols, float *values);
    void (*gguf_decode_q4_0)(const void *blocks, int64_t cols, float *values);
    void (*gguf_values)(const uint8_t *levels, int n, int runs, int half, const float *scales, const float *offsets,
                        float *values);
} vise_tensor_kernels;

/* The row of a level; of the current level. */
const vise_tensor_kernels *vise_tensor_kernels_of(int level);
const vise_tensor_kernels *vise_tensor_kernels_now(void);

/* Per file: dtype.c, dtype_simd.c */
void vise_bf16_to_f32_ref(const void *source, float *target, size_t n);
void vise_f16_to_f32_ref(const void *source, float *target, size_t n);
void vise_f32_to_bf16_ref(const float *source, void *target, size_t n);
void vise_f32_to_f16_ref(const float *source, void *target, size_t n);
void vise_count_cast_ref(const float *before, const float *after, size_t n, vise_cast_stats *stats);
size_t vise_count_nonfinite_ref(const float *values, size_t n);
void vise_bf16_to_f32_avx2(const void *source, float *target, size_t n);
void vise_f16_to_f32_avx2(const void *source, float *target, size_t n);
void vise_f32_to_bf16_avx2(const float *source, void *target, size_t n);
void vise_f32_to_f16_avx2(const float *source, void *target, size_t n);
void vise_count_cast_avx2(const float *before, const float *after, size_t n, vise_cast_stats *stats);
size_t vise_count_nonfinite_avx2(const float *values, size_t n);
void vise_bf16_to_f32_avx512(const void *source, float *target, size_t n);
void vise_f16_to_f32_avx512(const void *source, float *target, size_t n);
void vise_f32_to_bf16_avx512(const float *source, void *target, size_t n);
void vise_f32_to_f16_avx512(const float *source, void *target, size_t n);
void vise_count_cast_avx512(const float *before, const float *after, size_t n, vise_cast_stats *stats);
size_t vise_count_nonfinite_avx512(const float *values, size_t n);

/* loss.c, loss_simd.c */
void vise_loss_run_ref(const float *original, const float *values, size_t n, float error[16], float signal[16],
                       uint64_t *zeros);
void vise_loss_run_avx2(const float *original, const float *values, size_t n, float error[16], float signal[16],
                        uint64_t *zeros);
void vise_loss_run_avx512(const float *original, const float *values, size_t n, float error[16], float signal[16],
                          uint64_t *zeros);

/* codebook.c, codebook_simd.c */
float vise_largest_ref(const float *values, size_t n, float largest);
void vise_count_thresholds_ref(const float *values, size_t n, float factor, const float thresholds[15],
                                   uint8_t *codes);
void vise_table_values_ref(const float table[16], const uint8_t *codes, size_t n, float scale, float *values);
float vise_largest_avx2(const float *values, size_t n, float largest);
void vise_count_thresholds_avx2(const float *values, size_t n, float factor, const float thresholds[15],
                                    uint8_t *codes);
void vise_table_values_avx2(const float table[16], const uint8_t *codes, size_t n, float scale, float *values);
float vise_largest_avx512(const float *values, size_t n, float largest);
void vise_count_thresholds_avx512(const float *values, size_t n, float factor, const float thresholds[15],
                                      uint8_t *codes);
void vise_table_values_avx512(const float table[16], const uint8_t *codes, size_t n, float scale, float *values);

/* grid.c: the grid with the smallest error among shrunken ranges (VISE_CLIP_MSE, VISE_CLIP_SIGNED) */
#define VISE_CLIP_STEPS 80
void vise_grid_search(const vise_tensor_kernels *kernels, const vise_grid_rule *rule, const float *values,
                      vise_clip clip, const float *weights, size_t n, float min, float max, float *scale,
                      int *zero);

/* codec.c, codec_avx2.c, codec_avx512.c */
void vise_range_ref(const float *values, size_t n, float *min, float *max);
void vise_encode_group_ref(const float *values, size_t n, float scale, int zero, int max_code,
                           uint8_t *codes);
void vise_decode_group_ref(const uint8_t *codes, size_t n, float scale, int zero, float *values);
float vise_grid_error_ref(const float *values, const float *weights, size_t n, float scale, int zero,
                          int max_code);
void vise_range_avx2(const float *values, size_t n, float *min, float *max);
void vise_encode_group_avx2(const float *values, size_t n, float scale, int zero, int max_code,
                            uint8_t *codes);
void vise_decode_group_avx2(const uint8_t *codes, size_t n, float scale, int zero, float *values);
float vise_grid_error_avx2(const float *values, const float *weights, size_t n, float scale, int zero,
                           int max_code);
bool vise_encode_packed_avx2(vise_dtype dtype, const void *source, const vise_grid_rule *rule,
                             vise_packed *out);
void vise_range_avx512(const float *values, size_t n, float *min, float *max);
void vise_encode_group_avx512(const float *values, size_t n, float scale, int zero, int max_code,
                              uint8_t *codes);
void vise_decode_group_avx512(const uint8_t *codes, size_t n, float scale, int zero, float *values);
float vise_grid_error_avx512(const float *values, const float *weights, size_t n, float scale, int zero,
                             int max_code);
bool vise_encode_packed_avx512(vise_dtype dtype, const void *source, const vise_grid_rule *rule,
                               vise_packed *out);

/* pack_bmi2.c */
void vise_pack_bmi2(const uint8_t *codes, size_t n, int bits, uint32_t *words);
void vise_unpack_bmi2(const uint32_t *words, size_t n, int bits, uint8_t *codes);

/* mask.c, mask_simd.c */
void vise_mask_score_ref(const float *values, const float *norms, size_t n, float *score);
size_t vise_count_below_ref(const float *score, size_t n, float threshold);
void vise_mask_above_ref(const float *score, size_t n, float threshold, size_t ties, uint8_t *mask);
void vise_mask_pattern_row_ref(const float *score, size_t n, vise_pattern pattern, uint8_t *mask);
void vise_mask_apply_row_ref(const uint8_t *mask, size_t n, float *values);
size_t vise_count_zeros_ref(const float *values, size_t n);
void vise_mask_score_avx2(const float *values, const float *norms, size_t n, float *score);
size_t vise_count_below_avx2(const float *score, size_t n, float threshold);
void vise_mask_above_avx2(const float *score, size_t n, float threshold, size_t ties, uint8_t *mask);
void vise_mask_pattern_row_avx2(const float *score, size_t n, vise_pattern pattern, uint8_t *mask);
void vise_mask_apply_row_avx2(const uint8_t *mask, size_t n, float *values);
size_t vise_count_zeros_avx2(const float *values, size_t n);
void vise_mask_score_avx512(const float *values, const float *norms, size_t n, float *score);
size_t vise_count_below_avx512(const float *score, size_t n, float threshold);
void vise_mask_above_avx512(const float *score, size_t n, float threshold, size_t ties, uint8_t *mask);
void vise_mask_pattern_row_avx512(const float *score, size_t n, vise_pattern pattern, uint8_t *mask);
void vise_mask_apply_row_avx512(const uint8_t *mask, size_t n, float *values);
size_t vise_count_zeros_avx512(const float *values, size_t n);

/* planes.c, planes_simd.c */
size_t vise_count_nonzero_bytes_ref(const uint8_t *bytes, size_t n);
bool vise_any_behind_zero_ref(const uint8_t *gate, const uint8_t *bytes, size_t n);
void vise_compact_ref(const uint8_t *gate, const uint8_t *bytes, size_t n, uint8_t *compacted);
void vise_expand_ref(const uint8_t *gate, const uint8_t *compacted, size_t kept, size_t n, uint8_t *bytes);
void vise_planes_split_avx2(vise_plane_kind kind, const uint8_t *bytes, size_t n, uint8_t *const *planes);
void vise_planes_merge_avx2(vise_plane_kind kind, const uint8_t *const *planes, size_t n, uint8_t *bytes);
size_t vise_count_nonzero_bytes_avx2(const uint8_t *bytes, size_t n);
bool vise_any_behind_zero_avx2(const uint8_t *gate, const uint8_t *bytes, size_t n);
void vise_compact_avx2(const uint8_t *gate, const uint8_t *bytes, size_t n, uint8_t *compacted);
void vise_expand_avx2(const uint8_t *gate, const uint8_t *compacted, size_t kept, size_t n, uint8_t *bytes);
void vise_planes_split_avx512(vise_plane_kind kind, const uint8_t *bytes, size_t n, uint8_t *const *planes);
void vise_planes_merge_avx512(vise_plane_kind kind, const uint8_t *const *planes, size_t n, uint8_t *bytes);
size_t vise_count_nonzero_bytes_avx512(const uint8_t *bytes, size_t n);
bool vise_any_behind_zero_avx512(const uint8_t *gate, const uint8_t *bytes, size_t n);
void vise_compact_avx512(const uint8_t *gate, const uint8_t *bytes, size_t n, uint8_t *compacted);
void vise_expand_avx512(const uint8_t *gate, const uint8_t *compacted, size_t kept, size_t n, uint8_t *bytes);

#endif
