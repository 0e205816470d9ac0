/* The quant pass: options, choice of method, planning. */
#include "quant/quant.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "pipeline/selector.h"
#include "core/event.h"
#include "quant/awq.h"
#include "quant/imatrix.h"
#include "quant/mixture.h"
#include "quant/rules.h"
#include "tensor/activation_type.h"

static const vise_option quant_options[] = {
    {.name = "scheme",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_quant_config, scheme),
     .value = "SCHEME",
     .help = "what weights become: int4-g128, int8-channel, q8_0, q4_k_m (vise inspect --schemes)"},
    {.name = "method",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_quant_config, method),
     .choices = "rtn|hqq|gptq|awq",
     .value = "METHOD",
     .help = "how codes are chosen: nearest (rtn), nearest on grids searched without text (hqq), with error feedback "
             "(gptq); default: gptq with calibration text, else rtn"},
    {.name = "otherwise",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_quant_config, otherwise),
     .value = "SCHEME",
     .help = "scheme for weights that --scheme cannot hold, or \"float\" to leave them as they are"},
    {.name = "imatrix",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_quant_config, imatrix),
     .value = "FILE",
     .help = "rtn into GGUF types: importance of columns, a file of vise imatrix or llama-imatrix (GGUF or .dat)"},
    {.name = "clip",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_quant_config, clip),
     .choices = "auto|none|mse|signed",
     .initial = "auto",
     .value = "HOW",
     .help = "take the range of each group as it is, shrink it to the least error (mse), or let symmetric scales be "
             "negative too (signed); auto: signed for gptq up to 4 bits, by the output's error for awq, else none"},
    {.name = "sweeps",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_quant_config, sweeps),
     .min = 0,
     .max = 32,
     .value = "N",
     .help = "gptq: visit every weight N times again when all others are known, and fit the scales of groups to the "
             "codes (default: 8 below 4 bits, else 0)"},
    {.name = "damp",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_quant_config, damp),
     .min = 0.0,
     .max = 1.0,
     .initial = "0.05",
     .value = "F",
     .help = "gptq: fraction of the mean diagonal added to the Gram matrix"},
    {.name = "asymmetric",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_quant_config, asymmetric),
     .min = 0.0,
     .max = 1.0,
     .initial = "0",
     .value = "ALPHA",
     .help = "gptq: correct ALPHA of the error that was made upstream: linears come as near as they can to their "
             "outputs in the model as it was, which is walked beside (GPTAQ, arXiv:2504.02692; 0: not, 1: all of it)"},
    {.name = "residual",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_quant_config, residual),
     .min = 0.0,
     .max = 1.0,
     .initial = "0",
     .value = "BETA",
     .help = "gptq with --asymmetric: let linears that add to the residual stream make up for BETA of what it lacks, "
             "too (arXiv:2509.06297)"},
    {.name = "actorder",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_quant_config, actorder),
     .choices = "static|group-aware|none",
     .initial = "static",
     .value = "HOW",
     .help = "gptq: solve columns by falling activation, groups kept in place (static), group after group, by falling "
             "activation within (group-aware), or from left to right (none)"},
    {.name = "range",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_quant_config, range),
     .choices = "auto|original|updated",
     .initial = "auto",
     .value = "OF",
     .help = "gptq: take group ranges from the original weights, or from those updated so far (integers: with "
             "--actorder group-aware or none); auto: updated for GGUF types, else original"},
    VISE_ROTATE_OPTION(offsetof(vise_quant_config, rotate)),
    {.name = "smooth",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_quant_config, smooth),
     .min = 0.0,
     .max = 1.0,
     .initial = "0",
     .value = "ALPHA",
     .help = "first move ALPHA of the inputs' range, channel by channel, into the weights (SmoothQuant): norms, v and "
             "up are divided by what q, k, v, gate, up, o and down are multiplied by; for schemes with quantized "
             "inputs; needs calibration text (0: not, 0.5 is usual)"},
    {.name = "outlier-threshold",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_quant_config, outlier_threshold),
     .min = 0.001,
     .max = 1e6,
     .initial = "6",
     .value = "T",
     .help = "llm-int8 with calibration text: the report counts input columns that reach T, which LLM.int8() leaves in "
             "16 bits (its llm_int8_threshold)"},
    {.name = "kv-scheme",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_quant_config, kv_scheme),
     .choices = "none|fp8-e4m3-tensor|fp8-e4m3-head|int8-tensor|int8-head",
     .initial = "none",
     .value = "SCHEME",
     .help = "give the key-value cache static scales from calibration text, one for all keys of a layer (tensor) or "
             "one for each head, and likewise for values; without --scheme weights stay as they are"},
    {.name = "set",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(vise_quant_config, set),
     .value = "SELECTOR=SCHEME",
     .help = "another scheme for these modules, or \"float\"; may be given again, the last that names a weight counts"},
    {.name = "target-bits",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_quant_config, target_bits),
     .min = 1.0,
     .max = 32.0,
     .value = "B",
     .help = "choose a scheme for every weight by what it costs on the calibration text, so that a weight takes at "
             "most B bits on average, scales included"},
    {.name = "target-size",
     .type = VISE_OPTION_SIZE,
     .offset = offsetof(vise_quant_config, target_size),
     .value = "SIZE",
     .help = "the same, so that all weight files together take at most SIZE before packing"},
    {.name = "candidates",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_quant_config, candidates),
     .value = "S,S,...",
     .help = "the schemes that a target chooses among (default: 2 to 8 bits of the kind that --scheme is of)"},
    {.name = "target",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_quant_config, target),
     .choices = "transformers|vllm|llama.cpp",
     .help = "refuse what this runtime would not load, before work"},
    {.name = "split-fused",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_quant_config, split_fused),
     .help = "let a target give q, k and v, or gate and up, different schemes; runtimes that fuse them, such as vLLM, "
             "will not load that"},
    {.name = "allow-requantize",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_quant_config, allow_requantize),
     .help = "quantize weights that are quantized already"},
    {.name = "include",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(vise_quant_config, include),
     .value = "SELECTOR",
     .help = "quantize only these modules (a glob on module names, or role:NAME); may be given again"},
    {.name = "exclude",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(vise_quant_config, exclude),
     .value = "SELECTOR",
     .help = "do not quantize these modules; may be given again"},
};

