/* Encoders: BERT, RoBERTa, DistilBERT. */
#ifndef VISE_MODEL_ARCH_BERT_H
#define VISE_MODEL_ARCH_BERT_H

#include "model/arch.h"

#define VISE_BERT_ROWS       18
#define VISE_ROBERTA_ROWS    18
#define VISE_DISTILBERT_ROWS 16

extern const vise_arch_row vise_bert_rows[VISE_BERT_ROWS];
extern const vise_arch_row vise_roberta_rows[VISE_ROBERTA_ROWS];
extern const vise_arch_row vise_distilbert_rows[VISE_DISTILBERT_ROWS];

/* As vise_arch's configure; config is zero but for its head. */
vise_status vise_bert_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_roberta_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);
vise_status vise_distilbert_configure(const char *path, const cJSON *json, vise_config *config, vise_error *err);

#endif
