/* What GGUF metadata are made of and formats/ cannot know: the network's numbers, rotary factors, what the tokenizer
 * does with a text. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/buf.h"
#include "core/event.h"
#include "core/file.h"
#include "core/hash.h"
#include "pipeline/plan_gguf.h"
#include "text/protobuf.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#define FILE_MAX ((size_t)256 << 20)

/* ---- the network --------------------------------------------------------------------------------------- */

static int64_t int_of(const cJSON *object, const char *key, int64_t otherwise)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    const bool fits = cJSON_IsNumber(item) && item->valuedouble >= 0.0 && item->valuedouble <= (double)INT32_MAX;
    return fits ? (int64_t)item->valuedouble : otherwise;
}

static const cJSON *rope_of(const cJSON *config)
{
    const cJSON *rope = cJSON_GetObjectItemCaseSensitive(config, "rope_parameters");
    return cJSON_IsObject(rope) ? rope : cJSON_GetObjectItemCaseSensitive(config, "rope_scaling");
}

/* The contexts that converters write where the configuration has no such thing, or says it in its own way. */
static int64_t context_of(const vise_model *model, const cJSON *json)
{
    const vise_config *config = &model->config;
    if (strcmp(model->model_type, "gpt2") == 0)
        return int_of(json, "n_ctx", config->max_positions);
    if (strcmp(model->model_type, "bloom") == 0)
        return int_of(json, "seq_length", config->hidden);
    if (strcmp(model->model_type, "falcon") == 0)
        return 2048;
    return config->max_positions;
}

/* Gemma 3 with images does not cap, but the key is told all the same. */
static double logit_cap_of(const vise_model *model, const cJSON *json)
{
    const cJSON *said = cJSON_GetObjectItemCaseSensitive(json, "final_logit_softcapping");
    return strcmp(model->model_type, "gemma3") == 0 && cJSON_IsNumber(said) ? said->valuedouble
                                                                          : model->config.logit_cap;
}

void vise_plan_gguf_network(const vise_model *model, vise_gguf_network *network)
{
    enum { PHI3_CONTEXT = 4096 };
    const vise_config *config = &model->config;
    const cJSON *json = vise_gguf_text_config(vise_store_source(model->store));
    const int64_t width = config->rotary > 0 ? config->rotary : config->head_dim;
    const int64_t said = int_of(json, "original_max_position_embeddings", PHI3_CONTEXT);
    *network = (vise_gguf_network){
        .layers = config->layers,
        .context = context_of(model, json),
        .hidden = config->hidden,
        .ffn = config->ffn,
        .heads = config->heads,
        .kv_heads = config->kv_heads,
        .head_dim = config->head_dim,
        .vocab = config->vocab,
        .rotary = width,
        .experts = config->experts,
        .experts_used = config->experts_per_token,
        .expert_ffn = config->expert_ffn,
        .shared_ffn = config->shared_ffn,
        .window = config->window,
        .original_context = int_of(rope_of(json), "original_max_position_embeddings", said),
        .eps = config->norm_eps,
        .theta = config->position == VISE_POSITION_ROTARY ? config->rope.theta : 0.0,
        .local_theta = strncmp(model->model_type, "gemma3", 6) == 0 ? config->local_rope.theta : 0.0,
        .attention_cap = config->attention_cap,
        .logit_cap = logit_cap_of(model, json),
        .parallel = config->residual == VISE_RESIDUAL_PARALLEL,
    };
}

/* ---- rotary factors ------------------------------------------------------------------------------------ */

/* By how much each frequency is divided, in float32 as the converter reckons: torch divides a number by a tensor as
 * the number times its reciprocal. */
static void llama3_factors(const vise_config *config, float *factors)
{
    const vise_rope *rope = &config->rope;
    const float factor = (float)rope->factor, low = (float)rope->low, original = (float)rope->original;
    const float span = (float)(rope->high - rope->low);
    const double longest = (double)rope->original / rope->low, shortest = (double)rope->original / rope->high;
    for (int64_t i = 0; i < config->head_dim / 2; i++) {
        const float frequency =
            1.0f / (float)pow((double)(float)rope->theta, (double)((float)(2 * i) / (float)config->head_dim));
        const float wave = 1.0f / frequency * (float)(2.0 * 3.14159265358979323846);
        const float smooth = (1.0f / wave * original - low) / span;
        factors[i] = (double)wave < shortest  ? 1.0f
                     : (double)wave > longest ? factor
                                              : 1.0f / ((1.0f - smooth) / factor + smooth);
    }
}

