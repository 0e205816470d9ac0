#include "pipeline/plan_cache.h"

#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "formats/names.h"

/* Scales that the input has: beside the linears of attention, and no weight. */
static bool is_scale(const vise_plan *plan, size_t index)
{
    const vise_bound *bound = &plan->model->bound[index];
    return bound->role == VISE_ROLE_UNKNOWN && vise_layout_cache(vise_store_source(plan->model->store)) != NULL &&
           (vise_ends_with(bound->tensor->name, ".k_scale") || vise_ends_with(bound->tensor->name, ".v_scale"));
}

static bool has_scales(const vise_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (is_scale(plan, i))
            return true;
    return false;
}

/* compressed-tensors finds attention by the names of its linears, and asks the configuration for its key-value heads,
 * which those of families with learned positions (OPT, GPT-Neo) do not have. */
static bool is_found_by_loaders(const vise_model *model)
{
    const vise_role roles[] = {VISE_ROLE_K, VISE_ROLE_QKV};
    static const char *const names[] = {".k_proj", ".qkv_proj"};
    for (size_t i = 0; i < 2; i++) {
        const size_t index = vise_model_role(model, roles[i], 0);
        if (index != SIZE_MAX && model->config.position == VISE_POSITION_ROTARY &&
            vise_ends_with(model->bound[index].tensor->module, names[i]))
            return true;
    }
    return false;
}

static vise_status plan_made(vise_plan *plan, vise_error *err)
{
    const vise_model *model = plan->model;
    if (plan->request->calibration.path == NULL)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--kv-scheme needs calibration text; give --calibration FILE, or \"calibration\" in a recipe");
    VISE_TRY(vise_model_need_forward(model, "calibrating the key-value cache", err));
    if (model->config.bidirectional)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "--kv-scheme: %s reads a text at once, and keeps no keys and values",
                         model->arch->model_type);
    if (!is_found_by_loaders(model))
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "--kv-scheme: loaders know scales of rotary attention with k_proj or qkv_proj; %s has none",
                         model->arch->model_type);
    if (has_scales(plan))
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--kv-scheme: the key-value cache of %s has its scales, which are kept; leave it out",
                         plan->request->input);
    VISE_TRY(vise_arena_take(plan->arena, (size_t)model->config.layers * sizeof *plan->cache.ids,
                             (void **)&plan->cache.ids, err));
    plan->cache.made = true;
    plan->last_calibrated = (int)model->config.layers - 1;
    return VISE_OK;
}

vise_status vise_plan_cache(vise_plan *plan, vise_error *err)
{
    plan->cache.type = plan->output.cache;
    if (plan->cache.type != NULL)
        return plan_made(plan, err);
    if (!has_scales(plan) || plan->output.dequantize)
        return VISE_OK;
    if (plan->output.rotation != VISE_ROTATE_NOT || plan->scaling.last >= 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s has scales of its key-value cache, which would not fit what --rotate, --smooth and awq "
                         "make of keys and values; start from the float model",
                         plan->request->input);
    plan->cache.type = vise_layout_cache(vise_store_source(plan->model->store));
    return VISE_OK;
}

vise_status vise_plan_cache_layout(vise_plan *plan, vise_error *err)
{
    if (plan->cache.type == NULL || plan->layout->holds_cache)
        return VISE_OK;
    if (plan->cache.made) {
        size_t count;
        const vise_layout *const *layouts = vise_layouts(&count);
        char names[256] = "";
        for (size_t i = 0; i < count; i++)
            if (layouts[i]->holds_cache)
                snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", names[0] ? ", " : "",
                         layouts[i]->name);
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "--kv-scheme: layout %s holds no scales of a key-value cache; those that do: %s",
                         plan->layout->name, names);
    }
    vise_warn("layout %s holds no scales of a key-value cache; those of %s are left out", plan->layout->name,
              plan->request->input);
    plan->cache.type = NULL;
    return VISE_OK;
}

bool vise_plan_cache_drops(const vise_plan *plan, size_t index)
{
    return plan->cache.type == NULL && is_scale(plan, index);
}

vise_status vise_plan_cache_declare(vise_plan *plan, int layer, vise_sink *sink, vise_error *err)
{
    const vise_model *model = plan->model;
    const int64_t by_head[] = {model->config.kv_heads, 1, 1}, whole[] = {1};
    const bool heads = plan->cache.type != NULL && plan->cache.type->by_head;
    for (int which = 0; which < 2 && plan->cache.made; which++) {
        char *name;
        VISE_TRY(vise_cache_scale_name(model, layer, which, &name, err));
        if (name == NULL)
            return VISE_FAIL(err, VISE_EFORMAT, "the model has no %s in block %d", vise_role_name(VISE_ROLE_O), layer);
        const vise_status status =
            vise_sink_declare(sink, name, vise_model_dtype(model), heads ? 3 : 1, heads ? by_head : whole,
                              (int)plan->count + layer, &plan->cache.ids[layer][which], err);
        vise_free(name);
        VISE_TRY(status);
    }
    return VISE_OK;
}
