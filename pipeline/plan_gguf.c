#include "pipeline/plan_gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "pipeline/plan_cache.h"
#include "pipeline/selector.h"

/* What becomes of a tensor. */
typedef struct place {
    vise_gguf_named named;
    const char *name;        /* in the file; NULL: it is not there */
    int64_t row0, row_count; /* of its rows, what the file has; row_count 0: all */
} place;

struct vise_plan_gguf {
    vise_gguf_values values;
    const vise_gguf_family *family; /* NULL: names stay as they are */
    bool from_gguf;
    place *places; /* [count] */
    vise_gguf_extra extras[VISE_GGUF_EXTRAS];
    size_t extra_ids[VISE_GGUF_EXTRAS];
};

static const vise_gguf_type *type_of(const vise_planned *planned)
{
    return planned->scheme.type != NULL ? planned->scheme.type->blocks : vise_gguf_type_plain(planned->dtype);
}

/* ---- names --------------------------------------------------------------------------------------------- */

/* BERT's classifier is llama.cpp's if its labels have names, and else a layer in front of none. Of those of other
 * encoders llama.cpp then wants a single row. */
static vise_status name_classifier(const vise_plan *plan, char name[VISE_GGUF_MODULE_MAX], vise_error *err)
{
    const char **labels;
    size_t n;
    if (strncmp(name, "cls.output.", 11) != 0 || plan->gguf->from_gguf)
        return VISE_OK;
    VISE_TRY(vise_gguf_labels(vise_store_source(plan->model->store), &labels, &n, err));
    vise_free(labels);
    if (n == 0 && strcmp(name, "cls.output.weight") == 0)
        vise_warn("%s: its two labels have no names, and llama.cpp then takes no classifier of two; name them in "
                  "id2label",
                  vise_source_config_path(vise_store_source(plan->model->store)));
    if (n == 0 && strcmp(plan->gguf->family->model_type, "bert") == 0)
        memmove(name + 4, name + 11, strlen(name + 11) + 1);
    return VISE_OK;
}

/* Its module and its name in the file; none for a block behind the network's last. */
static vise_gguf_named name_of(const vise_plan *plan, size_t index, char name[VISE_GGUF_MODULE_MAX])
{
    const vise_model *model = plan->model;
    vise_gguf_named named = vise_gguf_name_from_hf(plan->gguf->family, plan->planned[index].bound->tensor->name, name);
    if (model->arch != NULL && named.layer >= model->config.layers && !plan->gguf->from_gguf)
        named.module = NULL;
    return named;
}

static bool is_left_out(const vise_plan *plan, size_t index)
{
    const vise_texts *selectors = &plan->output.leave_out;
    for (size_t s = 0; s < selectors->count; s++)
        if (vise_selector_matches(selectors->items[s], plan->model, plan->planned[index].bound))
            return true;
    return false;
}

/* The shortest glob on whole parts of the tensor's name that names nothing which has a place. */
static void glob_around(const vise_plan *plan, size_t index, char glob[VISE_GGUF_MODULE_MAX])
{
    const char *module = plan->planned[index].bound->tensor->module;
    for (const char *dot = strchr(module, '.'); dot != NULL; dot = strchr(dot + 1, '.')) {
        const size_t length = (size_t)(dot - module) + 1;
        bool placed = false;
        for (size_t i = 0; i < plan->count && !placed; i++) {
            char name[VISE_GGUF_MODULE_MAX];
            placed = strncmp(plan->planned[i].bound->tensor->name, module, length) == 0 &&
                     name_of(plan, i, name).module != NULL;
        }
        if (!placed) {
            snprintf(glob, VISE_GGUF_MODULE_MAX, "%.*s*", (int)length, module);
            return;
        }
    }
    snprintf(glob, VISE_GGUF_MODULE_MAX, "%s", module);
}