static const vise_method *const quant_methods[] = {&vise_method_rtn, &vise_method_hqq, &vise_method_gptq,
                                                  &vise_method_awq, NULL};

int vise_quant_bits(const vise_quant_config *config, int bits)
{
    return vise_quant_has_target(config) ? VISE_QUANT_TARGET_BITS : bits;
}

vise_clip vise_quant_clip(const vise_quant_config *config, const vise_scheme *scheme, bool feedback)
{
    if (strcmp(config->clip, "auto") == 0)
        return feedback && scheme->type->bits <= vise_quant_bits(config, VISE_QUANT_SIGNED_BITS) ? VISE_CLIP_SIGNED
                                                                                                   : VISE_CLIP_NONE;
    return strcmp(config->clip, "signed") == 0 ? VISE_CLIP_SIGNED
           : strcmp(config->clip, "mse") == 0  ? VISE_CLIP_MSE
                                               : VISE_CLIP_NONE;
}

/* Its rows have one scale, of their largest weight: there is nothing to choose but the nearest code. */
static bool is_llm_int8(const char *name)
{
    vise_scheme scheme;
    return name != NULL && vise_scheme_parse(name, &scheme, &(vise_error){0}) == VISE_OK &&
           scheme.type->codebook == &vise_codebook_llm_int8;
}

static vise_status quant_choose(const void *config, bool calibrated, const vise_method **method,
                                vise_error *err)
{
    const vise_quant_config *quant = config;
    if (quant->scheme == NULL && !vise_quant_has_target(quant) && !vise_quant_has_cache(quant))
        return VISE_FAIL(err, VISE_EUSAGE,
                         "quant: give --scheme, such as int4-g128 (vise inspect --schemes lists them)");
    const bool cache_alone = quant->scheme == NULL && !vise_quant_has_target(quant);
    const char *by_default = calibrated && !cache_alone && !is_llm_int8(quant->scheme) ? "gptq" : "rtn";
    const char *name = quant->method != NULL ? quant->method : by_default;
    for (size_t i = 0; quant_methods[i] != NULL; i++) {
        if (strcmp(quant_methods[i]->name, name) != 0)
            continue;
        *method = quant_methods[i];
        return VISE_OK;
    }
    return VISE_FAIL(err, VISE_EUSAGE, "quant: no method \"%s\"; there are rtn, hqq, gptq and awq", name);
}

