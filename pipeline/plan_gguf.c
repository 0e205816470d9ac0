#include "pipeline/plan_gguf.h"

#include <string.h>

#include "formats/gguf_meta.h"

struct vise_plan_gguf {
    vise_gguf_values values;
    const vise_gguf_family *family; /* NULL: names stay as they are */
    int64_t heads, kv_heads;
};

static const vise_gguf_type *type_of(const vise_planned *planned)
{
    return planned->scheme.type != NULL ? planned->scheme.type->blocks : vise_gguf_type_plain(planned->dtype);
}

/* Vectors stay in float32, as llama.cpp's converter has them. */
static void keep_vectors(vise_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        vise_planned *planned = &plan->planned[i];
        const vise_logical *tensor = planned->bound->tensor;
        if (tensor->ndim != 1 || tensor->scheme.type != NULL || !vise_dtype_of(tensor->dtype)->is_float)
            continue;
        planned->carried = planned->carried && tensor->dtype == VISE_DTYPE_F32;
        planned->dtype = VISE_DTYPE_F32;
    }
}

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

vise_status vise_plan_gguf(vise_plan *plan, vise_error *err)
{
    const vise_source *source = vise_store_source(plan->model->store);
    if (plan->output.pack)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "layout gguf has no packed form; leave out --pack");
    VISE_TRY(vise_arena_take(plan->arena, sizeof *plan->gguf, (void **)&plan->gguf, err));
    vise_gguf_values_init(&plan->gguf->values);
    VISE_TRY(vise_gguf_family_of_source(source, &plan->gguf->family, &plan->gguf->heads,
                                        &plan->gguf->kv_heads, err));
    keep_vectors(plan);
    vise_gguf_facts facts = {.file_type = plan->output.gguf_file_type};
    for (size_t i = 0; i < plan->count; i++) {
        facts.parameters += plan->planned[i].bound->tensor->elements;
        facts.quantized = facts.quantized || plan->planned[i].scheme.type != NULL;
    }
    if (facts.file_type == 0)
        facts.file_type = vise_gguf_file_type(main_type(plan));
    return vise_gguf_describe(source, plan->gguf->family, &facts, &plan->gguf->values, err);
}

const vise_gguf_values *vise_plan_gguf_values(const vise_plan *plan)
{
    return plan->gguf != NULL ? &plan->gguf->values : NULL;
}

vise_status vise_plan_declare_gguf(vise_plan *plan, size_t index, int unit, vise_sink *sink, vise_error *err)
{
    const struct vise_plan_gguf *gguf = plan->gguf;
    const vise_logical *tensor = plan->planned[index].bound->tensor;
    const vise_gguf_type *type = type_of(&plan->planned[index]);
    char name[VISE_GGUF_MODULE_MAX];
    const char *stored = tensor->name;
    int64_t heads = 0;
    if (type == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: GGUF has no elements of dtype %s; give --dtype bf16 or f16", tensor->name,
                         vise_dtype_of(plan->planned[index].dtype)->name);
    if (gguf->family != NULL) {
        const vise_gguf_module *module = vise_gguf_name_from_hf(gguf->family, tensor->name, name);
        const bool from_gguf = vise_source_gguf(vise_store_source(plan->model->store)) != NULL;
        if (module == NULL && !from_gguf)
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s: llama.cpp has no name for this tensor of a %s model", tensor->name,
                             gguf->family->model_type);
        if (module != NULL) {
            stored = name;
            heads = module->rows == VISE_GGUF_ROWS_Q    ? gguf->heads
                    : module->rows == VISE_GGUF_ROWS_KV ? gguf->kv_heads
                                                        : 0;
        }
    }
    if (heads > 0 && (tensor->shape[0] % heads != 0 || tensor->shape[0] / heads % 2 != 0))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: its %lld rows are no pairs in each of %lld heads",
                         tensor->name, (long long)tensor->shape[0], (long long)heads);
    return vise_sink_declare_gguf(sink, stored, type, tensor->ndim, tensor->shape, heads, unit,
                                  &plan->parts[index].ids[0], err);
}

void vise_plan_free_gguf(vise_plan *plan)
{
    if (plan->gguf != NULL)
        vise_gguf_values_deinit(&plan->gguf->values);
}