static vise_status refuse_nameless(const vise_plan *plan, size_t index, vise_error *err)
{
    const vise_bound *bound = plan->planned[index].bound;
    const char *type = plan->gguf->family->model_type;
    char glob[VISE_GGUF_MODULE_MAX];
    if (bound->role != VISE_ROLE_UNKNOWN)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: llama.cpp has no place for this part of a %s model, and without it the model is another; "
                         "layouts safetensors and compressed-tensors hold it",
                         bound->tensor->name, type);
    glob_around(plan, index, glob);
    return VISE_FAIL(err, VISE_EUNSUPPORTED,
                     "%s: llama.cpp has no name for this tensor of a %s model, which the network is not made of; "
                     "--leave-out '%s' writes the file without it",
                     bound->tensor->name, type, glob);
}

/* Each selector of what is left out must name something, and nothing that the file has a place for. */
static vise_status check_left_out(const vise_plan *plan, vise_error *err)
{
    const vise_texts *selectors = &plan->output.leave_out;
    for (size_t s = 0; s < selectors->count; s++) {
        size_t n = 0;
        VISE_TRY(vise_selector_check(plan->model, selectors->items[s], false, err));
        for (size_t i = 0; i < plan->count; i++) {
            const place *p = &plan->gguf->places[i];
            if (!vise_selector_matches(selectors->items[s], plan->model, plan->planned[i].bound))
                continue;
            if (p->name != NULL)
                return VISE_FAIL(err, VISE_EUSAGE, "--leave-out %s: names %s, which llama.cpp has a place for",
                                 selectors->items[s], plan->planned[i].bound->tensor->name);
            n++;
        }
        vise_warn("%s: the file lacks %zu tensors that --leave-out %s names",
                  vise_source_path(vise_store_source(plan->model->store)), n, selectors->items[s]);
    }
    return VISE_OK;
}

static vise_status find_place(vise_plan *plan, size_t index, vise_error *err)
{
    struct vise_plan_gguf *gguf = plan->gguf;
    const vise_logical *tensor = plan->planned[index].bound->tensor;
    place *p = &gguf->places[index];
    char name[VISE_GGUF_MODULE_MAX];
    p->name = tensor->name;
    p->named = (vise_gguf_named){.layer = -1, .expert = -1};
    if (vise_plan_cache_drops(plan, index)) {
        p->name = NULL;
        return VISE_OK;
    }
    if (gguf->family == NULL)
        return VISE_OK;
    p->named = name_of(plan, index, name);
    if (p->named.dropped != NULL) {
        p->name = NULL;
        return VISE_OK;
    }
    if (p->named.module == NULL && !gguf->from_gguf) {
        p->name = NULL;
        return is_left_out(plan, index) && plan->planned[index].bound->role == VISE_ROLE_UNKNOWN
                   ? VISE_OK
                   : refuse_nameless(plan, index, err);
    }
    if (p->named.module == NULL)
        return VISE_OK;
    VISE_TRY(name_classifier(plan, name, err));
    return vise_arena_strdup(plan->arena, name, strlen(name), &p->name, err);
}

static bool is_float32(const place *p, const vise_logical *tensor)
{
    static const char norm[] = "_norm.weight";
    const size_t n = strlen(p->name), m = sizeof norm - 1;
    return tensor->ndim == 1 || (p->named.module != NULL && (p->named.module->how & VISE_GGUF_FLOAT) != 0) ||
           (n > m && strcmp(p->name + n - m, norm) == 0);
}

/* Vectors and a few tables stay in float32, as llama.cpp's converter has them. */
static vise_status choose_types(vise_plan *plan, vise_error *err)
{
    for (size_t i = 0; i < plan->count; i++) {
        vise_planned *planned = &plan->planned[i];
        const place *p = &plan->gguf->places[i];
        const vise_logical *tensor = planned->bound->tensor;
        const bool plus_one = p->named.module != NULL && (p->named.module->how & VISE_GGUF_PLUS_ONE) != 0;
        if (p->name == NULL) {
            planned->scheme = tensor->scheme;
            planned->dtype = tensor->dtype;
            planned->passes = 0;
            planned->carried = true;
            continue;
        }
        if (planned->carried && tensor->transposed)
            planned->carried = false;
        if (!is_float32(p, tensor) || !vise_dtype_of(tensor->dtype)->is_float)
            continue;
        if (planned->scheme.type != NULL && planned->passes != 0)
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s: llama.cpp wants %s in float32; exclude it from quantization", tensor->module,
                             p->name);
        if (planned->scheme.type != NULL)
            continue;
        planned->carried = planned->carried && tensor->dtype == VISE_DTYPE_F32 && !plus_one;
        planned->dtype = VISE_DTYPE_F32;
        plan->parts[i].plus_one = plus_one;
    }
    return VISE_OK;
}

