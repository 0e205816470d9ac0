#include "tensor/activation_type.h"

#include <stdio.h>
#include <string.h>

#include "tensor/grid.h"

static const vise_activation_type types[] = {
    {"int8-token", "int", 8, NULL, VISE_PER_CHANNEL, 0, false},
    {"int8-tensor", "int", 8, NULL, VISE_PER_TENSOR, 0, true},
    {"int4-token", "int", 4, NULL, VISE_PER_CHANNEL, 0, false},
    {"fp8-e4m3-token", "int fp8-e4m3", 8, &vise_codebook_fp8_e4m3, VISE_PER_CHANNEL, 0, false},
    {"fp8-e4m3-tensor", "fp8-e4m3", 8, &vise_codebook_fp8_e4m3, VISE_PER_TENSOR, 0, true},
    {"fp8-e4m3-g128", "fp8-e4m3", 8, &vise_codebook_fp8_e4m3, VISE_PER_GROUP, 128, false},
    {"mxfp8-g32", "mxfp8", 8, &vise_codebook_mxfp8, VISE_PER_GROUP, 32, false},
    {"mxfp4-g32", "mxfp4", 4, &vise_codebook_mxfp4, VISE_PER_GROUP, 32, false},
    {"nvfp4-g16", "nvfp4", 4, &vise_codebook_nvfp4, VISE_PER_GROUP, 16, true},
};
#define TYPES (sizeof types / sizeof *types)

const vise_activation_type *vise_activation_types(size_t *count)
{
    *count = TYPES;
    return types;
}

const vise_activation_type *vise_activation_type_find(const char *name)
{
    for (size_t i = 0; name && i < TYPES; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

bool vise_activation_goes_with(const vise_activation_type *type, const vise_weight_type *weights)
{
    const char *name = weights->codebook || weights->blocks ? weights->name : "int";
    const size_t length = strlen(name);
    if (weights->blocks)
        return false;
    for (const char *at = type->weights; *at; at += strcspn(at, " "), at += *at == ' ')
        if (strcspn(at, " ") == length && memcmp(at, name, length) == 0)
            return true;
    return false;
}

bool vise_scheme_needs_calibration(const vise_scheme *scheme)
{
    const vise_activation_type *type = vise_activation_type_find(scheme->activation);
    return type && type->calibrated;
}

float vise_activation_scale(const vise_activation_type *type, vise_dtype scale_dtype, float largest)
{
    if (!(largest > 0.0f))
        return 1.0f;
    if (type->codebook == &vise_codebook_nvfp4)
        return vise_nvfp4_global(largest);
    if (type->codebook)
        return vise_codebook_scale(type->codebook, scale_dtype, largest, 0.0f);
    return vise_grid_round_scale(scale_dtype, largest / ((float)(1 << (type->bits - 1)) - 0.5f));
}

const char *vise_activation_names(const vise_weight_type *weights, char buffer[VISE_ACTIVATION_NAMES_MAX])
{
    size_t at = 0;
    for (size_t i = 0; i < TYPES; i++)
        if (vise_activation_goes_with(&types[i], weights))
            at += (size_t)snprintf(buffer + at, VISE_ACTIVATION_NAMES_MAX - at, "%s%s", at > 0 ? ", " : "",
                                   types[i].name);
    if (at == 0)
        (void)snprintf(buffer, VISE_ACTIVATION_NAMES_MAX, "none");
    return buffer;
}
