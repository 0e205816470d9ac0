/* Decoders with LayerNorm: GPT-2, GPT-Neo, GPT-NeoX, OPT, BLOOM, Falcon. */
#ifndef VISE_MODEL_ARCH_GPT_H
#define VISE_MODEL_ARCH_GPT_H

#include "model/arch.h"

#define VISE_GPT2_ROWS     11
#define VISE_GPT_NEO_ROWS  13
#define VISE_GPT_NEOX_ROWS 10
#define VISE_OPT_ROWS      15
#define VISE_BLOOM_ROWS    11
#define VISE_FALCON_ROWS   12

extern const vise_arch_row vise_gpt2_rows[VISE_GPT2_ROWS];
extern const vise_arch_row vise_gpt_neo_rows[VISE_GPT_NEO_ROWS];
extern const vise_arch_row vise_gpt_neox_rows[VISE_GPT_NEOX_ROWS];
extern const vise_arch_row vise_opt_rows[VISE_OPT_ROWS];
extern const vise_arch_row vise_bloom_rows[VISE_BLOOM_ROWS];
extern const vise_arch_row vise_falcon_rows[VISE_FALCON_ROWS];

/* As vise_arch's configure; config is zero but for its head. */
vise_status vise_gpt2_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_gpt_neo_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_gpt_neox_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_opt_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_bloom_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_falcon_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);

#endif
