/* vise inspect: what a model is made of, and what this program knows. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "compute/backend.h"
#include "core/cpu.h"
#include "core/file.h"
#include "core/json.h"
#include "model/model.h"
#include "pipeline/memory_table.h"
#include "tensor/activation_type.h"

#define TEXT_BYTES_MAX ((size_t)256 << 20)

/* ---- grouping --------------------------------------------------------------------------------------- */

/* Tensors that look alike: one line. */
typedef struct kind {
    const vise_bound *first;
    const char *pattern; /* the name with numbers as '*' */
    size_t tensors;
    uint64_t parameters, bytes;
} kind;

/* Runs of digits between dots become '*': the glob that selects all of them. */
static vise_status pattern_of(const char *name, vise_arena *arena, const char **out, vise_error *err)
{
    size_t length = strlen(name), used = 0;
    void *memory;
    char *text;

    VISE_TRY(vise_arena_take(arena, length + 1, &memory, err));
    text = memory;
    for (size_t i = 0; i < length;) {
        size_t digits = strspn(name + i, "0123456789");
        bool starts = i == 0 || name[i - 1] == '.', ends = name[i + digits] == '.' || !name[i + digits];

        if (digits > 0 && starts && ends) {
            text[used++] = '*';
            i += digits;
        } else {
            text[used++] = name[i++];
        }
    }
    *out = text;
    return VISE_OK;
}

static bool same_kind(const kind *a, const char *pattern, const vise_bound *bound)
{
    const vise_logical *x = a->first->tensor, *y = bound->tensor;

    return x->dtype == y->dtype && x->rows == y->rows && x->cols == y->cols && x->ndim == y->ndim &&
           vise_scheme_equal(&x->scheme, &y->scheme) && strcmp(a->pattern, pattern) == 0;
}

static vise_status gather_kinds(const vise_model *model, vise_arena *arena, kind **out, size_t *count,
                                vise_error *err)
{
    size_t bytes, n = 0;
    void *memory;
    kind *kinds;

    if (!vise_mul_size(model->count + 1, sizeof *kinds, &bytes))
        return VISE_FAIL(err, VISE_ERESOURCE, "too many tensors");
    VISE_TRY(vise_arena_take(arena, bytes, &memory, err));
    kinds = memory;
    for (size_t i = 0; i < model->count; i++) {
        const vise_bound *bound = &model->bound[i];
        const char *pattern;
        size_t at = 0;

        VISE_TRY(pattern_of(bound->tensor->name, arena, &pattern, err));
        while (at < n && !same_kind(&kinds[at], pattern, bound))
            at++;
        if (at == n)
            kinds[n++] = (kind){.first = bound, .pattern = pattern};
        kinds[at].tensors++;
        kinds[at].parameters += bound->tensor->elements;
        kinds[at].bytes += bound->tensor->stored_bytes;
    }
    *out = kinds;
    *count = n;
    return VISE_OK;
}

/* "int4-g32", or the dtype of a plain tensor: "bf16". */
static const char *stored_as(const vise_logical *tensor, char text[VISE_SCHEME_TEXT_MAX])
{
    const vise_dtype_traits *traits = vise_dtype_of(tensor->dtype);

    if (tensor->scheme.type)
        return vise_scheme_text(&tensor->scheme, text);
    return traits->cli_name ? traits->cli_name : traits->name;
}

static const char *role_of(const vise_bound *bound)
{
    return bound->role == VISE_ROLE_UNKNOWN ? "other" : vise_role_name(bound->role);
}

static uint64_t file_bytes(const vise_source *source)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < vise_source_files(source); i++)
        bytes += vise_source_file_at(source, i)->bytes;
    return bytes;
}

static uint64_t parameters_of(const vise_model *model)
{
    uint64_t parameters = 0;

    for (size_t i = 0; i < model->count; i++)
        parameters += model->bound[i].tensor->elements;
    return parameters;
}

/* ---- as text ---------------------------------------------------------------------------------------- */

/* "260 k" */
static const char *count_text(uint64_t count, char text[32])
{
    static const char *const units[] = {"", " k", " M", " B", " T"};
    double value = (double)count;
    size_t unit = 0;

    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000.0;
        unit++;
    }
    snprintf(text, 32, "%.*f%s",
             unit == 0 || value >= 99.95 ? 0
             : value >= 9.995            ? 1
                                         : 2,
             value, units[unit]);
    return text;
}