/* ---- facts --------------------------------------------------------------------------------------------- */

/* The type that most weights have. */
static const vise_gguf_type *main_type(const vise_plan *plan)
{
    uint64_t elements[VISE_GGUF_TYPES] = {0};
    size_t most = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const vise_gguf_type *type = type_of(&plan->planned[i]);
        if (type != NULL && plan->planned[i].bound->tensor->ndim > 1)
            elements[type - vise_gguf_table] += plan->planned[i].bound->tensor->elements;
    }
    for (size_t t = 1; t < VISE_GGUF_TYPES; t++)
        if (elements[t] > elements[most])
            most = t;
    return &vise_gguf_table[most];
}

static void count_parameters(const vise_plan *plan, vise_gguf_facts *facts)
{
    for (size_t e = 0; e < VISE_GGUF_EXTRAS; e++)
        facts->parameters += (uint64_t)plan->gguf->extras[e].n;
    facts->shared_parameters = facts->parameters;
    for (size_t i = 0; i < plan->count; i++) {
        const place *p = &plan->gguf->places[i];
        const vise_logical *tensor = plan->planned[i].bound->tensor;
        const uint64_t elements =
            p->row_count > 0 ? (uint64_t)(p->row_count * tensor->cols) : tensor->elements;
        if (p->name == NULL)
            continue;
        facts->parameters += elements;
        if (p->named.expert < 0)
            facts->shared_parameters += elements;
        else if (p->named.expert == 0)
            facts->expert_parameters += elements;
        facts->experts = p->named.expert >= facts->experts ? p->named.expert + 1 : facts->experts;
    }
}

/* Rows that have no place: positions in front of the first, tokens behind the tokenizer's last. */
static vise_status cut_rows(vise_plan *plan, vise_error *err)
{
    int64_t tokens = 0;
    if (strcmp(plan->gguf->family->architecture, "gemma3") == 0)
        VISE_TRY(vise_gguf_count_tokens(vise_store_source(plan->model->store), &tokens, err));
    for (size_t i = 0; i < plan->count; i++) {
        place *p = &plan->gguf->places[i];
        const unsigned how = p->named.module != NULL ? p->named.module->how : 0;
        const int64_t rows = plan->planned[i].bound->tensor->rows, offset = plan->model->config.position_offset;
        if ((how & VISE_GGUF_POSITIONS) != 0 && offset > 0 && offset < rows) {
            p->row0 = offset;
            p->row_count = rows - offset;
        }
        if ((how & VISE_GGUF_VOCAB) != 0 && tokens > 0 && tokens < rows)
            p->row_count = tokens;
    }
    return VISE_OK;
}