static vise_status list_factors(const char *path, const cJSON *list, int64_t n, float *factors, vise_error *err)
{
    const cJSON *item = cJSON_IsArray(list) ? list->child : NULL;
    int64_t count = 0;
    for (; item != NULL && cJSON_IsNumber(item); item = item->next, count++)
        if (count < n)
            factors[count] = (float)item->valuedouble;
    if (item != NULL || count != n)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: long_factor and short_factor must be lists of %lld numbers", path,
                         (long long)n);
    return VISE_OK;
}

vise_status vise_plan_gguf_extras(const vise_model *model, const vise_gguf_family *family, vise_arena *arena,
                                  vise_gguf_extra extras[VISE_GGUF_EXTRAS], vise_gguf_network *network,
                                  vise_error *err)
{
    const vise_config *config = &model->config;
    const char *path = vise_source_config_path(vise_store_source(model->store));
    const int64_t n = network->rotary / 2;
    void *first, *second;
    memset(extras, 0, VISE_GGUF_EXTRAS * sizeof *extras);
    const bool llama3 = family->rope_freqs && config->rope.kind == VISE_ROPE_LLAMA3;
    const bool longrope = family->rope_factors && config->rope.kind == VISE_ROPE_LONGROPE;
    if (!llama3 && !longrope)
        return VISE_OK;
    VISE_TRY(vise_arena_take(arena, ((size_t)n + 1) * sizeof(float), &first, err));
    VISE_TRY(vise_arena_take(arena, ((size_t)n + 1) * sizeof(float), &second, err));
    if (llama3) {
        llama3_factors(config, first);
        extras[0] = (vise_gguf_extra){"rope_freqs.weight", first, n};
        return VISE_OK;
    }
    VISE_TRY(list_factors(path, config->rope.long_factor, n, first, err));
    VISE_TRY(list_factors(path, config->rope.short_factor, n, second, err));
    extras[0] = (vise_gguf_extra){"rope_factors_long.weight", first, n};
    extras[1] = (vise_gguf_extra){"rope_factors_short.weight", second, n};
    const double scale = (double)network->context / (double)network->original_context;
    network->attention_factor =
        scale > 1.0 ? sqrt(1.0 + log(scale) / log((double)network->original_context)) : 1.0;
    return VISE_OK;
}

/* ---- the tokenizer ------------------------------------------------------------------------------------- */

static bool read_piece(const vise_protobuf_field *message, vise_gguf_piece *piece)
{
    vise_protobuf fields = vise_protobuf_of(message->bytes, message->length);
    vise_protobuf_field field;
    *piece = (vise_gguf_piece){.text = "", .type = 1};
    while (vise_protobuf_next(&fields, &field)) {
        if (field.number == 1 && field.wire == 2) {
            piece->text = field.bytes;
            piece->length = field.length;
        } else if (field.number == 2 && field.wire == 5) {
            piece->score = vise_protobuf_float(&field);
        } else if (field.number == 3 && field.wire == 0) {
            piece->type = field.value >= 1 && field.value <= 6 ? (int32_t)field.value : 0;
        }
    }
    return !fields.broken && piece->type > 0 && isfinite(piece->score) &&
           vise_utf8_valid(piece->text, piece->length, NULL) == piece->length;
}

/* Which kind of model it is, and what its normalizer does. */
static void read_specs(const vise_protobuf_field *message, vise_gguf_tokenizer *tokenizer)
{
    enum { TRAINER = 2 };
    vise_protobuf fields = vise_protobuf_of(message->bytes, message->length);
    vise_protobuf_field field;
    while (vise_protobuf_next(&fields, &field)) {
        if (message->number == TRAINER) {
            if (field.number == 3 && field.wire == 0)
                tokenizer->unigram = field.value == 1;
        } else if (field.number == 2 && field.wire == 2) {
            tokenizer->charsmap = field.bytes;
            tokenizer->charsmap_bytes = field.length;
        } else if (field.number == 3 && field.wire == 0) {
            tokenizer->space_prefix = field.value != 0;
        } else if (field.number == 4 && field.wire == 0) {
            tokenizer->one_space = field.value != 0;
        }
    }
}

