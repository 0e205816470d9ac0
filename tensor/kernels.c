#include "tensor/kernels.h"

#include "tensor/gguf_blocks.h"
#include "tensor/pack.h"

static const vise_tensor_kernels rows[VISE_CPU_LEVELS] = {
    [VISE_CPU_REF] =
        {
            .bf16_to_f32 = vise_bf16_to_f32_ref,
            .f16_to_f32 = vise_f16_to_f32_ref,
            .f32_to_bf16 = vise_f32_to_bf16_ref,
            .f32_to_f16 = vise_f32_to_f16_ref,
            .count_cast = vise_count_cast_ref,
            .count_nonfinite = vise_count_nonfinite_ref,
            .range = vise_range_ref,
            .encode = vise_encode_group_ref,
            .decode = vise_decode_group_ref,
            .grid_error = vise_grid_error_ref,
            .encode_packed = NULL,
            .pack = vise_pack_ref,
            .unpack = vise_unpack_ref,
            .mask_score = vise_mask_score_ref,
            .count_below = vise_count_below_ref,
            .mask_above = vise_mask_above_ref,
            .mask_pattern = vise_mask_pattern_row_ref,
            .mask_apply = vise_mask_apply_row_ref,
            .count_zeros = vise_count_zeros_ref,
            .planes_split = vise_planes_split_ref,
            .planes_merge = vise_planes_merge_ref,
            .count_nonzero_bytes = vise_count_nonzero_bytes_ref,
            .any_behind_zero = vise_any_behind_zero_ref,
            .compact = vise_compact_ref,
            .expand = vise_expand_ref,
            .gguf_fit_offsets = vise_gguf_fit_offsets_ref,
            .gguf_fit_signed = vise_gguf_fit_signed_ref,
            .gguf_levels = vise_gguf_levels_ref,
            .gguf_encode_q8_0 = vise_gguf_encode_q8_0_ref,
            .gguf_encode_q4_0 = vise_gguf_encode_q4_0_ref,
        },
    [VISE_CPU_AVX2] =
        {
            .bf16_to_f32 = vise_bf16_to_f32_avx2,
            .f16_to_f32 = vise_f16_to_f32_avx2,
            .f32_to_bf16 = vise_f32_to_bf16_avx2,
            .f32_to_f16 = vise_f32_to_f16_avx2,
            .count_cast = vise_count_cast_avx2,
            .count_nonfinite = vise_count_nonfinite_avx2,
            .range = vise_range_avx2,
            .encode = vise_encode_group_avx2,
            .decode = vise_decode_group_avx2,
            .grid_error = vise_grid_error_avx2,
            .encode_packed = vise_encode_packed_avx2,
            .pack = vise_pack_bmi2,
            .unpack = vise_unpack_bmi2,
            .mask_score = vise_mask_score_avx2,
            .count_below = vise_count_below_avx2,
            .mask_above = vise_mask_above_avx2,
            .mask_pattern = vise_mask_pattern_row_avx2,
            .mask_apply = vise_mask_apply_row_avx2,
            .count_zeros = vise_count_zeros_avx2,
            .planes_split = vise_planes_split_avx2,
            .planes_merge = vise_planes_merge_avx2,
            .count_nonzero_bytes = vise_count_nonzero_bytes_avx2,
            .any_behind_zero = vise_any_behind_zero_avx2,
            .compact = vise_compact_avx2,
            .expand = vise_expand_avx2,
            .gguf_fit_offsets = vise_gguf_fit_offsets_avx2,
            .gguf_fit_signed = vise_gguf_fit_signed_avx2,
            .gguf_levels = vise_gguf_levels_avx2,
            .gguf_encode_q8_0 = vise_gguf_encode_q8_0_avx2,
            .gguf_encode_q4_0 = vise_gguf_encode_q4_0_avx2,
        },
    [VISE_CPU_AVX512] =
        {
            .bf16_to_f32 = vise_bf16_to_f32_avx512,
            .f16_to_f32 = vise_f16_to_f32_avx512,
            .f32_to_bf16 = vise_f32_to_bf16_avx512,
            .f32_to_f16 = vise_f32_to_f16_avx512,
            .count_cast = vise_count_cast_avx512,
            .count_nonfinite = vise_count_nonfinite_avx512,
            .range = vise_range_avx512,
            .encode = vise_encode_group_avx512,
            .decode = vise_decode_group_avx512,
            .grid_error = vise_grid_error_avx512,
            .encode_packed = vise_encode_packed_avx512,
            .pack = vise_pack_bmi2,
            .unpack = vise_unpack_bmi2,
            .mask_score = vise_mask_score_avx512,
            .count_below = vise_count_below_avx512,
            .mask_above = vise_mask_above_avx512,
            .mask_pattern = vise_mask_pattern_row_avx512,
            .mask_apply = vise_mask_apply_row_avx512,
            .count_zeros = vise_count_zeros_avx512,
            .planes_split = vise_planes_split_avx512,
            .planes_merge = vise_planes_merge_avx512,
            .count_nonzero_bytes = vise_count_nonzero_bytes_avx512,
            .any_behind_zero = vise_any_behind_zero_avx512,
            .compact = vise_compact_avx512,
            .expand = vise_expand_avx512,
            .gguf_fit_offsets = vise_gguf_fit_offsets_avx512,
            .gguf_fit_signed = vise_gguf_fit_signed_avx512,
            .gguf_levels = vise_gguf_levels_avx512,
            .gguf_encode_q8_0 = vise_gguf_encode_q8_0_avx512,
            .gguf_encode_q4_0 = vise_gguf_encode_q4_0_avx512,
        },
};

const vise_tensor_kernels *vise_tensor_kernels_of(int level)
{
    return &rows[level];
}

const vise_tensor_kernels *vise_tensor_kernels_now(void)
{
    return &rows[vise_cpu()];
}