static void put_facts(const vise_model *model, const char *path, vise_buf *out)
{
    const vise_source *source = vise_store_source(model->store);
    const vise_config *config = &model->config;
    char parameters[32], size[VISE_SIZE_TEXT_MAX];

    vise_buf_addf(out, "%s: %s, %s parameters, %s\n", path,
                  model->model_type ? model->model_type : "unknown family",
                  count_text(parameters_of(model), parameters), vise_format_size(file_bytes(source), size));
    const vise_cache_type *cache = vise_layout_cache(source);
    vise_buf_addf(out, "  %zu tensors in %zu %sfile%s, layout %s%s%s%s\n", model->count, vise_source_files(source),
                  strcmp(vise_source_format(source), "torch") == 0 ? "torch " : "",
                  vise_source_files(source) == 1 ? "" : "s", vise_store_layout(model->store)->name,
                  vise_source_is_packed(source) ? ", packed" : "", cache ? ", key-value cache " : "",
                  cache ? cache->name : "");
    if (!model->arch) {
        vise_buf_add_text(
            out, "  no architecture table: passes that need weights alone work, calibration does not\n");
        return;
    }
    vise_buf_addf(
        out,
        "  hidden %lld, layers %lld, heads %lld (%lld for keys and values), ffn %lld, vocabulary %lld, "
        "positions %lld%s\n",
        (long long)config->hidden, (long long)config->layers, (long long)config->heads,
        (long long)config->kv_heads, (long long)config->ffn, (long long)config->vocab,
        (long long)config->max_positions, model->tied ? ", tied head" : "");
}

/* Bytes by dtype or scheme. */
static void put_stored(const kind *kinds, size_t count, vise_buf *out)
{
    vise_buf_addf(out, "\n%-20s %8s %12s %10s\n", "stored as", "tensors", "parameters", "bytes");
    for (size_t i = 0; i < count; i++) {
        char text[VISE_SCHEME_TEXT_MAX], other[VISE_SCHEME_TEXT_MAX], parameters[32],
            size[VISE_SIZE_TEXT_MAX];
        const char *name = stored_as(kinds[i].first->tensor, text);
        kind sum = {0};
        bool seen = false;

        for (size_t j = 0; j < count; j++) {
            if (strcmp(stored_as(kinds[j].first->tensor, other), name) != 0)
                continue;
            seen = seen || j < i;
            sum.tensors += kinds[j].tensors;
            sum.parameters += kinds[j].parameters;
            sum.bytes += kinds[j].bytes;
        }
        if (!seen)
            vise_buf_addf(out, "%-20s %8zu %12s %10s\n", name, sum.tensors,
                          count_text(sum.parameters, parameters), vise_format_size(sum.bytes, size));
    }
}

static void put_kinds(const kind *kinds, size_t count, vise_buf *out)
{
    vise_buf_addf(out, "\n%-48s %-16s %5s  %-14s %-16s %10s\n", "name", "role", "count", "shape", "stored as",
                  "bytes");
    for (size_t i = 0; i < count; i++) {
        const vise_logical *tensor = kinds[i].first->tensor;
        char text[VISE_SCHEME_TEXT_MAX], size[VISE_SIZE_TEXT_MAX], shape[VISE_DIMS_MAX * 24] = "scalar";
        int used = 0;

        for (int d = 0; d < tensor->ndim; d++)
            used += snprintf(shape + used, sizeof shape - (size_t)used, "%s%lld", d ? " x " : "",
                             (long long)tensor->shape[d]);
        vise_buf_addf(out, "%-48s %-16s %5zu  %-14s %-16s %10s\n", kinds[i].pattern, role_of(kinds[i].first),
                      kinds[i].tensors, shape, stored_as(tensor, text),
                      vise_format_size(kinds[i].bytes, size));
    }
}

static vise_status put_text(const vise_model *model, const char *path, const vise_memory_table *memory,
                            vise_arena *arena, vise_buf *out, vise_error *err)
{
    kind *kinds = NULL;
    size_t count = 0;

    VISE_TRY(gather_kinds(model, arena, &kinds, &count, err));
    put_facts(model, path, out);
    put_stored(kinds, count, out);
    vise_memory_table_print(memory, out);
    put_kinds(kinds, count, out);
    return VISE_OK;
}

/* ---- as JSON ---------------------------------------------------------------------------------------- */

static void member_text(vise_json_writer *to, const char *key, const char *value)
{
    vise_json_key(to, key);
    vise_json_put_text(to, value);
}

static void member_count(vise_json_writer *to, const char *key, uint64_t value)
{
    vise_json_key(to, key);
    vise_json_put_uint(to, value);
}

static void put_tensor_json(const vise_bound *bound, vise_json_writer *to)
{
    const vise_logical *tensor = bound->tensor;
    char text[VISE_SCHEME_TEXT_MAX];

    vise_json_object(to);
    member_text(to, "name", tensor->name);
    member_text(to, "role", role_of(bound));
    if (bound->layer >= 0)
        member_count(to, "layer", (uint64_t)bound->layer);
    vise_json_key(to, "shape");
    vise_json_array(to);
    for (int d = 0; d < tensor->ndim; d++)
        vise_json_put_int(to, tensor->shape[d]);
    vise_json_array_end(to);
    member_text(to, "dtype", vise_dtype_of(tensor->dtype)->name);
    if (tensor->scheme.type)
        member_text(to, "scheme", vise_scheme_text(&tensor->scheme, text));
    member_count(to, "bytes", tensor->stored_bytes);
    vise_json_object_end(to);
}

