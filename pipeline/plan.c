/* Making a plan: choose methods, let the passes edit metadata, choose the layout, spell every output tensor.
 */
#include "pipeline/plan.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/buf.h"
#include "core/cpu.h"
#include "core/event.h"
#include "model/footprint.h"
#include "pipeline/plan_cache.h"
#include "pipeline/plan_gguf.h"
#include "pipeline/runtime.h"
#include "pipeline/scaling.h"
#include "pipeline/selector.h"
#include "pipeline/survey.h"
#include "pipeline/text_options.h"
#include "pipeline/units.h"
#include "tensor/activation_type.h"

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* ---- passes ---------------------------------------------------------------------------------------- */

static void plan_input(vise_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        const vise_bound *bound = &plan->model->bound[i];
        plan->planned[i] = (vise_planned){.bound = bound,
                                          .index = i,
                                          .dtype = bound->tensor->dtype,
                                          .scheme = bound->tensor->scheme,
                                          .carried = !vise_transform_changes(plan->model, i)};
    }
}

static const vise_texts *texts_at(const vise_pass_run *run, size_t offset)
{
    return (const vise_texts *)(const void *)((const char *)run->config + offset);
}

static bool is_excluded(const vise_plan *plan, const vise_texts *exclude, size_t index)
{
    for (size_t i = 0; i < exclude->count; i++)
        if (vise_selector_matches(exclude->items[i], plan->model, &plan->model->bound[index]))
            return true;
    return false;
}

static vise_status select_targets(vise_plan *plan, vise_pass_run *run, vise_error *err)
{
    const vise_texts *include = texts_at(run, run->pass->include_offset);
    const vise_texts *exclude = texts_at(run, run->pass->exclude_offset);
    if (!run->pass->every_tensor || include->count > 0) {
        bool any = false;
        VISE_TRY(vise_select(plan->model, include, exclude, run->selected, err));
        for (size_t i = 0; i < plan->count; i++)
            any = any || run->selected[i];
        if (!any)
            return VISE_FAIL(err, VISE_EUSAGE,
                             "%s has no weight to work on; exclude fewer modules, or name some with --include",
                             run->pass->name);
        return VISE_OK;
    }
    for (size_t i = 0; i < plan->count; i++) {
        const vise_logical *tensor = plan->model->bound[i].tensor;
        run->selected[i] = (tensor->scheme.type != NULL || vise_dtype_of(tensor->dtype)->is_float) &&
                           !is_excluded(plan, exclude, i);
    }
    return VISE_OK;
}

/* Weights outside the blocks that a mixture of GGUF types gives a type: a method of groups rounds them. */
static bool is_rounded(const vise_pass_run *run, const vise_planned *planned)
{
    return planned->bound->layer < 0 && run->method->weight != NULL && planned->scheme.type != NULL &&
           planned->scheme.type->blocks != NULL;
}

/* A method that works on groups of a block sees only linears inside blocks of a known family. */
static vise_status check_calibrated_targets(const vise_plan *plan, const vise_pass_run *run, vise_error *err)
{
    for (size_t i = 0; i < plan->count; i++) {
        const vise_bound *bound = &plan->model->bound[i];
        if ((plan->planned[i].passes >> run->index & 1) == 0 ||
            (bound->layer >= 0 && bound->input != VISE_INPUT_NONE) || is_rounded(run, &plan->planned[i]))
            continue;
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s: --method %s works on linears inside the blocks, whose inputs calibration sees; "
                         "exclude it, or treat "
                         "it in a pass of its own with a method that needs weights alone",
                         bound->tensor->module, run->method->name);
    }
    return VISE_OK;
}

static vise_status need_text(const vise_plan *plan, const vise_pass_run *run, const char *for_what, vise_error *err)
{
    char what[96];
    snprintf(what, sizeof what, "%s %s", run->pass->name, for_what);
    if (!run->calibrated)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s needs calibration text; give --calibration FILE, or \"calibration\" in a recipe", what);
    return vise_model_need_forward(plan->model, what, err);
}