/* ---- a target ---------------------------------------------------------------------------------------- */

bool vise_quant_has_target(const vise_quant_config *config)
{
    return !isnan(config->target_bits) || config->target_size != VISE_UNSET_SIZE;
}

bool vise_quant_has_cache(const vise_quant_config *config)
{
    return vise_cache_type_find(config->kv_scheme) != NULL;
}

/* What lies on or near the lower hull of loss over bits: all group sizes where a bit more or less matters, and a few
 * wide ones. GGUF's types likewise. */
static const char *default_candidates(const vise_scheme *scheme)
{
    static const char symmetric[] =
        "int2-g128,int2-g64,int2-g32,int3-g128,int3-g64,int3-g32,int4-g128,int4-g64,int4-g32,int4-channel,int5-g128,"
        "int5-g64,int6-g128,int6-g64,int6-channel,int8-g128,int8-channel";
    static const char asymmetric[] =
        "int2-g128-asym,int2-g64-asym,int2-g32-asym,int3-g128-asym,int3-g64-asym,int3-g32-asym,int4-g128-asym,"
        "int4-g64-asym,int4-g32-asym,int4-channel-asym,int5-g128-asym,int5-g64-asym,int6-g128-asym,int6-channel-asym,"
        "int8-g128-asym,int8-channel-asym";
    if (scheme->type->blocks != NULL)
        return "q2_k,q3_k,q4_k,q5_k,q6_k,q4_0,q4_1,q5_0,q5_1,q8_0,iq4_nl,iq4_xs";
    return scheme->asym ? asymmetric : symmetric;
}

static bool is_among(const vise_scheme *schemes, size_t count, const vise_scheme *scheme)
{
    for (size_t i = 0; i < count; i++)
        if (vise_scheme_equal(&schemes[i], scheme))
            return true;
    return false;
}

static vise_status parse_candidates(const char *text, vise_arena *arena, vise_scheme *schemes, size_t *count,
                                    vise_error *err)
{
    while (*text != '\0') {
        const size_t length = strcspn(text, ",");
        const char *name;
        vise_scheme scheme;
        VISE_TRY(vise_arena_strdup(arena, text, length, &name, err));
        VISE_TRY(vise_scheme_parse(name, &scheme, err));
        if (scheme.dq || scheme.type->codebook != NULL)
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "--candidates %s: a target chooses among integers and GGUF's types",
                             name);
        if (!is_among(schemes, *count, &scheme))
            schemes[(*count)++] = scheme;
        text += length + (text[length] == ',');
    }
    return VISE_OK;
}

static vise_status quant_budget(const void *config, vise_arena *arena, vise_budget *budget, vise_error *err)
{
    const vise_quant_config *quant = config;
    const char *name = quant->scheme != NULL ? quant->scheme : "int4-g128";
    vise_scheme scheme, *schemes;
    if (!vise_quant_has_target(quant)) {
        if (quant->candidates != NULL)
            return VISE_FAIL(err, VISE_EUSAGE, "--candidates goes with --target-bits or --target-size");
        return VISE_OK;
    }
    if (!isnan(quant->target_bits) && quant->target_size != VISE_UNSET_SIZE)
        return VISE_FAIL(err, VISE_EUSAGE, "--target-bits and --target-size exclude each other");
    if (vise_mixture_find(name) != NULL)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s fixes what every weight becomes; with a target give a single type (q4_k)",
                         name);
    VISE_TRY(vise_scheme_parse(name, &scheme, err));
    const char *text = quant->candidates != NULL ? quant->candidates : default_candidates(&scheme);
    VISE_TRY(vise_arena_take(arena, (strlen(text) + 2) * sizeof *schemes, (void **)&schemes, err));
    *budget = (vise_budget){.candidates = schemes,
                            .found = quant->candidates == NULL,
                            .split = quant->split_fused,
                            .bits = quant->target_bits,
                            .bytes = quant->target_size};
    VISE_TRY(parse_candidates(text, arena, schemes, &budget->count, err));
    if (quant->candidates == NULL && quant->scheme != NULL && !is_among(schemes, budget->count, &scheme))
        schemes[budget->count++] = scheme;
    return budget->count > 0 ? VISE_OK : VISE_FAIL(err, VISE_EUSAGE, "--candidates names no scheme");
}