/* What of a model the file can tell and llama.cpp computes otherwise, or not at all; NULL: nothing that is known. */
static const char *strange_part(const vise_model *model, const vise_gguf_network *network, const char *type)
{
    const vise_config *config = &model->config;
    bool sparse = false, dense = false;
    for (int64_t layer = 0; layer < config->layers; layer++) {
        sparse = sparse || (config->layer[layer] & VISE_LAYER_SPARSE) != 0;
        dense = dense || (config->layer[layer] & VISE_LAYER_SPARSE) == 0;
    }
    if (sparse && dense)
        return "layers without experts among those with experts";
    if (sparse && config->experts_renormalize == (strcmp(type, "qwen2_moe") == 0))
        return "weights of experts that are made to sum to 1, or are not";
    if (strcmp(type, "falcon") == 0 &&
        (config->residual != VISE_RESIDUAL_PARALLEL || config->position != VISE_POSITION_ROTARY))
        return "Falcon with serial halves or without rotary positions";
    if (strcmp(type, "gpt2") == 0 && (config->activation != VISE_GELU_TANH || config->attention_scale > 0.0 ||
                                      config->scale_by_layer))
        return "GPT-2 with another activation or another scale of attention";
    if (strcmp(type, "gpt_neox") == 0 && model->tied)
        return "GPT-NeoX whose head is the embedding";
    if (strcmp(type, "gemma3") == 0 && network->logit_cap > config->logit_cap)
        return "the soft cap of logits, of which the class with images has none,";
    if (strncmp(type, "gemma", 5) == 0 && config->attention_bias)
        return "Gemma with biases";
    const double scale = config->attention_scale * sqrt((double)config->head_dim);
    const int64_t largest = strcmp(type, "gemma2") == 0 ? 46 : 62; /* layers of the model that has a scale of its own */
    if (strncmp(type, "gemma", 5) == 0 && config->attention_scale > 0.0 && fabs(scale - 1.0) > 1e-6 &&
        config->layers != largest)
        return "Gemma with another scale of attention";
    return NULL;
}

/* The pooler of a model without a head is no loss: nothing is computed with it. */
static void warn_of_dropped(const vise_plan *plan)
{
    const vise_gguf_family *family = plan->gguf->family;
    char parts[160] = "";
    size_t n = 0, length = 0;
    for (size_t d = 0; d < VISE_GGUF_DROPPED && family->dropped[d] != NULL; d++) {
        size_t found = 0;
        for (size_t i = 0; i < plan->count; i++)
            found += plan->gguf->places[i].named.dropped == family->dropped[d];
        if (found > 0 && length < sizeof parts)
            length += (size_t)snprintf(parts + length, sizeof parts - length, "%s%s*", n > 0 ? ", " : "",
                                       family->dropped[d]);
        n += found;
    }
    if (n > 0 && plan->model->of != NULL && plan->model->of->head != VISE_HEAD_NONE)
        vise_warn("%s: %zu tensors have no place in llama.cpp's %s and are left out: %s%s",
                  vise_source_path(vise_store_source(plan->model->store)), n, family->architecture, parts,
                  family->within ? "; llama.cpp has what sees images in a file of its own (mmproj)" : "");
}

static void warn_of_strange(const vise_plan *plan, const vise_gguf_network *network)
{
    const char *path = vise_source_path(vise_store_source(plan->model->store));
    const char *part = strange_part(plan->model, network, plan->gguf->family->model_type);
    if (part != NULL)
        vise_warn("%s: llama.cpp does not compute %s as transformers does; the file holds the model all the same", path,
                  part);
}

static vise_status describe(vise_plan *plan, vise_error *err)
{
    const vise_source *source = vise_store_source(plan->model->store);
    struct vise_plan_gguf *gguf = plan->gguf;
    vise_gguf_facts facts = {.file_type = plan->output.gguf_file_type};
    if (facts.file_type == 0)
        facts.file_type = vise_gguf_file_type(main_type(plan));
    for (size_t r = 0; r < plan->n_runs; r++)
        facts.importance = plan->runs[r].importance != NULL ? plan->runs[r].importance : facts.importance;
    if (gguf->from_gguf)
        return vise_gguf_describe(source, gguf->family, &facts, &gguf->values, err);
    vise_plan_gguf_network(plan->model, &facts.network);
    VISE_TRY(vise_plan_gguf_extras(plan->model, gguf->family, plan->arena, gguf->extras, &facts.network, err));
    VISE_TRY(cut_rows(plan, err));
    count_parameters(plan, &facts);
    warn_of_dropped(plan);
    warn_of_strange(plan, &facts.network);
    VISE_TRY(vise_plan_gguf_tokenizer(source, gguf->family, plan->arena, &facts.tokenizer, err));
    return vise_gguf_describe(source, gguf->family, &facts, &gguf->values, err);
}