/* Leaves those candidates that the layout which is asked for can hold; a weight's own shape is looked at later. */
static vise_status keep_held(const vise_plan *plan, vise_budget *budget, vise_error *err)
{
    const char *name = plan->output.layout;
    if (name == NULL && plan->output.path != NULL && ends_with(plan->output.path, ".gguf"))
        name = "gguf";
    const vise_layout *layout = name != NULL ? vise_layout_find(name) : NULL;
    size_t kept = 0;
    for (size_t c = 0; layout != NULL && budget->found && c < budget->count; c++) {
        enum { SIDE = 4096 }; /* divides into whatever groups there are */
        const vise_spelling any = {.module = "any",
                                   .name = "any.weight",
                                   .rows = SIDE,
                                   .cols = SIDE,
                                   .dtype = vise_model_dtype(plan->model),
                                   .scheme = budget->candidates[c],
                                   .scale_dtype = vise_model_dtype(plan->model),
                                   .is_linear = true};
        vise_part parts[VISE_PARTS_MAX];
        int n;
        vise_error why = {0};
        const vise_status status = layout->spell(&any, parts, &n, &why);
        if (status == VISE_OK)
            budget->candidates[kept++] = budget->candidates[c];
        else if (status != VISE_EUNSUPPORTED)
            return VISE_FAIL(err, status, "%s", why.message);
        else if (kept == 0 && c + 1 == budget->count)
            return VISE_FAIL(err, status, "a target: no candidate fits: %s", why.message);
    }
    if (layout != NULL && budget->found)
        budget->count = kept;
    return VISE_OK;
}

static vise_status open_budget(vise_plan *plan, vise_pass_run *run, vise_error *err)
{
    run->budget = (vise_budget){.bits = NAN, .bytes = VISE_UNSET_SIZE};
    if (run->pass->budget == NULL)
        return VISE_OK;
    VISE_TRY(run->pass->budget(run->config, plan->arena, &run->budget, err));
    if (run->budget.count == 0)
        return VISE_OK;
    VISE_TRY(keep_held(plan, &run->budget, err));
    if (plan->budgeted != NULL)
        return VISE_FAIL(err, VISE_EUSAGE, "two passes have a target; a run holds one");
    if (run->method->trial == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "--method %s does not measure what a scheme costs; use gptq or rtn",
                         run->method->name);
    VISE_TRY(need_text(plan, run, "with a target", err));
    plan->budgeted = run;
    return VISE_OK;
}

/* What is measured lies inside the blocks, where calibration sees its input. */
static vise_status plan_survey(vise_plan *plan, const vise_pass_run *run, vise_error *err)
{
    for (size_t i = 0; i < plan->count; i++) {
        const vise_bound *bound = &plan->model->bound[i];
        if (!run->measured[i])
            continue;
        if (bound->layer < 0 || bound->input == VISE_INPUT_NONE)
            return VISE_FAIL(err, VISE_EUSAGE,
                             "%s: a target chooses schemes of linears inside the blocks, whose inputs calibration "
                             "sees; give it one with --set, or exclude it",
                             bound->tensor->module);
        plan->survey_inputs |= 1u << bound->input;
        plan->survey_last = bound->layer > plan->survey_last ? bound->layer : plan->survey_last;
    }
    return VISE_OK;
}

/* A static scale of inputs comes from the walk over the blocks. */
static vise_status plan_input_scale(vise_plan *plan, const vise_pass_run *run, size_t index, vise_error *err)
{
    const vise_bound *bound = &plan->model->bound[index];
    VISE_TRY(vise_model_need_forward(plan->model, "calibrating the scales of inputs", err));
    if (!run->calibrated || bound->layer < 0 || bound->input == VISE_INPUT_NONE)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s: its inputs have a calibrated scale, which calibration text gives to linears inside the "
                         "blocks alone",
                         bound->tensor->module);
    plan->needs |= VISE_STAT_LARGEST;
    return VISE_OK;
}

/* Whether the walk over the blocks shows the inputs whose outliers the report counts. */
static bool counts_outliers(const vise_plan *plan, const vise_pass_run *run, const vise_planned *planned)
{
    return planned->outlier_threshold > 0.0 && run->calibrated && planned->bound->layer >= 0 &&
           planned->bound->input != VISE_INPUT_NONE &&
           vise_model_need_forward(plan->model, "counting outliers", &(vise_error){0}) == VISE_OK;
}