/* Before anything is measured a weight is planned as the largest candidate below the target. */
static const vise_scheme *provisional(const vise_pass_run *run, const vise_logical *tensor)
{
    const vise_budget *budget = &run->budget;
    const vise_scheme *best = NULL, *least = NULL;
    double best_bits = 0.0, least_bits = INFINITY;
    for (size_t c = 0; c < budget->count; c++) {
        const vise_scheme *scheme = &budget->candidates[c];
        if (vise_scheme_groups(scheme, tensor->cols) == 0)
            continue;
        const double bits = vise_scheme_bits(scheme, tensor->rows, tensor->cols, tensor->dtype);
        if (bits <= budget->bits && bits > best_bits) {
            best_bits = bits;
            best = scheme;
        }
        if (bits < least_bits) {
            least_bits = bits;
            least = scheme;
        }
    }
    return best != NULL ? best : least;
}

/* What a target makes of a weight, as far as is known; NULL: no candidate holds it. */
static const vise_scheme *targeted(vise_pass_run *run, size_t index)
{
    const vise_logical *tensor = run->model->bound[index].tensor;
    const vise_scheme *scheme = run->chosen != NULL && run->chosen[index].type != NULL ? &run->chosen[index]
                                                                                       : provisional(run, tensor);
    run->measured[index] = scheme != NULL;
    return scheme;
}

/* Why the scheme cannot hold rows of cols weights; NULL if it can. */
static const char *cannot_hold(const vise_scheme *scheme, int64_t cols)
{
    return scheme->type != NULL && vise_scheme_groups(scheme, cols) == 0
               ? "its rows do not divide into groups"
               : NULL;
}

static vise_status plan_weight(vise_pass_run *run, size_t index, const vise_scheme *scheme,
                               const vise_scheme *otherwise, bool has_otherwise, vise_error *err)
{
    const vise_quant_config *config = run->config;
    vise_planned *planned = &run->planned[index];
    const vise_logical *tensor = planned->bound->tensor;
    char text[VISE_SCHEME_TEXT_MAX], other[VISE_SCHEME_TEXT_MAX];
    if (scheme->type == NULL)
        return VISE_OK; /* a rule says float */
    if (planned->scheme.type != NULL && !config->allow_requantize)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: already quantized as %s; quantizing again loses twice: start from the float model, or "
            "give --allow-requantize",
            tensor->module, vise_scheme_text(&planned->scheme, text));
    if (vise_scheme_needs_calibration(scheme) && !run->calibrated)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "%s: inputs of %s have a calibrated scale; give --calibration FILE, or use one that is found "
                         "as the model runs, such as +int8-token or +fp8-e4m3-token",
                         tensor->module, vise_scheme_text(scheme, text));
    if (run->model->tied && planned->bound->role == VISE_ROLE_EMBEDDING && scheme->type->blocks == NULL)
        return VISE_FAIL(
            err, VISE_EUSAGE,
            "%s: embedding and head are tied and stored once, and runtimes look embeddings up in floats: a quantized "
            "head would be a second copy that makes the file grow; exclude it, or choose a GGUF type",
            tensor->module);
    const vise_scheme *taken = scheme;
    const char *why = cannot_hold(scheme, tensor->cols);
    if (why != NULL) {
        if (!has_otherwise)
            return VISE_FAIL(
                err, VISE_EUSAGE,
                "%s: %s cannot hold it: %s (%lld weights, groups of %lld); give --otherwise SCHEME "
                "(such as int8-channel or float), or exclude it",
                tensor->module, vise_scheme_text(scheme, text), why, (long long)tensor->cols,
                (long long)scheme->group);
        taken = otherwise;
        why = cannot_hold(otherwise, tensor->cols);
        if (why != NULL)
            return VISE_FAIL(err, VISE_EUSAGE, "%s: neither %s nor %s can hold it: %s (%lld weights)",
                             tensor->module, vise_scheme_text(scheme, text),
                             vise_scheme_text(otherwise, other), why, (long long)tensor->cols);
        planned->note_pass = run->index;
        VISE_TRY(vise_arena_strfmt(run->arena, &planned->note, err,
                                   "%s instead of %s: rows of %lld weights do not divide into groups of %lld",
                                   vise_scheme_text(otherwise, other), vise_scheme_text(scheme, text),
                                   (long long)tensor->cols, (long long)scheme->group));
    }
    if (taken->type == NULL)
        return VISE_OK; /* stays as it is */
    planned->passes |= UINT64_C(1) << run->index;
    planned->carried = false;
    planned->scheme = *taken;
    planned->outlier_threshold = taken->type->codebook == &vise_codebook_llm_int8 ? config->outlier_threshold : 0.0;
    return VISE_OK;
}

