/* A GGUF file, or several shards of one, as a source. Families that are known here are shown as
 * transformers would have them: names, order of rows, config.json; others as they are, without a
 * configuration. */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "formats/gguf.h"
#include "formats/gguf_names.h"
#include "formats/source_internal.h"

#define SHARDS_MAX 65535
#define KEY_BYTES  96

/* What tensors need to know of the whole. */
typedef struct whole {
    const vise_gguf_family *family; /* NULL: unknown */
    const char *architecture;
    int64_t heads, kv_heads;
} whole;

static const char *key_of(const whole *w, const char *rest, char key[KEY_BYTES])
{
    snprintf(key, KEY_BYTES, "%.48s.%s", w->architecture, rest);
    return key;
}

/* ---- config.json --------------------------------------------------------------------------------------- */

typedef struct config_key {
    const char *gguf, *hf;
    bool required;
    int64_t max;
} config_key;

static const config_key int_keys[] = {
    {"embedding_length", "hidden_size", true, INT_MAX},
    {"feed_forward_length", "intermediate_size", true, INT_MAX},
    {"block_count", "num_hidden_layers", true, 512},
    {"attention.head_count", "num_attention_heads", true, 1 << 20},
    {"attention.head_count_kv", "num_key_value_heads", false, 1 << 20},
    {"attention.key_length", "head_dim", false, 1 << 20},
    {"context_length", "max_position_embeddings", true, INT_MAX},
};

/* Everything that would change the network and has no place in what is written here. */
static const char *const refused_keys[] = {"rope.scaling.factor", "expert_count", "attention.sliding_window",
                                           "attention.clamp_kqv"};

static bool has_tensor(const vise_gguf *gguf, const char *name)
{
    for (size_t i = 0; i < gguf->n_tensors; i++)
        if (strcmp(gguf->tensors[i].name, name) == 0)
            return true;
    return false;
}

static vise_status put_ints(const vise_gguf *gguf, const whole *w, vise_json_writer *json, vise_error *err)
{
    char key[KEY_BYTES];
    for (size_t i = 0; i < sizeof int_keys / sizeof *int_keys; i++) {
        const config_key *row = &int_keys[i];
        int64_t number = 0;
        VISE_TRY(
            vise_gguf_get_int(gguf, key_of(w, row->gguf, key), row->required, 1, row->max, &number, err));
        if (number == 0)
            continue;
        vise_json_key(json, row->hf);
        vise_json_put_int(json, number);
    }
    return VISE_OK;
}

static vise_status put_token(const vise_gguf *gguf, const char *gguf_key, const char *hf,
                             vise_json_writer *json, vise_error *err)
{
    int64_t id = -1;
    VISE_TRY(vise_gguf_get_int(gguf, gguf_key, false, 0, INT_MAX, &id, err));
    if (id >= 0) {
        vise_json_key(json, hf);
        vise_json_put_int(json, id);
    }
    return VISE_OK;
}

/* A float32 as the number that people wrote. */
static void put_float(vise_json_writer *json, const char *key, float value)
{
    char text[32];
    const bool whole_number = value >= 1.0f && value < 1e9f && value == (float)(int)value;
    if (whole_number)
        snprintf(text, sizeof text, "%.1f", (double)value);
    for (int digits = 1; !whole_number && digits <= 9; digits++) {
        float back;
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (sscanf(text, "%f", &back) == 1 && back == value)
            break;
    }
    vise_json_key(json, key);
    vise_json_put_raw(json, text);
}

static vise_status check_known(const vise_source *source, const vise_gguf *gguf, const whole *w,
                               vise_error *err)
{
    char key[KEY_BYTES];
    const char *scaling = "none";
    for (size_t i = 0; i < sizeof refused_keys / sizeof *refused_keys; i++)
        if (vise_gguf_find(gguf, key_of(w, refused_keys[i], key)) != NULL)
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: models with \"%s\" are not supported as input",
                             source->path, key);
    VISE_TRY(vise_gguf_get_text(gguf, key_of(w, "rope.scaling.type", key), false, &scaling, err));
    if (strcmp(scaling, "none") != 0 || has_tensor(gguf, "rope_freqs.weight"))
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: scaled rotary positions are not supported as input",
                         source->path);
    return VISE_OK;
}