static vise_status plan_pass(vise_plan *plan, size_t index, const vise_scheme *chosen, vise_error *err)
{
    const vise_request *request = plan->request;
    vise_pass_run *run = &plan->runs[index];
    *run = (vise_pass_run){.pass = request->passes[index].pass,
                           .index = (int)index,
                           .config = request->passes[index].config,
                           .model = plan->model,
                           .planned = plan->planned,
                           .calibrated = request->calibration.path != NULL,
                           .seed = request->seed,
                           .threads = plan->threads,
                           .chosen = chosen,
                           .arena = plan->arena};
    plan->n_runs = index + 1;
    VISE_TRY(vise_arena_take(plan->arena, plan->count * sizeof(bool) + 1, (void **)&run->selected, err));
    VISE_TRY(vise_arena_take(plan->arena, plan->count * sizeof(bool) + 1, (void **)&run->measured, err));
    VISE_TRY(run->pass->choose(run->config, run->calibrated, &run->method, err));
    run->needs = run->method->needs;
    if (run->needs != 0) {
        char what[64];
        snprintf(what, sizeof what, "--method %s", run->method->name);
        VISE_TRY(need_text(plan, run, what, err));
    }
    VISE_TRY(open_budget(plan, run, err));
    VISE_TRY(select_targets(plan, run, err));
    VISE_TRY(run->method->plan(run, err));
    if (plan->budgeted == run)
        VISE_TRY(plan_survey(plan, run, err));
    if (run->method->group != NULL) {
        VISE_TRY(check_calibrated_targets(plan, run, err));
        plan->needs |= run->needs;
    }
    for (size_t i = 0; i < plan->count; i++) {
        const vise_bound *bound = &plan->model->bound[i];
        const vise_planned *planned = &plan->planned[i];
        const bool scaled = planned->scheme.type != NULL && vise_scheme_needs_calibration(&planned->scheme);
        const bool counted = counts_outliers(plan, run, planned);
        if ((planned->passes >> index & 1) == 0 || (run->method->group == NULL && !scaled && !counted))
            continue;
        if (scaled)
            VISE_TRY(plan_input_scale(plan, run, i, err));
        if (counted)
            plan->needs |= VISE_STAT_LARGEST;
        if (bound->input == VISE_INPUT_NONE)
            continue;
        plan->inputs |= 1u << bound->input;
        if (bound->layer > plan->last_calibrated)
            plan->last_calibrated = bound->layer;
    }
    return VISE_OK;
}

/* Float weights that go through a calibrated solver, which would fill the zeros of a pruned model again. */
static void find_sparse(vise_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        vise_planned *planned = &plan->planned[i];
        for (size_t p = 0; p < plan->n_runs; p++)
            if (plan->runs[p].method->group != NULL && (planned->passes >> p & 1) != 0 && planned->bound->layer >= 0)
                planned->may_be_sparse = !planned->masked && planned->bound->tensor->scheme.type == NULL;
    }
}

/* ---- layout and spelling --------------------------------------------------------------------------- */

static vise_status layout_by_name(const char *name, const vise_layout **layout, vise_error *err)
{
    *layout = vise_layout_find(name);
    if (*layout != NULL)
        return VISE_OK;
    size_t n;
    const vise_layout *const *rows = vise_layouts(&n);
    const char *names[16];
    size_t n_names = n < 16 ? n : 16;
    for (size_t i = 0; i < n_names; i++)
        names[i] = rows[i]->name;
    const char *near = vise_nearest(name, names, n_names);
    return VISE_FAIL(err, VISE_EUSAGE, "unknown layout \"%s\"%s%s; vise inspect --layouts lists them", name,
                     near != NULL ? "; did you mean " : "", near != NULL ? near : "");
}

bool vise_output_is_file(const vise_output *output)
{
    return ends_with(output->path, ".safetensors") || ends_with(output->path, ".gguf");
}