static void put_json(const vise_model *model, const char *path, const vise_memory_table *memory, vise_buf *out)
{
    const vise_source *source = vise_store_source(model->store);
    vise_json_writer to;

    vise_json_begin(&to, out, 2);
    vise_json_object(&to);
    member_text(&to, "path", path);
    if (model->model_type)
        member_text(&to, "model_type", model->model_type);
    vise_json_key(&to, "known_architecture");
    vise_json_put_bool(&to, model->arch != NULL);
    member_text(&to, "format", vise_source_format(source));
    member_text(&to, "layout", vise_store_layout(model->store)->name);
    if (vise_layout_cache(source))
        member_text(&to, "kv_cache", vise_layout_cache(source)->name);
    vise_json_key(&to, "packed");
    vise_json_put_bool(&to, vise_source_is_packed(source));
    member_count(&to, "parameters", parameters_of(model));
    member_count(&to, "bytes", file_bytes(source));
    vise_json_key(&to, "files");
    vise_json_array(&to);
    for (size_t i = 0; i < vise_source_files(source); i++) {
        vise_json_object(&to);
        member_text(&to, "name", vise_source_file_at(source, i)->name);
        member_count(&to, "bytes", vise_source_file_at(source, i)->bytes);
        vise_json_object_end(&to);
    }
    vise_json_array_end(&to);
    vise_json_key(&to, "memory");
    vise_json_object(&to);
    vise_memory_table_put(memory, &to);
    vise_json_object_end(&to);
    vise_json_key(&to, "tensors");
    vise_json_array(&to);
    for (size_t i = 0; i < model->count; i++)
        put_tensor_json(&model->bound[i], &to);
    vise_json_array_end(&to);
    vise_json_object_end(&to);
    vise_buf_add_char(out, '\n');
}

static vise_status inspect_model(const char *path, const vise_inspect_options *own, vise_arena *arena, vise_buf *out,
                                 vise_error *err)
{
    vise_model *model = NULL;
    vise_memory_table memory;
    vise_status status;

    VISE_TRY(vise_model_open(path, &model, err));
    status = vise_memory_table_make(model, own->context, own->batch, &memory, err);
    if (status == VISE_OK && own->json)
        put_json(model, path, &memory, out);
    else if (status == VISE_OK)
        status = put_text(model, path, &memory, arena, out, err);
    vise_model_close(model);
    return status;
}

/* ---- what the program knows ------------------------------------------------------------------------- */

/* One line of a list, as text or as a JSON object. */
typedef struct lister {
    vise_buf *out;
    vise_json_writer writer;
    bool json;
} lister;

static void list_row(lister *to, const char *name, const char *summary)
{
    if (!to->json) {
        vise_buf_addf(to->out, summary[0] ? "%-20s %s\n" : "%s%s\n", name, summary);
        return;
    }
    vise_json_object(&to->writer);
    member_text(&to->writer, "name", name);
    if (summary[0])
        member_text(&to->writer, "summary", summary);
    vise_json_object_end(&to->writer);
}

/* What the table of a family gives: the classes that run, and what its storage rules out. */
static void list_architecture(lister *to, const vise_arch *arch)
{
    static const char *const gives[] = {[VISE_HEAD_LM] = "logits of tokens",
                                        [VISE_HEAD_CLASSIFIER] = "logits of labels",
                                        [VISE_HEAD_NONE] = "embeddings"};
    bool transposed = false;

    for (size_t r = 0; r < arch->n_rows; r++)
        transposed = transposed || (arch->rows[r].how & VISE_ROW_TRANSPOSED) != 0;
    if (!to->json) {
        vise_buf_addf(to->out, "%-20s %s\n", arch->model_type, arch->summary);
        for (size_t c = 0; c < VISE_ARCH_CLASSES_MAX && arch->classes[c].name != NULL; c++)
            vise_buf_addf(to->out, "%21s%s: %s\n", "", arch->classes[c].name, gives[arch->classes[c].head]);
        if (transposed)
            vise_buf_addf(to->out, "%21sweights are stored transposed: pruned and cast, not quantized\n", "");
        return;
    }
    vise_json_object(&to->writer);
    member_text(&to->writer, "name", arch->model_type);
    member_text(&to->writer, "summary", arch->summary);
    vise_json_key(&to->writer, "classes");
    vise_json_array(&to->writer);
    for (size_t c = 0; c < VISE_ARCH_CLASSES_MAX && arch->classes[c].name != NULL; c++) {
        vise_json_object(&to->writer);
        member_text(&to->writer, "name", arch->classes[c].name);
        member_text(&to->writer, "gives", gives[arch->classes[c].head]);
        vise_json_object_end(&to->writer);
    }
    vise_json_array_end(&to->writer);
    vise_json_key(&to->writer, "quantized");
    vise_json_put_bool(&to->writer, !transposed);
    vise_json_object_end(&to->writer);
}