static vise_status write_config(const vise_source *source, const vise_gguf *gguf, const whole *w,
                                vise_buf *text, vise_error *err)
{
    char key[KEY_BYTES];
    vise_json_writer json;
    float eps = 0.0f, theta = 10000.0f;
    VISE_TRY(vise_gguf_get_float(gguf, key_of(w, "attention.layer_norm_rms_epsilon", key), true, &eps, err));
    VISE_TRY(vise_gguf_get_float(gguf, key_of(w, "rope.freq_base", key), false, &theta, err));
    VISE_TRY(check_known(source, gguf, w, err));
    vise_json_begin(&json, text, 2);
    vise_json_object(&json);
    vise_json_key(&json, "architectures");
    vise_json_array(&json);
    vise_json_put_text(&json, w->family->class_name);
    vise_json_array_end(&json);
    vise_json_key(&json, "model_type");
    vise_json_put_text(&json, w->family->model_type);
    VISE_TRY(put_ints(gguf, w, &json, err));
    for (size_t i = 0; i < gguf->n_tensors; i++)
        if (strcmp(gguf->tensors[i].name, "token_embd.weight") == 0 && gguf->tensors[i].ndim == 2) {
            vise_json_key(&json, "vocab_size");
            vise_json_put_int(&json, gguf->tensors[i].dims[1]);
            const vise_dtype dtype = gguf->tensors[i].type->dtype;
            vise_json_key(&json, "torch_dtype");
            vise_json_put_text(&json,
                               vise_dtype_of(dtype < VISE_DTYPE_COUNT ? dtype : VISE_DTYPE_F16)->torch_name);
        }
    put_float(&json, "rms_norm_eps", eps);
    put_float(&json, "rope_theta", theta);
    vise_json_key(&json, "hidden_act");
    vise_json_put_text(&json, "silu");
    vise_json_key(&json, "tie_word_embeddings");
    vise_json_put_bool(&json, !has_tensor(gguf, "output.weight"));
    vise_json_key(&json, "attention_bias");
    vise_json_put_bool(&json, has_tensor(gguf, "blk.0.attn_q.bias"));
    VISE_TRY(put_token(gguf, "tokenizer.ggml.bos_token_id", "bos_token_id", &json, err));
    VISE_TRY(put_token(gguf, "tokenizer.ggml.eos_token_id", "eos_token_id", &json, err));
    vise_json_object_end(&json);
    vise_buf_add_char(text, '\n');
    return vise_buf_check(text, "config.json", err);
}

static vise_status make_config(vise_source *source, const vise_gguf *gguf, const whole *w, vise_error *err)
{
    vise_buf text;
    vise_buf_init(&text, 1 << 16);
    source->config_path = source->path;
    vise_status status = write_config(source, gguf, w, &text, err);
    if (status == VISE_OK)
        status = vise_json_parse(source->path, text.data, text.length, &source->config, err);
    if (status == VISE_OK)
        status = vise_strdup(text.data, &source->config_text, err);
    vise_buf_deinit(&text);
    return status;
}

/* ---- tensors ------------------------------------------------------------------------------------------- */

static vise_status add_tensor(vise_source *source, const vise_gguf_tensor *tensor, const whole *w,
                              vise_error *err)
{
    VISE_TRY(vise_source_grow(source, err));
    const bool plain = tensor->type->dtype != VISE_DTYPE_COUNT;
    vise_tensor_info info = {
        .name = tensor->name,
        .dtype = plain ? tensor->type->dtype : VISE_DTYPE_U8,
        .ndim = tensor->ndim,
        .elements = plain ? tensor->elements : tensor->bytes,
        .bytes = tensor->bytes,
        .stored_bytes = tensor->bytes,
        .file = (int)source->n_shards - 1,
        .offset = tensor->offset,
        .blocks = plain ? NULL : tensor->type,
    };
    for (int i = 0; i < tensor->ndim; i++)
        info.shape[i] = tensor->dims[tensor->ndim - 1 - i];
    if (!plain)
        info.shape[tensor->ndim - 1] = (int64_t)vise_gguf_row_bytes(tensor->type, tensor->dims[0]);
    char name[VISE_GGUF_MODULE_MAX];
    const vise_gguf_module *module = w->family ? vise_gguf_name_to_hf(w->family, tensor->name, name) : NULL;
    if (module != NULL) {
        VISE_TRY(vise_arena_strdup(source->arena, name, strlen(name), &info.name, err));
        info.order.heads = module->rows == VISE_GGUF_ROWS_Q    ? w->heads
                           : module->rows == VISE_GGUF_ROWS_KV ? w->kv_heads
                                                               : 0;
    }
    if (info.order.heads > 0 && info.shape[0] % vise_gguf_order_unit(&info.order) != 0)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: tensor \"%s\" has %" PRId64 " rows, no pairs in each of %" PRId64 " heads",
                         source->path, tensor->name, info.shape[0], info.order.heads);
    source->tensors[source->n_tensors++] = info;
    return VISE_OK;
}

/* ---- shards -------------------------------------------------------------------------------------------- */

static vise_status add_file(vise_source *source, const char *path, vise_gguf *gguf, vise_error *err)
{
    vise_shard *shard;
    VISE_TRY(vise_source_new_shard(source, vise_path_base(path), path, &shard, err));
    vise_st_input input = vise_st_input_file(&shard->handle);
    VISE_TRY(vise_gguf_parse(&input, source->arena, gguf, err));
    memcpy(shard->view.header_sha256, gguf->sha256, sizeof shard->view.header_sha256);
    return VISE_OK;
}