static vise_status choose_layout(vise_plan *plan, vise_error *err)
{
    const vise_output *output = &plan->output;
    if (output->path != NULL && ends_with(output->path, ".gguf")) {
        if (output->layout != NULL && strcmp(output->layout, "gguf") != 0)
            return VISE_FAIL(err, VISE_EUSAGE, "%s: a .gguf file is of layout gguf, not %s", output->path,
                             output->layout);
        return layout_by_name("gguf", &plan->layout, err);
    }
    if (output->layout != NULL)
        return layout_by_name(output->layout, &plan->layout, err);
    plan->layout = vise_store_layout(plan->model->store);
    const char *chosen = NULL, *module = NULL;
    bool any = plan->cache.type != NULL && !plan->cache.made;
    for (size_t i = 0; i < plan->count; i++) {
        const vise_planned *planned = &plan->planned[i];
        any = any || planned->scheme.type != NULL;
        if (planned->scheme.type == NULL || planned->carried)
            continue;
        const char *wanted = planned->scheme.type->default_layout;
        if (chosen != NULL && strcmp(chosen, wanted) != 0)
            return VISE_FAIL(err, VISE_EUSAGE,
                             "%s goes to layout %s by default and %s to %s; choose one with --layout", module,
                             chosen, planned->bound->tensor->module, wanted);
        chosen = wanted;
        module = planned->bound->tensor->module;
    }
    if (chosen != NULL)
        return layout_by_name(chosen, &plan->layout, err);
    /* What comes out of a GGUF file is a folder for transformers, unless something else is asked for. */
    const bool from_gguf = vise_source_gguf(vise_store_source(plan->model->store)) != NULL;
    if (any && !from_gguf)
        return VISE_OK;
    return layout_by_name(plan->cache.made ? "compressed-tensors" : "safetensors", &plan->layout, err);
}

static void warn_of_floats(const vise_plan *plan)
{
    const char *layout = plan->output.layout;
    bool any = plan->cache.type != NULL;
    for (size_t i = 0; i < plan->count; i++)
        any = any || plan->planned[i].scheme.type != NULL;
    if (!any && layout != NULL && strcmp(layout, "safetensors") != 0 && strcmp(layout, "gguf") != 0)
        vise_warn("layout %s: no weight is quantized, and the output holds floats as layout safetensors does; "
                  "vise quant --scheme S --layout %s quantizes",
                  layout, layout);
}

/* A name that two types have, mxfp4, means GGUF's in that layout. */
static void take_gguf_types(vise_plan *plan)
{
    size_t n;
    const vise_weight_type *types = vise_weight_types(&n);
    for (size_t i = 0; i < plan->count; i++) {
        vise_scheme *scheme = &plan->planned[i].scheme;
        if (scheme->type == NULL || scheme->type->codebook == NULL || plan->planned[i].carried)
            continue;
        for (size_t t = 0; t < n; t++)
            if (types[t].blocks != NULL && strcmp(types[t].name, scheme->type->name) == 0 && scheme->activation == NULL)
                *scheme = (vise_scheme){
                    .type = &types[t], .granularity = types[t].default_granularity, .group = types[t].default_group};
    }
}

/* To loaders. What stands beside the text in a model of several parts has no roles; it is told by its shape. */
static bool is_linear(const vise_model *model, const vise_bound *bound)
{
    if (bound->role == VISE_ROLE_UNKNOWN && model->arch != NULL && model->arch->text != NULL)
        return bound->tensor->ndim == 2 && bound->tensor->module != bound->tensor->name;
    return bound->is_linear || vise_role_is_router(bound->role);
}

static vise_spelling spelling_of(const vise_plan *plan, const vise_planned *planned, const vise_scheme *scheme)
{
    const vise_logical *tensor = planned->bound->tensor;
    return (vise_spelling){.module = tensor->module,
                           .name = tensor->name,
                           .rows = tensor->rows,
                           .cols = tensor->cols,
                           .dtype = planned->dtype,
                           .scheme = *scheme,
                           .is_linear = is_linear(plan->model, planned->bound)};
}