static vise_scheme scheme_of(const vise_gguf_type *blocks)
{
    size_t count;
    const vise_weight_type *types = vise_weight_types(&count);
    for (size_t i = 0; i < count; i++)
        if (types[i].blocks == blocks)
            return (vise_scheme){
                .type = &types[i], .granularity = VISE_PER_GROUP, .group = types[i].default_group};
    return (vise_scheme){0};
}

/* What the mixture gives one weight. */
static vise_status plan_of_mixture(vise_pass_run *run, const vise_mixture *mixture, const vise_mixture_model *facts,
                                   size_t index, const vise_scheme *rule, vise_error *err)
{
    const vise_quant_config *config = run->config;
    const vise_bound *bound = &run->model->bound[index];
    vise_planned *planned = &run->planned[index];
    bool fell_back;
    const vise_gguf_type *type = vise_mixture_type(mixture, facts, bound, &fell_back);
    if (type == NULL)
        return VISE_OK;
    if (rule != NULL || type->dtype == VISE_DTYPE_COUNT) {
        if (rule == NULL && !facts->has_imatrix && vise_mixture_needs_imatrix(mixture, bound, type))
            return VISE_FAIL(err, VISE_EUSAGE,
                             "%s: %s gives it %s, which is of use only with an importance matrix: give --imatrix, or "
                             "take q2_k-mix",
                             bound->tensor->module, config->scheme, type->name);
        const vise_scheme given = rule != NULL ? *rule : scheme_of(type);
        VISE_TRY(plan_weight(run, index, &given, &given, false, err));
    } else if (planned->scheme.type == NULL && vise_dtype_of(planned->dtype)->is_float) {
        planned->dtype = type->dtype;
        planned->carried = planned->carried && bound->tensor->dtype == type->dtype;
    }
    if (!fell_back || rule != NULL)
        return VISE_OK;
    planned->note_pass = run->index;
    return vise_arena_strfmt(run->arena, &planned->note, err,
                             "%s: rows of %lld weights do not divide into the blocks that %s gives it", type->name,
                             (long long)bound->tensor->cols, config->scheme);
}

/* A mixture gives every weight what llama.cpp gives it, embeddings and head included, whatever the selectors'
 * default. */
static vise_status plan_mixture(vise_pass_run *run, const vise_mixture *mixture, vise_quant_rules *rules,
                                vise_error *err)
{
    const vise_quant_config *config = run->config;
    vise_mixture_model facts;
    if (run->model->arch == NULL)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "%s goes by the roles of weights, which are not known for this family; use a single type (q4_k)",
            config->scheme);
    const bool weighted = config->imatrix != NULL || run->method == &vise_method_gptq;
    VISE_TRY(vise_mixture_prepare(run->model, weighted, &facts, err));
    for (size_t i = 0; i < run->model->count; i++) {
        const vise_bound *bound = &run->model->bound[i];
        bool wanted = config->include.count == 0 || run->selected[i];
        for (size_t k = 0; k < config->exclude.count && wanted; k++)
            wanted = !vise_selector_matches(config->exclude.items[k], run->model, bound);
        if (wanted)
            VISE_TRY(plan_of_mixture(run, mixture, &facts, i, vise_quant_rules_find(rules, run->model, bound), err));
    }
    return VISE_OK;
}