vise_status vise_plan_gguf(vise_plan *plan, vise_error *err)
{
    const vise_source *source = vise_store_source(plan->model->store);
    void *block;
    if (plan->output.pack)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "layout gguf has no packed form; leave out --pack");
    VISE_TRY(vise_arena_take(plan->arena, sizeof *plan->gguf, (void **)&plan->gguf, err));
    struct vise_plan_gguf *gguf = plan->gguf;
    vise_gguf_values_init(&gguf->values);
    gguf->from_gguf = vise_source_gguf(source) != NULL;
    VISE_TRY(vise_arena_take(plan->arena, (plan->count + 1) * sizeof *gguf->places, &block, err));
    gguf->places = block;
    VISE_TRY(vise_gguf_family_of_source(source, &gguf->family, err));
    if (!gguf->from_gguf && plan->model->arch == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: layout gguf tells the network's sizes, which are not known for this class of a %s model",
                         vise_source_config_path(source), gguf->family->model_type);
    for (size_t i = 0; i < plan->count; i++)
        VISE_TRY(find_place(plan, i, err));
    VISE_TRY(check_left_out(plan, err));
    VISE_TRY(choose_types(plan, err));
    return describe(plan, err);
}

const vise_gguf_values *vise_plan_gguf_values(const vise_plan *plan)
{
    return plan->gguf != NULL ? &plan->gguf->values : NULL;
}

/* ---- declaring ----------------------------------------------------------------------------------------- */

static vise_status check_type(const vise_planned *planned, const vise_gguf_type *type, vise_error *err)
{
    if (type != NULL)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: GGUF has no elements of dtype %s; give --dtype bf16 or f16",
                     planned->bound->tensor->name, vise_dtype_of(planned->dtype)->name);
}

static vise_gguf_order order_of(const vise_plan *plan, const vise_gguf_module *module)
{
    const vise_config *config = &plan->model->config;
    const int64_t kv_heads = config->kv_heads > 0 ? config->kv_heads : config->heads;
    if (module == NULL || module->rows == VISE_GGUF_ROWS_PLAIN || plan->model->arch == NULL || kv_heads == 0)
        return (vise_gguf_order){0};
    if (module->rows == VISE_GGUF_ROWS_QKV) /* without groups Falcon's rows are in this order already */
        return config->qkv == VISE_QKV_GROUPS
                   ? (vise_gguf_order){.heads = kv_heads, .queries = config->heads / kv_heads}
                   : (vise_gguf_order){0};
    return (vise_gguf_order){.heads = module->rows == VISE_GGUF_ROWS_Q ? config->heads : kv_heads};
}

static vise_status declare_one(vise_plan *plan, size_t index, vise_sink *sink, vise_error *err)
{
    const vise_planned *planned = &plan->planned[index];
    const vise_logical *tensor = planned->bound->tensor;
    vise_planned_parts *parts = &plan->parts[index];
    const place *p = &plan->gguf->places[index];
    const vise_gguf_type *type = type_of(planned);
    const vise_gguf_order order = order_of(plan, p->named.module);
    int64_t shape[VISE_DIMS_MAX];
    VISE_TRY(check_type(planned, type, err));
    memcpy(shape, tensor->shape, sizeof shape);
    if (tensor->transposed) {
        shape[0] = tensor->rows;
        shape[1] = tensor->cols;
    }
    if (order.heads > 0 && shape[0] % vise_gguf_order_unit(&order) != 0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: its %lld rows are no pairs in each of %lld heads", tensor->name,
                         (long long)shape[0], (long long)order.heads);
    if (p->row_count > 0) {
        const uint64_t row_bytes = vise_gguf_row_bytes(type, tensor->cols);
        parts->begin = (uint64_t)p->row0 * row_bytes;
        parts->end = (uint64_t)(p->row0 + p->row_count) * row_bytes;
        shape[0] = p->row_count;
    }
    return vise_sink_declare_gguf(sink, p->name, type, tensor->ndim, shape, &order, (int)index, &parts->ids[0], err);
}

