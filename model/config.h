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
#define VISE_CONFIG_HEADS_MAX     16384
#define VISE_CONFIG_HEAD_DIM_MAX  16384
#define VISE_CONFIG_VOCAB_MAX     (1 << 24)
#define VISE_CONFIG_POSITIONS_MAX INT32_MAX
#define VISE_CONFIG_EXPERTS_MAX   4096
#define VISE_CONFIG_LABELS_MAX    (1 << 20)

/* A whole number of at least 1 and its place in vise_config. An absent key leaves the place alone, which a family that
 * has a default for what is required has filled. */
typedef struct vise_config_key {
    const char *key;
    bool required;
    int64_t max;
    size_t offset; /* of an int64_t in vise_config */
} vise_config_key;

VISE_MUST_USE vise_status vise_config_ints(const char *path, const cJSON *json, const vise_config_key *keys,
                                           size_t n, vise_config *config, vise_error *err);

/* kv_heads and head_dim where they are 0 (as many as heads; hidden / heads), and whether the numbers of heads agree. */
VISE_MUST_USE vise_status vise_config_heads(const char *path, vise_config *config, vise_error *err);

/* Rotary positions from rope_parameters (transformers 5), rope_scaling, or the top level (4), in transformers'
 * order, into config->rope; with parameters per layer type, full_attention's, and sliding_attention's into
 * config->local_rope. head_dim must be known. Kinds without a rule are VISE_EUNSUPPORTED by name. */
VISE_MUST_USE vise_status vise_config_rotary(const char *path, const cJSON *json, vise_config *config,
                                             vise_error *err);

/* The activation named by `key`, or `standard` where the key is absent. */
VISE_MUST_USE vise_status vise_config_activation(const char *path, const cJSON *json, const char *key,
                                                 vise_nonlinearity standard, vise_nonlinearity *activation,
                                                 vise_error *err);

/* sliding_window into config->window (absent: `standard`, 0 for none; null or 0: none). */
VISE_MUST_USE vise_status vise_config_window(const char *path, const cJSON *json, int64_t standard,
                                             vise_config *config, vise_error *err);
/* Marks the layers that layer_types says to slide; *found is false, and nothing is marked, when there is no list. */
VISE_MUST_USE vise_status vise_config_layer_types(const char *path, const cJSON *json, vise_config *config,
                                                  bool *found, vise_error *err);
void vise_config_mark(vise_config *config, int64_t from, int64_t to, uint8_t flag);

/* True if the key is there and not null. */
bool vise_config_has(const cJSON *json, const char *key);
/* VISE_EUNSUPPORTED when the flag `key` (absent: `standard`) is not `wanted`. */
VISE_MUST_USE vise_status vise_config_must_be(const char *path, const cJSON *json, const char *key, bool standard,
                                              bool wanted, vise_error *err);
/* tie_word_embeddings and pad_token_id (absent: config->tied and ->pad stay), bos_token_id, dtype or torch_dtype, and
 * of a classifier the number of labels: num_labels, else entries of id2label, else 2. bos_default is what a missing
 * key means. */
VISE_MUST_USE vise_status vise_config_common(const char *path, const cJSON *json, int32_t bos_default,
                                             vise_config *config, vise_error *err);

/* Of a configuration around the one of the text: what holds for both, and is told there. */
VISE_MUST_USE vise_status vise_config_around(const char *path, const cJSON *json, vise_config *config,
                                             vise_error *err);

#endif
