#include "pipeline/runtime.h"

#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "pipeline/units.h"

enum { TRANSFORMERS = 1, VLLM = 2, LLAMA_CPP = 4 };

static const struct runtime {
    const char *name;
    unsigned bit;
    const char *layouts; /* that it loads, each between spaces */
    const char *remedy;  /* which to use instead */
} runtimes[] = {
    {"transformers", TRANSFORMERS,
     " compressed-tensors fp8 gptq gptq-v2 awq bitsandbytes gguf safetensors ", "compressed-tensors"},
    {"vllm", VLLM, " compressed-tensors fp8 gptq gptq-v2 awq bitsandbytes gguf safetensors ", "compressed-tensors"},
    {"llama.cpp", LLAMA_CPP, " gguf ", "gguf"},
};

#define DETAIL_MAX 256

/* ---- rules for one weight ---------------------------------------------------------------------------------------- */

static bool is_in(const vise_plan *plan, const char *layout)
{
    return strcmp(plan->layout->name, layout) == 0;
}

/* Integers alone, which matrix kernels unpack: no quantized inputs. */
static bool is_packed_integer(const vise_plan *plan, const vise_scheme *scheme)
{
    return scheme->type != NULL && scheme->type->blocks == NULL && scheme->type->codebook == NULL &&
           scheme->activation == NULL &&
           (is_in(plan, "compressed-tensors") || is_in(plan, "gptq") || is_in(plan, "gptq-v2") || is_in(plan, "awq"));
}

static bool is_expert(const vise_bound *bound)
{
    return bound->input >= VISE_INPUT_EXPERT && bound->input < VISE_INPUT_COUNT && !bound->is_bias;
}

static bool is_asymmetric_packed(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    (void)index;
    (void)detail;
    return is_in(plan, "compressed-tensors") && is_packed_integer(plan, scheme) && scheme->asym;
}

static bool is_asymmetric_odd(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    return is_asymmetric_packed(plan, index, scheme, detail) && scheme->type->bits != 4 && scheme->type->bits != 8;
}

static bool is_asymmetric_expert(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    return is_expert(&plan->model->bound[index]) && is_asymmetric_packed(plan, index, scheme, detail);
}

static bool is_few_bits(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    (void)index;
    (void)detail;
    return is_in(plan, "compressed-tensors") && is_packed_integer(plan, scheme) && scheme->type->bits != 4 &&
           scheme->type->bits != 8;
}

/* Roles that become rows of one matrix. */
static bool are_fused(const vise_bound *a, const vise_bound *b)
{
    static const vise_role sets[][3] = {{VISE_ROLE_Q, VISE_ROLE_K, VISE_ROLE_V},
                                        {VISE_ROLE_GATE, VISE_ROLE_UP, VISE_ROLE_UP}};
    if (a->layer < 0 || a->layer != b->layer || a->is_bias || b->is_bias)
        return false;
    for (size_t s = 0; s < sizeof sets / sizeof sets[0]; s++) {
        bool has_a = false, has_b = false;
        for (size_t r = 0; r < 3; r++) {
            has_a = has_a || sets[s][r] == a->role;
            has_b = has_b || sets[s][r] == b->role;
        }
        if (has_a && has_b)
            return true;
    }
    return false;
}

static bool are_experts(const vise_bound *a, const vise_bound *b)
{
    return a->layer == b->layer && is_expert(a) && is_expert(b);
}

static bool differs_from_fused(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    const bool open = plan->units != NULL && plan->budgeted->measured[index];
    if (plan->gguf != NULL || open) /* a budget gives what is fused one scheme, unless it was told to let it go */
        return false;
    for (size_t j = 0; j < index; j++) {
        const vise_scheme *other = &plan->planned[j].scheme;
        const vise_bound *a = &plan->model->bound[j], *b = &plan->model->bound[index];
        if (!(are_fused(a, b) || are_experts(a, b)) || vise_scheme_equal(other, scheme))
            continue;
        char text[VISE_SCHEME_TEXT_MAX];
        snprintf(detail, DETAIL_MAX, " (%.120s is %s)", plan->model->bound[j].tensor->module,
                 vise_scheme_text(other, text));
        return true;
    }
    return false;
}

/* Marlin's tiles; what is fused counts together. */
static bool has_odd_rows(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    enum { TILE = 64 };
    int64_t rows = 0;
    if (!is_packed_integer(plan, scheme))
        return false;
    for (size_t j = 0; j < plan->count; j++)
        if (j == index || are_fused(&plan->model->bound[j], &plan->model->bound[index]))
            rows += plan->model->bound[j].tensor->rows;
    snprintf(detail, DETAIL_MAX, " (%lld)", (long long)rows);
    return rows % TILE != 0;
}

static bool has_odd_fp8_rows(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    enum { SIDE = 128 };
    const int64_t cols = plan->model->bound[index].tensor->cols;
    snprintf(detail, DETAIL_MAX, " (%lld)", (long long)cols);
    return scheme->type != NULL && scheme->granularity == VISE_PER_BLOCK && cols % SIDE != 0;
}