static vise_status add_tensors(vise_source *source, const vise_gguf *gguf, const whole *w, vise_error *err)
{
    for (size_t i = 0; i < gguf->n_tensors; i++)
        VISE_TRY(add_tensor(source, &gguf->tensors[i], w, err));
    return VISE_OK;
}

/* How the name of the first of count shards ends. */
#define ENDING_BYTES 32
static size_t ending_of(int64_t count, char ending[ENDING_BYTES])
{
    return (size_t)snprintf(ending, ENDING_BYTES, "-00001-of-%05d.gguf", (int)count);
}

static vise_status check_first(const vise_gguf *gguf, int64_t count, vise_error *err)
{
    char ending[ENDING_BYTES];
    const size_t n = ending_of(count, ending), length = strlen(gguf->path);
    int64_t number = -1;
    VISE_TRY(vise_gguf_get_int(gguf, "split.no", true, 0, SHARDS_MAX, &number, err));
    if (number == 0 && length > n && strcmp(gguf->path + length - n, ending) == 0)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUSAGE,
                     "%s: is shard %" PRId64 " of %" PRId64 "; give the first, whose name ends in %s",
                     gguf->path, number + 1, count, ending);
}

/* The shards behind the first, named "...-00002-of-00003.gguf" and so on. */
static vise_status add_shards(vise_source *source, const vise_gguf *first, const whole *w, int64_t count,
                              vise_error *err)
{
    char ending[ENDING_BYTES];
    const size_t stem = strlen(first->path) - ending_of(count, ending);
    int64_t number = -1, total = -1;
    VISE_TRY(vise_gguf_get_int(first, "split.tensors.count", false, 0, INT_MAX, &total, err));
    for (int64_t i = 1; i < count; i++) {
        const char *path;
        vise_gguf shard;
        VISE_TRY(vise_arena_strfmt(source->arena, &path, err, "%.*s-%05d-of-%05d.gguf", (int)stem,
                                   first->path, (int)i + 1, (int)count));
        VISE_TRY(add_file(source, path, &shard, err));
        int64_t shards = 0;
        VISE_TRY(vise_gguf_get_int(&shard, "split.no", true, 0, SHARDS_MAX, &number, err));
        VISE_TRY(vise_gguf_get_int(&shard, "split.count", true, 0, SHARDS_MAX, &shards, err));
        if (number != i || shards != count)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: says that it is shard %" PRId64 " of %" PRId64, path,
                             number + 1, shards);
        VISE_TRY(add_tensors(source, &shard, w, err));
    }
    if (total >= 0 && (uint64_t)total != source->n_tensors)
        return VISE_FAIL(err, VISE_EFORMAT,
                         "%s: the shards hold %zu tensors, not %" PRId64
                         " as they say; one is of another model",
                         first->path, source->n_tensors, total);
    return VISE_OK;
}

vise_status vise_source_open_gguf(vise_source *source, const char *path, vise_error *err)
{
    void *block;
    char key[KEY_BYTES];
    const char *kind = "model";
    whole w = {0};
    int64_t shards = 1;
    VISE_TRY(vise_arena_take(source->arena, sizeof(vise_gguf), &block, err));
    vise_gguf *gguf = block;
    VISE_TRY(vise_arena_strdup(source->arena, path, strlen(path), &path, err));
    VISE_TRY(add_file(source, path, gguf, err));
    source->gguf = gguf;
    VISE_TRY(vise_gguf_get_text(gguf, "general.type", false, &kind, err));
    if (strcmp(kind, "imatrix") == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "%s: is an importance matrix, not a model; give it to --imatrix",
                         source->path);
    VISE_TRY(vise_gguf_get_int(gguf, "split.count", false, 0, SHARDS_MAX, &shards, err));
    if (shards > 1)
        VISE_TRY(check_first(gguf, shards, err));
    VISE_TRY(vise_gguf_get_text(gguf, "general.architecture", true, &w.architecture, err));
    w.family = vise_gguf_family_of(w.architecture);
    if (w.family != NULL) {
        VISE_TRY(vise_gguf_get_int(gguf, key_of(&w, "attention.head_count", key), true, 1, 1 << 20, &w.heads,
                                   err));
        w.kv_heads = w.heads;
        VISE_TRY(vise_gguf_get_int(gguf, key_of(&w, "attention.head_count_kv", key), false, 1, 1 << 20,
                                   &w.kv_heads, err));
        if (source->config == NULL)
            VISE_TRY(make_config(source, gguf, &w, err));
    }
    VISE_TRY(add_tensors(source, gguf, &w, err));
    return shards > 1 ? add_shards(source, gguf, &w, shards, err) : VISE_OK;
}