vise_status vise_plan_bytes_as(const vise_plan *plan, size_t index, const vise_scheme *scheme, uint64_t *bytes,
                               vise_error *err)
{
    const vise_spelling spelling = spelling_of(plan, &plan->planned[index], scheme);
    vise_part parts[VISE_PARTS_MAX];
    int n;
    VISE_TRY(plan->layout->spell(&spelling, parts, &n, err));
    *bytes = 0;
    for (int p = 0; p < n; p++)
        *bytes += parts[p].bytes;
    return VISE_OK;
}

/* Adds to a layout's refusal what would do: other layouts, or none of it. */
static void add_remedy(const vise_plan *plan, const vise_planned *planned, const vise_spelling *spelling,
                       vise_error *err)
{
    char list[160] = "";
    size_t n, length = 0;
    const vise_layout *const *rows = vise_layouts(&n);
    for (size_t i = 0; i < n; i++) {
        vise_part parts[VISE_PARTS_MAX];
        int n_parts;
        if (rows[i] == plan->layout || rows[i]->spell(spelling, parts, &n_parts, NULL) != VISE_OK)
            continue;
        const int more = snprintf(list + length, sizeof list - length, "%s%s", length > 0 ? " or " : "", rows[i]->name);
        length += more > 0 && (size_t)more < sizeof list - length ? (size_t)more : 0;
    }
    vise_error_add(err, length > 0 ? "; use layout " : "; no layout holds it");
    vise_error_add(err, list);
    vise_error_add(err, planned->carried ? ", or --dequantize" : ", or exclude it");
}

static vise_status spell_weight(vise_plan *plan, size_t index, vise_error *err)
{
    vise_planned *planned = &plan->planned[index];
    const vise_logical *tensor = planned->bound->tensor;
    vise_spelling *spelling = &plan->spelling[index];
    vise_planned_parts *parts = &plan->parts[index];
    *spelling = spelling_of(plan, planned, &planned->scheme);
    /* Configurations tell modules by the names that the class has. */
    if (plan->model->arch != NULL && plan->model->arch->text != NULL)
        VISE_TRY(vise_model_class_name(plan->model, planned->bound, tensor->module, plan->arena, &spelling->module,
                                       err));
    if (planned->scheme.type != NULL && tensor->transposed && plan->gguf == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s: is a Conv1D, stored [in, out]; loaders know no quantized Conv1D in layout %s, so a "
                         "quantized one could not be loaded. Prune or cast it, or exclude it from quantization",
                         tensor->module, plan->layout->name);
    if (planned->carried && tensor->found != NULL)
        spelling->group_of = tensor->found->group_of;
    const vise_dtype fixed = plan->layout->scale_dtype;
    planned->scale_dtype = planned->carried || fixed == VISE_DTYPE_COUNT ? planned->dtype : fixed;
    spelling->scale_dtype =
        planned->carried && tensor->found != NULL ? tensor->found->scale_dtype : planned->scale_dtype;
    if (planned->scheme.type != NULL) {
        const vise_status status = plan->layout->spell(spelling, parts->parts, &parts->n_parts, err);
        if (status == VISE_EUNSUPPORTED)
            add_remedy(plan, planned, spelling, err);
        return status;
    }
    if (vise_plan_cache_drops(plan, index)) {
        parts->n_parts = 0;
        return VISE_OK;
    }
    parts->n_parts = 1;
    uint64_t bytes;
    if (!vise_dtype_bytes(planned->dtype, tensor->elements, &bytes))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: its size overflows", tensor->name);
    parts->parts[0] = (vise_part){.suffix = "", .dtype = planned->dtype, .bytes = bytes};
    return VISE_OK;
}

/* A tied head stores nothing, but loaders see a Linear: the layout's configuration must say that it is left alone. */
static void spell_tied_head(vise_plan *plan)
{
    const vise_model *model = plan->model;
    plan->n_spelling = plan->count;
    for (size_t r = 0; model->tied && r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (row->role != VISE_ROLE_HEAD || !vise_arch_row_applies(row, &model->config, -1))
            continue;
        vise_spelling *head = &plan->spelling[plan->n_spelling++];
        *head = plan->spelling[vise_model_role(model, VISE_ROLE_EMBEDDING, -1)];
        head->module = row->module;
        head->name = row->module;
        head->is_linear = true;
    }
}