static bool has_cut_blocks(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    const int64_t cols = plan->model->bound[index].tensor->cols;
    snprintf(detail, DETAIL_MAX, " (%lld)", (long long)cols);
    return is_in(plan, "bitsandbytes") && scheme->type != NULL && scheme->type->codebook != NULL && scheme->group > 0 &&
           cols % scheme->group != 0;
}

/* transformers stacks the experts of a block in memory, decoding them while it loads. */
static bool has_odd_expert(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    const vise_bound *bound = &plan->model->bound[index];
    if (!is_in(plan, "compressed-tensors") || !is_expert(bound))
        return false;
    for (size_t j = 0; j < plan->count; j++) {
        const vise_scheme *other = &plan->planned[j].scheme;
        char text[VISE_SCHEME_TEXT_MAX];
        /* It takes one scheme for the experts of all blocks, and floats only where nothing is quantized. */
        if (scheme->type != NULL ? !is_expert(&plan->model->bound[j]) || vise_scheme_equal(other, scheme)
                                 : other->type == NULL)
            continue;
        snprintf(detail, DETAIL_MAX, " (%.120s is %s)", plan->model->bound[j].tensor->module,
                 other->type == NULL ? "a float" : vise_scheme_text(other, text));
        return true;
    }
    return false;
}

static bool has_integer_expert(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    (void)detail;
    return is_in(plan, "compressed-tensors") && is_expert(&plan->model->bound[index]) && scheme->type != NULL &&
           ((scheme->type->codebook == NULL && scheme->activation != NULL) ||
            strcmp(scheme->type->name, "mxfp8") == 0);
}

static bool has_flat_expert(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    (void)detail;
    return is_in(plan, "bitsandbytes") && is_expert(&plan->model->bound[index]) && scheme->type != NULL;
}

static bool is_read_by_the_model(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail)
{
    (void)detail;
    return is_in(plan, "compressed-tensors") && scheme->type != NULL && plan->model->bound[index].layer >= 0 &&
           plan->model->model_type != NULL && strcmp(plan->model->model_type, "falcon") == 0;
}

static const struct rule {
    const char *name;
    unsigned runtimes;
    bool refused; /* else warned of */
    bool (*broken)(const vise_plan *plan, size_t index, const vise_scheme *scheme, char *detail);
    const char *what, *remedy;
} rules[] = {
    {"asymmetric", TRANSFORMERS, true, is_asymmetric_packed,
     "compressed-tensors gives packed zero points a wrong shape while loading",
     "use a symmetric scheme, or layout gptq"},
    {"asymmetric bits", VLLM, true, is_asymmetric_odd, "asymmetric weights have 4 or 8 bits",
     "use a symmetric scheme, or 4 or 8 bits"},
    {"asymmetric experts", VLLM, true, is_asymmetric_expert, "experts are symmetric", "use a symmetric scheme"},
    {"fused", VLLM, true, differs_from_fused, "q, k and v, gate and up, and experts are fused and need one scheme",
     "give them one with --set, or leave out all of them"},
    {"rows", VLLM, true, has_odd_rows, "kernels take rows of weights, what is fused together, by 64",
     "exclude it, or choose a scheme with quantized inputs (int8-channel+int8-token)"},
    {"block columns", VLLM, true, has_odd_fp8_rows, "kernels for blocks take columns by 128",
     "exclude it, or use fp8-e4m3-channel+fp8-e4m3-token"},
    {"experts' schemes", TRANSFORMERS, true, has_odd_expert,
     "it decodes the experts of all blocks by one scheme, and none is left out", "give them one with --set"},
    {"experts' inputs", TRANSFORMERS, true, has_integer_expert,
     "of experts it decodes packed integers, fp8, mxfp4 and nvfp4", "use a scheme without quantized inputs for them"},
    {"flat experts", TRANSFORMERS, true, has_flat_expert,
     "bitsandbytes does not know experts, which are no linears there",
     "exclude them, or use layout compressed-tensors"},
    {"Falcon", TRANSFORMERS, true, is_read_by_the_model,
     "its Falcon multiplies by weights itself, where compressed-tensors decodes them in linears it knows",
     "use layout gguf, or --target vllm"},
    {"bits", VLLM, false, is_few_bits, "versions before 2026 load 4 and 8 bits alone",
     "use 4 or 8 bits for older ones"},
    {"block rows", TRANSFORMERS, false, has_cut_blocks,
     "bitsandbytes runs 4-bit rows that are not whole blocks on GPUs alone", "exclude it to run it on a CPU"},
};