/* One matrix of all experts of a layer. */
static vise_status declare_stack(vise_plan *plan, const vise_gguf_module *module, int layer, vise_sink *sink,
                                 vise_error *err)
{
    const int64_t experts = plan->model->config.experts;
    size_t first = SIZE_MAX, id;
    int64_t n = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const place *p = &plan->gguf->places[i];
        if (p->named.module != module || p->named.layer != layer)
            continue;
        first = first == SIZE_MAX ? i : first;
        n++;
        if (type_of(&plan->planned[i]) != type_of(&plan->planned[first]))
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s: has another type than %s; GGUF has the experts of a layer in one tensor of one type",
                             plan->planned[i].bound->tensor->name, plan->planned[first].bound->tensor->name);
    }
    if (first == SIZE_MAX || n != experts)
        return VISE_FAIL(err, VISE_EFORMAT, "layer %d: has %lld of %lld experts' %s", layer, (long long)n,
                         (long long)experts, module->gguf);
    const vise_logical *tensor = plan->planned[first].bound->tensor;
    const vise_gguf_type *type = type_of(&plan->planned[first]);
    VISE_TRY(check_type(&plan->planned[first], type, err));
    const int64_t shape[3] = {experts, tensor->rows, tensor->cols};
    VISE_TRY(vise_sink_declare_gguf(sink, plan->gguf->places[first].name, type, 3, shape, NULL, (int)first, &id, err));
    for (size_t i = first; i < plan->count; i++) {
        const place *p = &plan->gguf->places[i];
        if (p->named.module != module || p->named.layer != layer)
            continue;
        plan->parts[i].ids[0] = id;
        plan->parts[i].base = (uint64_t)p->named.expert * plan->parts[i].parts[0].bytes;
    }
    return VISE_OK;
}

/* The last tensor of a layer's experts brings all of them. */
static vise_status declare_expert(vise_plan *plan, size_t index, vise_sink *sink, vise_error *err)
{
    const struct vise_plan_gguf *gguf = plan->gguf;
    const int layer = gguf->places[index].named.layer;
    for (size_t i = index + 1; i < plan->count; i++)
        if (gguf->places[i].named.expert >= 0 && gguf->places[i].named.layer == layer)
            return VISE_OK;
    for (size_t m = 0; m < gguf->family->n_modules; m++)
        if ((gguf->family->modules[m].how & VISE_GGUF_STACKED) != 0)
            VISE_TRY(declare_stack(plan, &gguf->family->modules[m], layer, sink, err));
    return VISE_OK;
}

vise_status vise_plan_declare_gguf(vise_plan *plan, vise_sink *sink, vise_error *err)
{
    struct vise_plan_gguf *gguf = plan->gguf;
    for (size_t e = 0; e < VISE_GGUF_EXTRAS; e++)
        if (gguf->extras[e].n > 0)
            VISE_TRY(vise_sink_declare_gguf(sink, gguf->extras[e].name, &vise_gguf_table[VISE_GGUF_F32], 1,
                                            &gguf->extras[e].n, NULL, -1 - (int)e, &gguf->extra_ids[e], err));
    for (size_t i = 0; i < plan->count; i++) {
        if (gguf->places[i].name == NULL)
            plan->parts[i].n_parts = 0;
        else if (gguf->places[i].named.expert >= 0)
            VISE_TRY(declare_expert(plan, i, sink, err));
        else
            VISE_TRY(declare_one(plan, i, sink, err));
    }
    return VISE_OK;
}

vise_status vise_plan_write_extras(const vise_plan *plan, vise_sink *sink, vise_error *err)
{
    const struct vise_plan_gguf *gguf = plan->gguf;
    for (size_t e = 0; gguf != NULL && e < VISE_GGUF_EXTRAS; e++)
        if (gguf->extras[e].n > 0)
            VISE_TRY(vise_sink_write(sink, gguf->extra_ids[e], 0, gguf->extras[e].values,
                                     (size_t)gguf->extras[e].n * sizeof(float), err));
    return VISE_OK;
}

void vise_plan_free_gguf(vise_plan *plan)
{
    if (plan->gguf != NULL)
        vise_gguf_values_deinit(&plan->gguf->values);
}
