/* Cast: every float tensor to one dtype, rounding to nearest even. The executor stores a weight in its
 * planned dtype, so planning is all there is to do. Values that overflow the new dtype stop the run there: a
 * model with infinities is no model. */
#include "convert/convert.h"

#include <stddef.h>
#include <string.h>

typedef struct convert_config {
    const char *dtype;
    bool dequantize;
    bool unpack;
    const char *offload_folder;
    const char *rotate;
    vise_texts include, exclude;
} convert_config;

static const vise_option convert_options[] = {
    {.name = "dtype",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(convert_config, dtype),
     .choices = "f32|f16|bf16",
     .value = "DTYPE",
     .help = "store floats in this dtype"},
    {.name = "dequantize",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(convert_config, dequantize),
     .help = "turn quantized weights back into floats"},
    {.name = "unpack",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(convert_config, unpack),
     .help = "write plain shards from packed ones, bit for bit"},
    {.name = "offload-folder",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(convert_config, offload_folder),
     .value = "DIR",
     .help = "write the output's weights as accelerate's disk offload too: index.json and a .dat file for each tensor"},
    VISE_ROTATE_OPTION(offsetof(convert_config, rotate)),
    {.name = "include",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(convert_config, include),
     .value = "SELECTOR",
     .help = "cast only these modules (a glob on module names, or role:NAME); may be given again"},
    {.name = "exclude",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(convert_config, exclude),
     .value = "SELECTOR",
     .help = "leave these modules as they are; may be given again"},
};

static vise_status cast_plan(vise_pass_run *run, vise_error *err)
{
    const convert_config *config = run->config;
    vise_dtype target = VISE_DTYPE_COUNT;
    if (config->dtype != NULL && !vise_dtype_from_cli(config->dtype, &target))
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--dtype %s is no dtype that floats are cast to; use f32, f16 or bf16",
                         config->dtype);
    for (size_t i = 0; i < run->model->count; i++) {
        vise_planned *planned = &run->planned[i];
        if (!run->selected[i])
            continue;
        bool worked = false;
        if (planned->scheme.type != NULL && config->dequantize) {
            planned->scheme = (vise_scheme){0};
            worked = true;
        }
        if (planned->scheme.type == NULL && target != VISE_DTYPE_COUNT && planned->dtype != target &&
            vise_dtype_of(planned->dtype)->is_float) {
            planned->dtype = target;
            worked = true;
        }
        if (worked) {
            planned->passes |= UINT64_C(1) << run->index;
            planned->carried = false;
        }
    }
    return VISE_OK;
}

static const vise_method method_cast = {
    .name = "cast",
    .summary = "round every value to the nearest of the new dtype, ties to even",
    .plan = cast_plan,
};

static vise_status convert_choose(const void *config, bool calibrated, const vise_method **method,
                                  vise_error *err)
{
    (void)config;
    (void)calibrated;
    (void)err;
    *method = &method_cast;
    return VISE_OK;
}

static vise_status convert_output(const void *config, vise_output *output, vise_error *err)
{
    const convert_config *convert = config;
    if (convert->unpack && output->pack)
        return VISE_FAIL(err, VISE_EUSAGE, "--pack and --unpack exclude each other; give one of them");
    output->unpack = convert->unpack;
    output->dequantize = convert->dequantize;
    output->rotation = vise_rotation_or(output->rotation, convert->rotate);
    output->offload_folder = convert->offload_folder != NULL ? convert->offload_folder : output->offload_folder;
    return VISE_OK;
}

static const vise_method *const convert_methods[] = {&method_cast, NULL};

const vise_pass vise_pass_convert = {
    .name = "convert",
    .summary = "change how a model is stored: dtype, layout, packing, shards",
    .options = convert_options,
    .n_options = sizeof convert_options / sizeof convert_options[0],
    .config_size = sizeof(convert_config),
    .methods = convert_methods,
    .choose = convert_choose,
    .include_offset = offsetof(convert_config, include),
    .exclude_offset = offsetof(convert_config, exclude),
    .every_tensor = true,
    .output = convert_output,
    .example = "vise convert MODEL -o OUT --dtype bf16 --pack",
};