/* Vision towers were "vision_tower.vision_model." when most files were written; classes have left the second part out
 * since. Configurations tell what is left alone by both names. */
static vise_status spell_shorter(vise_plan *plan, vise_error *err)
{
    static const char part[] = "vision_model.";
    for (size_t i = 0; i < plan->count; i++) {
        const vise_spelling *spelling = &plan->spelling[i];
        const char *at = strstr(spelling->module, part);
        if (plan->model->bound[i].role != VISE_ROLE_UNKNOWN || !spelling->is_linear || at == NULL)
            continue;
        vise_spelling *shorter = &plan->spelling[plan->n_spelling++];
        *shorter = *spelling;
        VISE_TRY(vise_arena_strfmt(plan->arena, &shorter->module, err, "%.*s%s", (int)(at - spelling->module),
                                   spelling->module, at + strlen(part)));
    }
    return VISE_OK;
}

/* What the layout's configuration cannot say is refused before work. */
static vise_status check_layout_config(const vise_plan *plan, vise_error *err)
{
    vise_buf text;
    vise_buf_init(&text, (size_t)64 << 20);
    vise_status status = plan->layout->config(plan->spelling, plan->n_spelling, &text, err);
    vise_buf_deinit(&text);
    return status;
}

static int section_of(const vise_plan *plan, size_t index)
{
    const vise_bound *bound = &plan->model->bound[index];
    if (bound->layer >= 0)
        return 1 + bound->layer;
    return vise_role_after_blocks(bound->role) ? 1 + (int)plan->model->config.layers : 0;
}

/* Counting sort by section; file order within one. Layers of unknown families may exceed the configuration's.
 */
static vise_status order_tensors(vise_plan *plan, vise_error *err)
{
    int last = 1 + (int)plan->model->config.layers;
    for (size_t i = 0; i < plan->count; i++)
        last = section_of(plan, i) > last ? section_of(plan, i) : last;
    size_t *start;
    VISE_TRY(vise_arena_take(plan->arena, ((size_t)last + 2) * sizeof *start, (void **)&start, err));
    for (size_t i = 0; i < plan->count; i++)
        start[section_of(plan, i) + 1]++;
    for (int s = 0; s <= last; s++)
        start[s + 1] += start[s];
    for (size_t i = 0; i < plan->count; i++)
        plan->order[start[section_of(plan, i)]++] = i;
    return VISE_OK;
}

vise_status vise_plan_declare(vise_plan *plan, vise_sink *sink, vise_error *err)
{
    if (plan->gguf != NULL)
        return vise_plan_declare_gguf(plan, sink, err);
    for (size_t k = 0; k < plan->count; k++) {
        size_t i = plan->order[k];
        const vise_logical *tensor = plan->planned[i].bound->tensor;
        vise_planned_parts *parts = &plan->parts[i];
        for (int p = 0; p < parts->n_parts; p++) {
            const vise_part *part = &parts->parts[p];
            if (plan->planned[i].scheme.type == NULL) {
                VISE_TRY(vise_sink_declare(sink, tensor->name, part->dtype, tensor->ndim, tensor->shape,
                                           (int)k, &parts->ids[p], err));
                continue;
            }
            char *name;
            VISE_TRY(vise_strfmt(&name, err, "%s%s", tensor->module, part->suffix));
            vise_status status = vise_sink_declare(sink, name, part->dtype, part->ndim, part->shape, (int)k,
                                                   &parts->ids[p], err);
            vise_free(name);
            VISE_TRY(status);
        }
        const int layer = plan->model->bound[i].layer;
        if (layer >= 0 && (k + 1 == plan->count || plan->model->bound[plan->order[k + 1]].layer != layer))
            VISE_TRY(vise_plan_cache_declare(plan, layer, sink, err));
    }
    return VISE_OK;
}