static void list_architectures(lister *to)
{
    size_t count;
    const vise_arch *rows = vise_architectures(&count);

    for (size_t i = 0; i < count; i++)
        list_architecture(to, &rows[i]);
}

static void list_schemes(lister *to)
{
    size_t count;
    const vise_weight_type *rows = vise_weight_types(&count);

    for (size_t i = 0; i < count; i++) {
        char summary[160];

        if (rows[i].blocks != NULL) {
            snprintf(summary, sizeof summary, "%.4g bits, blocks of %d; layout gguf",
                     8.0 * rows[i].blocks->bytes / rows[i].blocks->values, rows[i].blocks->values);
            list_row(to, rows[i].name, summary);
            continue;
        }
        char grains[64], inputs[VISE_ACTIVATION_NAMES_MAX];
        const bool none = strcmp(vise_activation_names(&rows[i], inputs), "none") == 0;
        snprintf(summary, sizeof summary, "%d bits; per %s%s%s; layout %s%s%s", rows[i].bits,
                 vise_weight_type_grains(&rows[i], grains), rows[i].has_asym ? ", each also -asym" : "",
                 rows[i].default_granularity == VISE_PER_FLAT ? ", each also -dq" : "", rows[i].default_layout,
                 none ? "" : "; inputs ", none ? "" : inputs);
        list_row(to, rows[i].name, summary);
    }
    const char *const *mixtures = vise_mixture_names(&count);
    for (size_t i = 0; i < count; i++)
        list_row(to, mixtures[i], "llama.cpp's mixture of types for a whole model; layout gguf");
}

static void list_layouts(lister *to)
{
    size_t count;
    const vise_layout *const *rows = vise_layouts(&count);

    for (size_t i = 0; i < count; i++)
        list_row(to, rows[i]->name, rows[i]->summary);
}

static void list_roles(lister *to)
{
    for (size_t i = 0; i < VISE_ROLE_COUNT; i++)
        list_row(to, vise_role_name((vise_role)i), "");
}

static void list_devices(lister *to)
{
    vise_backend *backend = NULL;
    char summary[160];

    snprintf(summary, sizeof summary, "%s, %d cores, %s", vise_cpu_model(), vise_cpu_usable_cores(),
             vise_cpu_level_name(vise_cpu()));
    list_row(to, "cpu", summary);
    if (vise_backend_open("cuda", NULL, &backend, NULL) == VISE_OK) { /* that it is not there is an answer */
        list_row(to, backend->name, backend->detail);
        vise_backend_close(backend);
    }
}

typedef void (*list_function)(lister *to);

/* The list that was asked for; NULL: none. *asked counts how many were. */
static list_function chosen_list(const vise_inspect_options *own, int *asked)
{
    list_function list = NULL;

    if (own->architectures)
        list = list_architectures;
    if (own->schemes)
        list = list_schemes;
    if (own->layouts)
        list = list_layouts;
    if (own->roles)
        list = list_roles;
    if (own->devices)
        list = list_devices;
    *asked = own->architectures + own->schemes + own->layouts + own->roles + own->devices;
    return list;
}

vise_status vise_cmd_inspect(vise_cli *cli, vise_error *err)
{
    const vise_inspect_options *own = cli->own;
    int asked;
    list_function list = chosen_list(own, &asked);
    vise_status status = VISE_OK;
    vise_buf out;

    if (asked > 1)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "one list at a time: --architectures, --schemes, --layouts, --roles or --devices");
    VISE_TRY(vise_cli_expect(cli, list ? 0 : 1, "MODEL", err));
    vise_buf_init(&out, TEXT_BYTES_MAX);
    if (list) {
        lister to = {.out = &out, .json = own->json};

        vise_json_begin(&to.writer, &out, 2);
        if (own->json)
            vise_json_array(&to.writer);
        list(&to);
        if (own->json) {
            vise_json_array_end(&to.writer);
            vise_buf_add_char(&out, '\n');
        }
    } else {
        status = inspect_model(cli->arguments.items[0], own, cli->arena, &out, err);
    }
    if (status == VISE_OK)
        status = vise_buf_check(&out, "the listing", err);
    if (status == VISE_OK)
        status = vise_cli_print(&out, err);
    vise_buf_deinit(&out);
    return status;
}