static vise_status hold_against(const vise_plan *plan, const struct runtime *runtime, size_t index,
                                const vise_scheme *scheme, bool *warned, vise_error *err)
{
    const bool wanted = plan->output.runtime != NULL;
    for (size_t r = 0; r < sizeof rules / sizeof rules[0]; r++) {
        char detail[DETAIL_MAX] = "", text[VISE_SCHEME_TEXT_MAX];
        const struct rule *rule = &rules[r];
        const bool refuses = rule->refused && wanted;
        if ((rule->runtimes & runtime->bit) == 0 || (!refuses && warned[r]) || (!rule->refused && !wanted) ||
            !rule->broken(plan, index, scheme, detail))
            continue;
        const char *module = plan->model->bound[index].tensor->module;
        if (refuses)
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s as %s would not load in %s: %s%s; %s", module,
                             vise_scheme_text(scheme, text), runtime->name, rule->what, detail, rule->remedy);
        warned[r] = true;
        vise_warn("%s as %s %s not load in %s: %s%s; %s", module, vise_scheme_text(scheme, text),
                  rule->refused ? "would" : "may", runtime->name, rule->what, detail, rule->remedy);
    }
    return VISE_OK;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

static bool loads(const struct runtime *runtime, const vise_plan *plan)
{
    char layout[64];
    snprintf(layout, sizeof layout, " %s ", plan->layout->name);
    return strstr(runtime->layouts, layout) != NULL;
}

static vise_status check_layout(const vise_plan *plan, const struct runtime *runtime, vise_error *err)
{
    if (!loads(runtime, plan))
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s does not load layout %s; use --layout %s", runtime->name,
                         plan->layout->name, runtime->remedy);
    if (runtime->bit == VLLM && plan->cache.type != NULL && vise_cache_values(plan->cache.type)->codebook == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "vllm takes scales of its key-value cache for those of fp8; %s%s", plan->cache.type->name,
                         plan->cache.made ? " would be read wrongly: use --kv-scheme fp8-e4m3-tensor"
                                          : " of the input would be read wrongly");
    if (runtime->bit == VLLM && plan->cache.type != NULL && plan->cache.type->by_head)
        vise_warn("%s may not load in vllm: older versions have one scale for all heads; use --kv-scheme "
                  "fp8-e4m3-tensor for them",
                  plan->cache.type->name);
    if (plan->packed)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "%s does not load packed files; leave out --pack, or give --unpack, and pack what is shipped",
                         runtime->name);
    if (plan->units != NULL && plan->budgeted->budget.split && runtime->bit == VLLM)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "vllm fuses q, k and v, and gate and up, and needs one scheme for them; leave out "
                         "--split-fused");
    return VISE_OK;
}

/* Layers for predicting several tokens and the like: carried over, but not known to the family. */
static void warn_of_extras(const vise_plan *plan, const char *runtime)
{
    const vise_bound *first = NULL;
    size_t extras = 0;
    if (plan->model->arch == NULL) {
        if (runtime != NULL)
            vise_warn("this family is not known here: whether %s finds its names is not checked", runtime);
        return;
    }
    for (size_t i = 0; i < plan->count; i++) {
        const vise_bound *bound = &plan->model->bound[i];
        if (bound->role != VISE_ROLE_UNKNOWN || bound->is_bias || bound->tensor->rows < 2)
            continue;
        first = first != NULL ? first : bound;
        extras++;
    }
    if (first != NULL && plan->model->arch->text == NULL)
        vise_warn("%s%s: not among the family's weights; %s may lose or refuse it", first->tensor->name,
                  extras > 1 ? " and others" : "", runtime != NULL ? runtime : "runtimes");
}

static vise_status check_weights(const vise_plan *plan, const struct runtime *runtime, vise_error *err)
{
    bool warned[sizeof rules / sizeof rules[0]] = {false};
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->planned[i].bound->tensor->cols < 1 || plan->planned[i].bound->is_bias)
            continue;
        VISE_TRY(hold_against(plan, runtime, i, &plan->planned[i].scheme, warned, err));
        if (plan->units == NULL || plan->units->of[i] == SIZE_MAX || plan->output.runtime == NULL)
            continue;
        for (size_t c = 0; c < plan->budgeted->budget.count; c++)
            if (plan->units->bytes[plan->units->of[i] * plan->units->candidates + c] != VISE_UNSET_SIZE)
                VISE_TRY(hold_against(plan, runtime, i, &plan->budgeted->budget.candidates[c], warned, err));
    }
    return VISE_OK;
}

static bool writes_schemes(const vise_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++)
        if (plan->planned[i].scheme.type != NULL && !plan->planned[i].carried)
            return true;
    return false;
}

vise_status vise_runtime_check(const vise_plan *plan, vise_error *err)
{
    const char *wanted = plan->output.runtime;
    /* Before a budget has chosen there is nothing yet to warn of. */
    const bool writes = writes_schemes(plan) && plan->units == NULL;
    for (size_t r = 0; r < sizeof runtimes / sizeof runtimes[0]; r++) {
        const struct runtime *runtime = &runtimes[r];
        if (wanted != NULL && strcmp(runtime->name, wanted) != 0)
            continue;
        if (wanted != NULL)
            VISE_TRY(check_layout(plan, runtime, err));
        else if (!writes || !loads(runtime, plan))
            continue;
        VISE_TRY(check_weights(plan, runtime, err));
    }
    if (wanted != NULL || writes)
        warn_of_extras(plan, wanted);
    return VISE_OK;
}