static vise_status quant_output(const void *config, vise_output *output, vise_error *err)
{
    const vise_quant_config *quant = config;
    const vise_mixture *mixture = quant->scheme != NULL ? vise_mixture_find(quant->scheme) : NULL;
    (void)err;
    if (mixture != NULL)
        output->gguf_file_type = vise_mixture_file_type(mixture);
    if (quant->target != NULL)
        output->runtime = quant->target;
    if (vise_quant_has_cache(quant))
        output->cache = vise_cache_type_find(quant->kv_scheme);
    output->rotation = vise_rotation_or(output->rotation, quant->rotate);
    output->smooth = quant->smooth > 0.0 ? quant->smooth : output->smooth;
    return VISE_OK;
}

static vise_status plan_importance(vise_pass_run *run, vise_error *err)
{
    const vise_quant_config *config = run->config;
    void *block;
    if (config->imatrix == NULL)
        return VISE_OK;
    VISE_TRY(vise_arena_take(run->arena, sizeof(vise_gguf_importance), &block, err));
    run->importance = block;
    return vise_imatrix_describe(config->imatrix, run->arena, block, err);
}

vise_status vise_quant_plan(vise_pass_run *run, vise_error *err)
{
    const vise_quant_config *config = run->config;
    vise_scheme scheme, otherwise = {0};
    const char *name = config->scheme != NULL ? config->scheme : "int4-g128"; /* the kind that a target is of */
    const vise_mixture *mixture = vise_mixture_find(name);
    vise_quant_rules rules;
    if (config->asymmetric > 0.0 && run->method != &vise_method_gptq)
        return VISE_FAIL(err, VISE_EUSAGE, "--asymmetric corrects what --method gptq solves for, not %s",
                         run->method->name);
    if (config->residual > 0.0 && !(config->asymmetric > 0.0))
        return VISE_FAIL(err, VISE_EUSAGE, "--residual goes with --asymmetric");
    VISE_TRY(vise_quant_rules_parse(&config->set, run->arena, &rules, err));
    if (mixture != NULL) {
        VISE_TRY(plan_mixture(run, mixture, &rules, err));
        VISE_TRY(plan_importance(run, err));
        return vise_quant_rules_check(&rules, run->model, err);
    }
    VISE_TRY(vise_scheme_parse(name, &scheme, err));
    if (config->scheme == NULL && !vise_quant_has_target(config))
        scheme = (vise_scheme){0}; /* the cache alone: weights stay floats, but for those that --set names */
    const bool has_blocks = scheme.type != NULL && scheme.type->blocks != NULL;
    if (config->imatrix != NULL && !has_blocks)
        return VISE_FAIL(err, VISE_EUSAGE, "--imatrix goes with GGUF's types, not with %s", name);
    VISE_TRY(plan_importance(run, err));
    bool has_otherwise = config->otherwise != NULL;
    if (has_otherwise && strcmp(config->otherwise, "float") != 0)
        VISE_TRY(vise_scheme_parse(config->otherwise, &otherwise, err));
    if (strcmp(config->range, "updated") == 0 && strcmp(config->actorder, "static") == 0 && !has_blocks)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--range updated goes with --actorder group-aware or none: ranges of updated weights follow "
                         "the order of columns");
    for (size_t i = 0; i < run->model->count; i++) {
        if (!run->selected[i])
            continue;
        const vise_scheme *rule = vise_quant_rules_find(&rules, run->model, &run->model->bound[i]);
        const vise_scheme *of_target = rule == NULL && run->budget.count > 0 ? targeted(run, i) : NULL;
        VISE_TRY(plan_weight(run, i,
                             rule != NULL        ? rule
                             : of_target != NULL ? of_target
                                                 : &scheme,
                             &otherwise, has_otherwise, err));
    }
    return vise_quant_rules_check(&rules, run->model, err);
}

const vise_pass vise_pass_quant = {
    .name = "quant",
    .summary = "store weights in a few bits each",
    .options = quant_options,
    .n_options = sizeof quant_options / sizeof quant_options[0],
    .config_size = sizeof(vise_quant_config),
    .methods = quant_methods,
    .choose = quant_choose,
    .output = quant_output,
    .budget = quant_budget,
    .include_offset = offsetof(vise_quant_config, include),
    .exclude_offset = offsetof(vise_quant_config, exclude),
    .example = "vise quant MODEL -o OUT --scheme int4-g128 --calibration calib.txt",
};
