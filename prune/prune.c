/* The prune pass: options, choice of method, planning. */
#include "prune/prune.h"

#include <stddef.h>
#include <string.h>

static const vise_option prune_options[] = {
    {.name = "method",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_prune_config, method),
     .choices = "magnitude|wanda|sparsegpt",
     .value = "METHOD",
     .help = "how weights are scored (default: wanda with calibration text, else magnitude)"},
    {.name = "sparsity",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_prune_config, sparsity),
     .min = 0.0,
     .max = 0.99,
     .value = "F",
     .help = "fraction of every row to prune (sparsegpt: of every 128 columns)"},
    {.name = "pattern",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_prune_config, pattern),
     .value = "KEEP:GROUP",
     .help = "keep KEEP of every GROUP consecutive weights of a row, such as 2:4"},
    {.name = "damp",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_prune_config, damp),
     .min = 0.0,
     .max = 1.0,
     .initial = "0.01",
     .value = "F",
     .help = "sparsegpt: fraction of the mean diagonal added to the Gram matrix"},
    {.name = "include",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(vise_prune_config, include),
     .value = "SELECTOR",
     .help = "prune only these modules (a glob on module names, or role:NAME); may be given again"},
    {.name = "exclude",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(vise_prune_config, exclude),
     .value = "SELECTOR",
     .help = "do not prune these modules; may be given again"},
};

static const vise_method *const prune_methods[] = {&vise_method_magnitude, &vise_method_wanda,
                                                    &vise_method_sparsegpt, NULL};

static vise_status prune_choose(const void *config, bool calibrated, const vise_method **method,
                                vise_error *err)
{
    const vise_prune_config *prune = config;
    const char *name = prune->method != NULL ? prune->method : calibrated ? "wanda" : "magnitude";
    for (size_t i = 0; prune_methods[i] != NULL; i++) {
        if (strcmp(prune_methods[i]->name, name) != 0)
            continue;
        *method = prune_methods[i];
        return VISE_OK;
    }
    return VISE_FAIL(err, VISE_EUSAGE, "prune: no method \"%s\"; there are magnitude, wanda and sparsegpt", name);
}

vise_status vise_prune_target_of(const vise_prune_config *config, vise_prune_target *target, vise_error *err)
{
    *target = (vise_prune_target){{0, 0}, 0.0};
    bool has_sparsity = !isnan(config->sparsity);
    if (has_sparsity == (config->pattern != NULL))
        return VISE_FAIL(err, VISE_EUSAGE,
                         "prune: give either --sparsity (a fraction such as 0.5) or --pattern (such as 2:4)");
    if (config->pattern != NULL) {
        VISE_TRY(vise_pattern_parse(config->pattern, &target->pattern, err));
        target->sparsity = 1.0 - (double)target->pattern.keep / (double)target->pattern.group;
    } else {
        target->sparsity = config->sparsity;
    }
    return VISE_OK;
}

vise_status vise_prune_plan(vise_pass_run *run, vise_error *err)
{
    vise_prune_target target;
    VISE_TRY(vise_prune_target_of(run->config, &target, err));
    for (size_t i = 0; i < run->model->count; i++) {
        if (!run->selected[i])
            continue;
        vise_planned *planned = &run->planned[i];
        const vise_logical *tensor = planned->bound->tensor;
        if (planned->scheme.type != NULL)
            return VISE_FAIL(err, VISE_EUSAGE,
                             "%s: already quantized; prune before quantizing, or exclude it", tensor->module);
        if (target.pattern.group > 0 && tensor->cols % target.pattern.group != 0)
            return VISE_FAIL(err, VISE_EUSAGE,
                             "%s: its rows of %lld weights do not divide into groups of %d; exclude it or "
                             "choose another pattern",
                             tensor->module, (long long)tensor->cols, target.pattern.group);
        planned->passes |= UINT64_C(1) << run->index;
        planned->carried = false;
        planned->masked = true;
        planned->sparsity = target.sparsity;
    }
    return VISE_OK;
}

vise_status vise_prune_rows(const vise_prune_target *target, const float *score, int64_t rows, int64_t cols,
                            float *values, uint8_t *mask, vise_error *err)
{
    if (target->pattern.group > 0)
        vise_mask_pattern(score, rows, cols, target->pattern, mask);
    else
        VISE_TRY(vise_mask_rows(score, rows, cols, target->sparsity, mask, err));
    vise_mask_apply(mask, rows, cols, values);
    return VISE_OK;
}

const vise_pass vise_pass_prune = {
    .name = "prune",
    .summary = "set the least important weights to zero",
    .options = prune_options,
    .n_options = sizeof prune_options / sizeof prune_options[0],
    .config_size = sizeof(vise_prune_config),
    .methods = prune_methods,
    .choose = prune_choose,
    .include_offset = offsetof(vise_prune_config, include),
    .exclude_offset = offsetof(vise_prune_config, exclude),
    .example = "vise prune MODEL -o OUT --method wanda --pattern 2:4 --calibration calib.txt --pack",
};