static vise_status read_pieces(const char *path, vise_arena *arena, vise_gguf_tokenizer *tokenizer, vise_error *err)
{
    char *bytes;
    size_t length, n = 0;
    void *block;
    vise_protobuf_field field;
    VISE_TRY(vise_file_read_all(path, FILE_MAX, &bytes, &length, err));
    vise_status status = vise_arena_take(arena, length + 1, &block, err);
    if (status == VISE_OK)
        memcpy(block, bytes, length);
    vise_free(bytes);
    VISE_TRY(status);
    bytes = block;
    for (vise_protobuf fields = vise_protobuf_of(bytes, length); vise_protobuf_next(&fields, &field);)
        n += field.number == 1 && field.wire == 2;
    VISE_TRY(vise_arena_take(arena, (n + 1) * sizeof(vise_gguf_piece), &block, err));
    vise_gguf_piece *pieces = block;
    tokenizer->unigram = tokenizer->space_prefix = tokenizer->one_space = true; /* unless they say otherwise */
    vise_protobuf fields = vise_protobuf_of(bytes, length);
    for (size_t i = 0; vise_protobuf_next(&fields, &field);) {
        if ((field.number == 2 || field.number == 3) && field.wire == 2)
            read_specs(&field, tokenizer);
        if (field.number != 1 || field.wire != 2)
            continue;
        if (!read_piece(&field, &pieces[i++]))
            return VISE_FAIL(err, VISE_EFORMAT, "%s: piece %zu has no valid text, score or type", path, i - 1);
    }
    if (fields.broken || n == 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: not a sentencepiece model (the protocol buffer is broken)", path);
    tokenizer->pieces = pieces;
    tokenizer->n_pieces = n;
    return VISE_OK;
}

/* A tokenizer that is not held here is no reason to stop: its files are copied into the metadata all the same. */
static vise_status hash_ids(const vise_source *source, vise_arena *arena, vise_gguf_tokenizer *facts, vise_error *err)
{
    vise_tokenizer *tokenizer;
    vise_encoding encoding = {0};
    vise_error ignored = {0};
    vise_sha256 hash;
    char text[24], hex[VISE_SHA256_HEX_MAX];
    if (vise_tokenizer_open(vise_source_path(source), &tokenizer, &ignored) != VISE_OK)
        return VISE_OK;
    vise_status status = vise_tokenize_pair(tokenizer, vise_gguf_pre_text, NULL, 0, &encoding, err);
    vise_sha256_init(&hash);
    for (size_t i = 0; status == VISE_OK && i < encoding.ids.count; i++) {
        const int n = snprintf(text, sizeof text, "%s%d", i > 0 ? ", " : "[", (int)encoding.ids.ids[i]);
        vise_sha256_add(&hash, text, (size_t)n);
    }
    vise_sha256_add(&hash, "]", 1);
    vise_sha256_hex(&hash, hex);
    if (status == VISE_OK)
        status = vise_arena_strdup(arena, hex, strlen(hex), &facts->ids_sha256, err);
    vise_encoding_deinit(&encoding);
    vise_tokenizer_close(tokenizer);
    return status;
}

vise_status vise_plan_gguf_tokenizer(const vise_source *source, const vise_gguf_family *family, vise_arena *arena,
                                     vise_gguf_tokenizer *tokenizer, vise_error *err)
{
    const char *name = family->vocab == VISE_GGUF_VOCAB_UNIGRAM ? "sentencepiece.bpe.model" : "tokenizer.model";
    char *path;
    *tokenizer = (vise_gguf_tokenizer){0};
    if (!vise_source_is_folder(source) || vise_source_gguf(source) != NULL)
        return VISE_OK;
    VISE_TRY(vise_path_join(vise_source_path(source), name, &path, err));
    vise_status status = vise_path_exists(path) ? read_pieces(path, arena, tokenizer, err) : VISE_OK;
    vise_free(path);
    VISE_TRY(status);
    return hash_ids(source, arena, tokenizer, err);
}