uint64_t vise_plan_stored_bytes(const vise_plan *plan, size_t index)
{
    uint64_t bytes = 0;
    for (int p = 0; p < plan->parts[index].n_parts; p++)
        bytes += plan->parts[index].parts[p].bytes;
    return bytes;
}

static vise_status plan_bytes(vise_plan *plan, vise_error *err)
{
    const vise_source *source = vise_store_source(plan->model->store);
    for (size_t i = 0; i < vise_source_files(source); i++)
        plan->bytes_before += vise_source_file_at(source, i)->bytes;
    vise_sink *sink;
    VISE_TRY(vise_sink_dry(plan->output.max_shard_bytes, plan->packed, vise_plan_gguf_values(plan), &sink, err));
    vise_status status = vise_plan_declare(plan, sink, err);
    if (status == VISE_OK)
        status = vise_sink_seal(sink, err);
    for (size_t s = 0; status == VISE_OK && s < vise_sink_shards(sink); s++) {
        uint64_t bytes;
        vise_sink_shard(sink, s, &bytes);
        plan->bytes_after += bytes;
    }
    vise_sink_close(sink, true);
    return status;
}

/* ---- the whole
 * ----------------------------------------------------------------------------------------------------------
 */

static vise_status window_length(const vise_plan *plan, const vise_text_source *text, size_t *length, vise_error *err)
{
    vise_window_options options;
    VISE_TRY(vise_text_windows(text, plan->model->config.max_positions, 0, &options, err));
    *length = options.length;
    return VISE_OK;
}

static vise_status check_request(const vise_plan *plan, vise_error *err)
{
    const vise_request *request = plan->request;
    const vise_text_source *texts[] = {&request->calibration, &request->evaluation};
    for (size_t i = 0; i < 2; i++) {
        int64_t length = texts[i]->length;
        if (texts[i]->path == NULL || length == VISE_UNSET_INT)
            continue;
        if (length < 2)
            return VISE_FAIL(err, VISE_EUSAGE,
                             "windows of %lld tokens predict nothing; --length must be at least 2",
                             (long long)length);
        if (plan->model->config.position == VISE_POSITION_LEARNED && length > plan->model->config.max_positions)
            return VISE_FAIL(
                err, VISE_EUSAGE,
                "windows of %lld tokens are longer than the model's %lld positions; give a smaller --length",
                (long long)length, (long long)plan->model->config.max_positions);
    }
    if (request->evaluation.path != NULL)
        VISE_TRY(vise_model_need_tokens(plan->model, "evaluation", err));
    return VISE_OK;
}

static vise_status open_model(vise_plan *plan, vise_error *err)
{
    const vise_request *request = plan->request;
    for (size_t i = 0; i < request->n_passes; i++)
        if (request->passes[i].pass->output != NULL)
            VISE_TRY(request->passes[i].pass->output(request->passes[i].config, &plan->output, err));
    if (plan->output.rotation == VISE_ROTATE_NOT)
        return vise_model_open(request->input, &plan->model, err);
    VISE_TRY(vise_model_open_untied(request->input, &plan->model, err));
    return vise_rotate(plan->model, plan->output.rotation, request->seed, err);
}

static vise_status plan_units(vise_plan *plan, vise_error *err)
{
    const int64_t samples = plan->request->calibration.samples;
    VISE_TRY(vise_units_make(plan, err));
    plan->probe_windows = vise_survey_probe_windows(samples == VISE_UNSET_INT ? 128 : (size_t)samples,
                                                    plan->calibration_length, plan->units->count);
    return VISE_OK;
}

