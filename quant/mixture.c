#include "quant/mixture.h"

#include <string.h>

#define RULES_MAX 5

/* Layers that a rule covers, i of n. */
typedef enum layers {
    ALL,
    FIRST_2,
    FIRST_4,
    FIRST_16TH, /* i < n / 16 */
    FIRST_8TH,
    MORE /* the first eighth, the last, and every third between */
} layers;

typedef struct rule {
    vise_role role;
    layers where;
    vise_gguf_row type;
} rule;

struct vise_mixture {
    const char *name;
    uint32_t file_type;
    vise_gguf_row base;
    rule rules[RULES_MAX]; /* the first that covers a weight; ends at a base type F32 */
};

#define HEAD                                                                                                 \
    {                                                                                                        \
        VISE_ROLE_HEAD, ALL, VISE_GGUF_Q6_K                                                                  \
    }

static const vise_mixture mixtures[] = {
    {"q3_k_s", 11, VISE_GGUF_Q3_K, {HEAD}},
    {"q3_k_m",
     12,
     VISE_GGUF_Q3_K,
     {HEAD,
      {VISE_ROLE_V, FIRST_2, VISE_GGUF_Q5_K},
      {VISE_ROLE_V, ALL, VISE_GGUF_Q4_K},
      {VISE_ROLE_DOWN, FIRST_16TH, VISE_GGUF_Q5_K},
      {VISE_ROLE_DOWN, ALL, VISE_GGUF_Q4_K}}},
    {"q3_k_l",
     13,
     VISE_GGUF_Q3_K,
     {HEAD,
      {VISE_ROLE_V, ALL, VISE_GGUF_Q5_K},
      {VISE_ROLE_DOWN, ALL, VISE_GGUF_Q5_K},
      {VISE_ROLE_O, ALL, VISE_GGUF_Q5_K}}},
    {"q4_k_s",
     14,
     VISE_GGUF_Q4_K,
     {HEAD, {VISE_ROLE_V, FIRST_4, VISE_GGUF_Q5_K}, {VISE_ROLE_DOWN, FIRST_8TH, VISE_GGUF_Q5_K}}},
    {"q4_k_m",
     15,
     VISE_GGUF_Q4_K,
     {HEAD, {VISE_ROLE_V, MORE, VISE_GGUF_Q6_K}, {VISE_ROLE_DOWN, MORE, VISE_GGUF_Q6_K}}},
    {"q5_k_s", 16, VISE_GGUF_Q5_K, {HEAD}},
    {"q5_k_m",
     17,
     VISE_GGUF_Q5_K,
     {HEAD, {VISE_ROLE_V, MORE, VISE_GGUF_Q6_K}, {VISE_ROLE_DOWN, MORE, VISE_GGUF_Q6_K}}},
};

/* Where rows are no whole blocks. */
static const struct {
    vise_gguf_row type, instead;
} fallbacks[] = {
    {VISE_GGUF_Q2_K, VISE_GGUF_Q4_0}, {VISE_GGUF_Q3_K, VISE_GGUF_Q4_0}, {VISE_GGUF_Q4_K, VISE_GGUF_Q5_0},
    {VISE_GGUF_Q5_K, VISE_GGUF_Q5_1}, {VISE_GGUF_Q6_K, VISE_GGUF_Q8_0},
};

const vise_mixture *vise_mixture_find(const char *name)
{
    for (size_t i = 0; i < sizeof mixtures / sizeof *mixtures; i++)
        if (strcmp(mixtures[i].name, name) == 0)
            return &mixtures[i];
    return NULL;
}

uint32_t vise_mixture_file_type(const vise_mixture *mixture)
{
    return mixture->file_type;
}

static bool covers(layers where, int64_t i, int64_t n)
{
    switch (where) {
    case FIRST_2:
        return i < 2;
    case FIRST_4:
        return i < 4;
    case FIRST_16TH:
        return i < n / 16;
    case FIRST_8TH:
        return i < n / 8;
    case MORE:
        return i < n / 8 || i >= 7 * n / 8 || (i - n / 8) % 3 == 2;
    default:
        return true;
    }
}

static vise_gguf_row by_rules(const vise_mixture *mixture, const vise_model *model, const vise_bound *bound)
{
    /* A tied embedding is the head as well. */
    vise_role role = model->tied && bound->role == VISE_ROLE_EMBEDDING ? VISE_ROLE_HEAD : bound->role;
    for (size_t i = 0; i < RULES_MAX && mixture->rules[i].type != VISE_GGUF_F32; i++)
        if (mixture->rules[i].role == role &&
            covers(mixture->rules[i].where, bound->layer, model->config.layers))
            return mixture->rules[i].type;
    return mixture->base;
}

const vise_gguf_type *vise_mixture_type(const vise_mixture *mixture, const vise_model *model,
                                        const vise_bound *bound, bool *fell_back)
{
    const bool is_weight =
        bound->is_linear || bound->role == VISE_ROLE_EMBEDDING || bound->role == VISE_ROLE_HEAD;
    *fell_back = false;
    if (!is_weight || bound->tensor->ndim != 2)
        return NULL;
    vise_gguf_row row = by_rules(mixture, model, bound);
    const int64_t cols = bound->tensor->cols;
    for (size_t i = 0; i < sizeof fallbacks / sizeof *fallbacks && cols % vise_gguf_table[row].values != 0;
         i++)
        if (fallbacks[i].type == row) {
            row = fallbacks[i].instead;
            *fell_back = true;
        }
    return cols % vise_gguf_table[row].values == 0 ? &vise_gguf_table[row] : NULL;
}
