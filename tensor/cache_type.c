#include "tensor/cache_type.h"

#include <string.h>

static const vise_cache_type types[] = {
    {"fp8-e4m3-tensor", "fp8-e4m3-tensor", false},
    {"fp8-e4m3-head", "fp8-e4m3-tensor", true},
    {"int8-tensor", "int8-tensor", false},
    {"int8-head", "int8-tensor", true},
};
#define TYPES (sizeof types / sizeof *types)

const vise_cache_type *vise_cache_types(size_t *count)
{
    *count = TYPES;
    return types;
}

const vise_cache_type *vise_cache_type_find(const char *name)
{
    for (size_t i = 0; name && i < TYPES; i++)
        if (strcmp(types[i].name, name) == 0)
            return &types[i];
    return NULL;
}

const vise_activation_type *vise_cache_values(const vise_cache_type *type)
{
    return vise_activation_type_find(type->values);
}