static vise_status make(vise_plan *plan, const vise_scheme *chosen, vise_error *err)
{
    const vise_request *request = plan->request;
    VISE_TRY(vise_arena_new(&plan->arena, err));
    if (request->n_passes > VISE_PASSES_MAX)
        return VISE_FAIL(err, VISE_EUSAGE, "%zu passes; a run takes at most %d", request->n_passes,
                         VISE_PASSES_MAX);
    VISE_TRY(open_model(plan, err));
    plan->count = plan->model->count;
    vise_scheme *kept = NULL;
    if (chosen != NULL) {
        VISE_TRY(vise_arena_take(plan->arena, (plan->count + 1) * sizeof *kept, (void **)&kept, err));
        memcpy(kept, chosen, plan->count * sizeof *kept);
    }
    plan->threads = request->threads > 0 ? request->threads : vise_cpu_usable_cores();
    plan->last_calibrated = plan->survey_last = -1;
    plan->target.reached = plan->target.kl = NAN;
    size_t n = plan->count + 1;
    VISE_TRY(vise_arena_take(plan->arena, n * sizeof *plan->planned, (void **)&plan->planned, err));
    VISE_TRY(vise_arena_take(plan->arena, n * sizeof *plan->parts, (void **)&plan->parts, err));
    VISE_TRY(vise_arena_take(plan->arena, (2 * n + 1) * sizeof *plan->spelling, (void **)&plan->spelling, err));
    VISE_TRY(vise_arena_take(plan->arena, n * sizeof *plan->order, (void **)&plan->order, err));
    VISE_TRY(check_request(plan, err));
    VISE_TRY(window_length(plan, &request->calibration, &plan->calibration_length, err));
    VISE_TRY(window_length(plan, &request->evaluation, &plan->evaluation_length, err));
    plan_input(plan);
    for (size_t i = 0; i < request->n_passes; i++)
        VISE_TRY(plan_pass(plan, i, kept, err));
    VISE_TRY(vise_scaling_plan(plan, err));
    VISE_TRY(vise_plan_cache(plan, err));
    find_sparse(plan);
    VISE_TRY(choose_layout(plan, err));
    if (chosen == NULL)
        warn_of_floats(plan);
    VISE_TRY(vise_plan_cache_layout(plan, err));
    if (strcmp(plan->layout->name, "gguf") == 0) {
        take_gguf_types(plan);
        VISE_TRY(vise_plan_gguf(plan, err));
    } else if (plan->output.leave_out.count > 0) {
        return VISE_FAIL(err, VISE_EUSAGE, "--leave-out is for layout gguf; layout %s holds every tensor",
                         plan->layout->name);
    }
    for (size_t i = 0; i < plan->count; i++)
        VISE_TRY(spell_weight(plan, i, err));
    spell_tied_head(plan);
    if (plan->model->arch != NULL && plan->model->arch->text != NULL)
        VISE_TRY(spell_shorter(plan, err));
    if (plan->cache.type != NULL) /* one stands for the scales of all layers */
        plan->spelling[plan->n_spelling++] =
            (vise_spelling){.module = "k_scale", .name = "k_scale", .rows = 1, .cols = 1, .cache = plan->cache.type};
    VISE_TRY(check_layout_config(plan, err));
    plan->packed = plan->output.pack ||
                   (vise_source_is_packed(vise_store_source(plan->model->store)) && !plan->output.unpack &&
                    plan->gguf == NULL);
    VISE_TRY(order_tensors(plan, err));
    VISE_TRY(plan_bytes(plan, err));
    if (plan->budgeted != NULL && chosen == NULL)
        VISE_TRY(plan_units(plan, err));
    VISE_TRY(vise_runtime_check(plan, err));
    vise_plan_count_operations(plan);
    vise_plan_measure_memory(plan);
    return VISE_OK;
}

vise_status vise_plan_make(const vise_request *request, vise_plan **out, vise_error *err)
{
    return vise_plan_make_chosen(request, NULL, out, err);
}

vise_status vise_plan_make_chosen(const vise_request *request, const vise_scheme *chosen, vise_plan **out,
                                  vise_error *err)
{
    vise_plan *plan;
    VISE_TRY(vise_calloc(1, sizeof *plan, (void **)&plan, err));
    plan->request = request;
    plan->output = request->output;
    vise_status status = make(plan, chosen, err);
    if (status != VISE_OK) {
        vise_plan_free(plan);
        plan = NULL;
    }
    *out = plan;
    return status;
}

void vise_plan_free(vise_plan *plan)
{
    if (plan == NULL)
        return;
    vise_plan_free_gguf(plan);
    vise_model_close(plan->model);
    vise_arena_free(plan->arena);
    vise_free(plan);
}
