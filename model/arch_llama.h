/* Llama: RMSNorm, rotary positions, grouped-query attention, SwiGLU (transformers' LlamaForCausalLM). */
#ifndef VISE_MODEL_ARCH_LLAMA_H
#define VISE_MODEL_ARCH_LLAMA_H

#include "model/arch.h"

#define VISE_LLAMA_ROWS 12
extern const vise_arch_row vise_llama_rows[VISE_LLAMA_ROWS];

/* As vise_arch's configure. */
VISE_MUST_USE vise_status vise_llama_configure(const char *path, const cJSON *json, vise_config *config,
                                               vise_error *err);

#endif
