/* What families share in reading config.json. Limits are far above any model that exists and low enough that
 * products of three of them fit 64 bits. */
#ifndef VISE_MODEL_CONFIG_H
#define VISE_MODEL_CONFIG_H

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"
#include "model/arch.h"

#define VISE_CONFIG_HIDDEN_MAX    (1 << 20)
#define VISE_CONFIG_FFN_MAX       (1 << 22)
#define VISE_CONFIG_LAYERS_MAX    4096
#define VISE_CONFIG_HEADS_MAX     16384
#define VISE_CONFIG_HEAD_DIM_MAX  16384
#define VISE_CONFIG_VOCAB_MAX     (1 << 24)
#define VISE_CONFIG_POSITIONS_MAX INT32_MAX

/* A whole number of at least 1 and its place in vise_config. An absent key that is not required leaves the
 * place alone. */
typedef struct vise_config_key {
    const char *key;
    bool required;
    int64_t max;
    size_t offset; /* of an int64_t in vise_config */
} vise_config_key;

VISE_MUST_USE vise_status vise_config_ints(const char *path, const cJSON *json, const vise_config_key *keys,
                                           size_t n, vise_config *config, vise_error *err);

/* rope_theta from rope_parameters (transformers 5), rope_scaling, or the top level (4), in transformers'
 * order. Only the default kind is known: others are VISE_EUNSUPPORTED by name, and so is a rotary part of the
 * head. */
VISE_MUST_USE vise_status vise_config_rotary(const char *path, const cJSON *json, vise_config *config,
                                             vise_error *err);

/* hidden_act, when it is there, must be one of the names (NULL-terminated). */
VISE_MUST_USE vise_status vise_config_activation(const char *path, const cJSON *json,
                                                 const char *const *names, vise_error *err);

/* tie_word_embeddings, bos_token_id, and dtype or torch_dtype. bos_default is what a missing key means. */
VISE_MUST_USE vise_status vise_config_common(const char *path, const cJSON *json, int32_t bos_default,
                                             vise_config *config, vise_error *err);

#endif
