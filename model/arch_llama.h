/* Llama and the families that grew from it: RMSNorm, rotary positions, grouped-query attention, gated MLPs, and the
 * same with experts (arch_experts.c). */
#ifndef VISE_MODEL_ARCH_LLAMA_H
#define VISE_MODEL_ARCH_LLAMA_H

#include "model/arch.h"

#define VISE_LLAMA_ROWS     13
#define VISE_QWEN2_ROWS     13
#define VISE_QWEN3_ROWS     15
#define VISE_PHI3_ROWS      10
#define VISE_GEMMA2_ROWS    15
#define VISE_GEMMA3_ROWS    17
#define VISE_MIXTRAL_ROWS   14
#define VISE_QWEN2_MOE_ROWS 21
#define VISE_QWEN3_MOE_ROWS 19

extern const vise_arch_row vise_llama_rows[VISE_LLAMA_ROWS]; /* also Mistral's, SmolLM3's and Gemma's */
extern const vise_arch_row vise_qwen2_rows[VISE_QWEN2_ROWS];
extern const vise_arch_row vise_qwen3_rows[VISE_QWEN3_ROWS];
extern const vise_arch_row vise_phi3_rows[VISE_PHI3_ROWS];
extern const vise_arch_row vise_gemma2_rows[VISE_GEMMA2_ROWS];
extern const vise_arch_row vise_gemma3_rows[VISE_GEMMA3_ROWS];
extern const vise_arch_row vise_mixtral_rows[VISE_MIXTRAL_ROWS];
extern const vise_arch_row vise_qwen2_moe_rows[VISE_QWEN2_MOE_ROWS];
extern const vise_arch_row vise_qwen3_moe_rows[VISE_QWEN3_MOE_ROWS];

#define VISE_MIXTRAL_FUSED 3
#define VISE_QWEN_FUSED    2
extern const vise_arch_fused vise_mixtral_fused[VISE_MIXTRAL_FUSED];
extern const vise_arch_fused vise_qwen_fused[VISE_QWEN_FUSED]; /* of Qwen2-MoE and Qwen3-MoE */

/* As vise_arch's configure; config is zero but for its head. */
vise_status vise_llama_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_mistral_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_smollm3_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_gemma_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_qwen2_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_qwen2_vl_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_qwen3_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_phi3_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_gemma2_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_gemma3_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_gemma3_images_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_mixtral_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_qwen2_moe_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_qwen3_moe_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);

/* What these families share: sizes, heads, RMSNorm's eps, activation, rotary positions, and vise_config_common. What a
 * family has by default is in config already. */
vise_status vise_llama_like(const char *path, const cJSON *json, int32_t bos_default, vise_config *config,
                            vise_error *err);
/* sliding_window where use_sliding_window says so. */
vise_status vise_qwen_window(const char *path, const cJSON *json, vise_config *config, vise_error *err);

#endif
