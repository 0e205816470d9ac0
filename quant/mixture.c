#include "quant/mixture.h"

#include <string.h>

#include "formats/gguf_meta.h"

enum { RULES_MAX = 8 };

/* What llama.cpp tells weights apart by: parts of their names. Fused matrices of q, k and v count as v. */
typedef enum kind {
    KIND_NONE, /* not quantized */
    KIND_OTHER,
    KIND_HEAD,
    KIND_EMBEDDING,
    KIND_V,
    KIND_K,
    KIND_O,
    KIND_DOWN
} kind;

/* Layers that a rule covers, i of n. */
typedef enum layers {
    ALL,
    FIRST_2,
    FIRST_4,
    FIRST_16TH, /* i < n / 16 */
    FIRST_8TH,
    MORE /* the first eighth, the last, and every third between */
} layers;

/* Models that a rule covers: all that are asked for must hold. */
enum {
    GQA_4 = 1 << 0, /* four heads of queries or more share one of keys and values */
    EIGHT = 1 << 1, /* eight experts */
    NOT_EIGHT = 1 << 2,
    WEIGHTED = 1 << 3, /* with an importance matrix */
    UNWEIGHTED = 1 << 4,
    FALCON = 1 << 5,
    NOT_FALCON = 1 << 6
};

typedef struct rule {
    kind of;
    layers where;
    unsigned when;
    vise_gguf_row type;
} rule;

struct vise_mixture {
    const char *name;
    uint32_t file_type;
    vise_gguf_row base;
    rule rules[RULES_MAX]; /* the first that covers a weight; ends at KIND_NONE */
};

#define SPARSE_O                                                                                             \
    {                                                                                                        \
        KIND_O, ALL, EIGHT, VISE_GGUF_Q5_K                                                                   \
    }

static const vise_mixture mixtures[] = {
    {"q4_0-mix", 2, VISE_GGUF_Q4_0, {{KIND_DOWN, FIRST_8TH, WEIGHTED, VISE_GGUF_Q4_1}}},
    {"q4_1-mix", 3, VISE_GGUF_Q4_1, {{0}}},
    {"q8_0-mix", 7, VISE_GGUF_Q8_0, {{0}}},
    {"q5_0-mix", 8, VISE_GGUF_Q5_0, {{KIND_DOWN, FIRST_8TH, WEIGHTED, VISE_GGUF_Q5_1}}},
    {"q5_1-mix", 9, VISE_GGUF_Q5_1, {{0}}},
    {"q2_k-mix",
     10,
     VISE_GGUF_Q2_K,
     {{KIND_V, ALL, GQA_4, VISE_GGUF_Q4_K},
      {KIND_V, ALL, 0, VISE_GGUF_Q3_K},
      {KIND_DOWN, ALL, 0, VISE_GGUF_Q3_K},
      SPARSE_O,
      {KIND_O, ALL, NOT_FALCON, VISE_GGUF_Q3_K}}},
    {"q2_k_s",
     21,
     VISE_GGUF_Q2_K,
     {{KIND_V, ALL, GQA_4, VISE_GGUF_Q4_K}, {KIND_DOWN, FIRST_8TH, 0, VISE_GGUF_Q4_K}}},
    {"q3_k_s", 11, VISE_GGUF_Q3_K, {SPARSE_O}},
    {"q3_k_m",
     12,
     VISE_GGUF_Q3_K,
     {{KIND_V, FIRST_2, 0, VISE_GGUF_Q5_K},
      {KIND_V, ALL, 0, VISE_GGUF_Q4_K},
      {KIND_DOWN, FIRST_16TH, 0, VISE_GGUF_Q5_K},
      {KIND_DOWN, ALL, NOT_FALCON, VISE_GGUF_Q4_K},
      {KIND_DOWN, MORE, FALCON, VISE_GGUF_Q4_K},
      SPARSE_O,
      {KIND_O, ALL, NOT_FALCON, VISE_GGUF_Q4_K}}},
    {"q3_k_l",
     13,
     VISE_GGUF_Q3_K,
     {{KIND_V, ALL, 0, VISE_GGUF_Q5_K},
      {KIND_DOWN, ALL, NOT_FALCON, VISE_GGUF_Q5_K},
      {KIND_DOWN, ALL, FALCON, VISE_GGUF_Q4_K},
      {KIND_O, ALL, NOT_FALCON | NOT_EIGHT, VISE_GGUF_Q5_K},
      {KIND_O, ALL, FALCON, VISE_GGUF_Q4_K}}},
    {"q4_k_s",
     14,
     VISE_GGUF_Q4_K,
     {{KIND_V, FIRST_4, 0, VISE_GGUF_Q5_K}, {KIND_DOWN, FIRST_8TH, NOT_FALCON, VISE_GGUF_Q5_K}, SPARSE_O}},
    {"q4_k_m",
     15,
     VISE_GGUF_Q4_K,
     {{KIND_V, MORE, 0, VISE_GGUF_Q6_K},
      {KIND_DOWN, MORE, NOT_FALCON, VISE_GGUF_Q6_K},
      {KIND_DOWN, FIRST_16TH, FALCON, VISE_GGUF_Q6_K},
      {KIND_DOWN, MORE, FALCON, VISE_GGUF_Q5_K},
      SPARSE_O}},
    {"q5_k_s", 16, VISE_GGUF_Q5_K, {{0}}},
    {"q5_k_m", 17, VISE_GGUF_Q5_K, {{KIND_V, MORE, 0, VISE_GGUF_Q6_K}, {KIND_DOWN, MORE, 0, VISE_GGUF_Q6_K}}},
    {"q6_k-mix", 18, VISE_GGUF_Q6_K, {{0}}},
    {"iq4_nl-mix",
     25,
     VISE_GGUF_IQ4_NL,
     {{KIND_V, ALL, GQA_4, VISE_GGUF_Q5_K}, {KIND_DOWN, FIRST_8TH, UNWEIGHTED, VISE_GGUF_Q5_K}, SPARSE_O}},
    {"iq4_xs-mix",
     30,
     VISE_GGUF_IQ4_XS,
     {{KIND_V, ALL, GQA_4, VISE_GGUF_Q5_K}, {KIND_DOWN, FIRST_8TH, UNWEIGHTED, VISE_GGUF_Q5_K}, SPARSE_O}},
    {"tq1_0-mix", 36, VISE_GGUF_TQ1_0, {{KIND_EMBEDDING, ALL, 0, VISE_GGUF_Q4_K}}},
    {"tq2_0-mix", 37, VISE_GGUF_TQ2_0, {{KIND_EMBEDDING, ALL, 0, VISE_GGUF_Q4_K}}},
    {"mxfp4_moe", 38, VISE_GGUF_MXFP4, {{0}}},
    {"q1_0-mix", 40, VISE_GGUF_Q1_0, {{0}}},
};

/* Where rows are no whole blocks. */
static const struct {
    vise_gguf_row type, instead;
} fallbacks[] = {
    {VISE_GGUF_Q2_K, VISE_GGUF_Q4_0},     {VISE_GGUF_Q3_K, VISE_GGUF_Q4_0},
    {VISE_GGUF_TQ1_0, VISE_GGUF_Q4_0},    {VISE_GGUF_TQ2_0, VISE_GGUF_Q4_0},
    {VISE_GGUF_IQ4_XS, VISE_GGUF_IQ4_NL}, {VISE_GGUF_Q4_K, VISE_GGUF_Q5_0},
    {VISE_GGUF_Q5_K, VISE_GGUF_Q5_1},     {VISE_GGUF_Q6_K, VISE_GGUF_Q8_0},
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

vise_status vise_mixture_prepare(const vise_model *model, bool has_imatrix, vise_mixture_model *facts,
                                 vise_error *err)
{
    *facts = (vise_mixture_model){.model = model, .tied = true, .has_imatrix = has_imatrix};
    VISE_TRY(vise_gguf_family_of_source(vise_store_source(model->store), &facts->family, err));
    if (facts->family == NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "mixtures go by the roles of weights, which are not known for this "
                         "family; use a single type (q4_k)");
    for (size_t i = 0; i < model->count; i++) {
        char name[VISE_GGUF_MODULE_MAX];
        const vise_gguf_named named =
            vise_gguf_name_from_hf(facts->family, model->bound[i].tensor->name, name);
        if (named.module != NULL && !named.dropped && strcmp(name, "output.weight") == 0)
            facts->tied = false;
    }
    return VISE_OK;
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

static kind kind_of(const vise_mixture_model *facts, const vise_bound *bound, vise_gguf_named *named)
{
    static const struct {
        const char *part;
        kind of;
    } kinds[] = {{"attn_qkv", KIND_V},     {"attn_v", KIND_V},      {"attn_k", KIND_K},
                 {"attn_q", KIND_OTHER},   {"attn_output", KIND_O}, {"ffn_up", KIND_OTHER},
                 {"ffn_gate", KIND_OTHER}, {"ffn_down", KIND_DOWN}};
    static const char suffix[] = ".weight", norm[] = "_norm.weight";
    char name[VISE_GGUF_MODULE_MAX];
    const vise_logical *tensor = bound->tensor;
    *named = vise_gguf_name_from_hf(facts->family, tensor->name, name);
    const size_t length = named->module != NULL ? strlen(name) : 0;
    if (named->module == NULL || named->dropped || tensor->ndim != 2 || tensor->rows < 2 ||
        (named->module->how & VISE_GGUF_FLOAT) != 0 || length < sizeof suffix ||
        strcmp(name + length - (sizeof suffix - 1), suffix) != 0 ||
        (length >= sizeof norm && strcmp(name + length - (sizeof norm - 1), norm) == 0))
        return KIND_NONE;
    if (strcmp(name, "output.weight") == 0)
        return KIND_HEAD;
    if (strcmp(name, "token_embd.weight") == 0)
        return KIND_EMBEDDING;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strstr(name, kinds[i].part) != NULL)
            return kinds[i].of;
    return KIND_OTHER;
}

static unsigned holds(const vise_mixture_model *facts)
{
    const vise_config *config = &facts->model->config;
    return (config->kv_heads > 0 && config->heads / config->kv_heads >= 4 ? GQA_4 : 0u) |
           (config->experts == 8 ? EIGHT : NOT_EIGHT) | (facts->has_imatrix ? WEIGHTED : UNWEIGHTED) |
           (strcmp(facts->family->architecture, "falcon") == 0 ? FALCON : NOT_FALCON);
}

static vise_gguf_row by_rules(const vise_mixture *mixture, kind of, int layer,
                              const vise_mixture_model *facts)
{
    const unsigned given = holds(facts);
    for (size_t i = 0; i < RULES_MAX && mixture->rules[i].of != KIND_NONE; i++)
        if (mixture->rules[i].of == of && (mixture->rules[i].when & ~given) == 0 &&
            covers(mixture->rules[i].where, layer, facts->model->config.layers))
            return mixture->rules[i].type;
    return mixture->base;
}

/* Those that llama.cpp takes for the model of 70 billion parameters. */
static bool is_70b(const vise_mixture_model *facts)
{
    const vise_config *config = &facts->model->config;
    const char *architecture = facts->family->architecture;
    return config->layers == 80 && ((strcmp(architecture, "llama") == 0 && config->experts != 8 &&
                                     config->heads != config->kv_heads) ||
                                    strcmp(architecture, "qwen2") == 0);
}

static vise_gguf_row choose(const vise_mixture *mixture, const vise_mixture_model *facts,
                            const vise_bound *bound, kind of, const vise_gguf_named *named)
{
    const bool is_stack = (named->module->how & VISE_GGUF_STACKED) != 0 && facts->model->config.experts > 1;
    if (of == KIND_HEAD || (of == KIND_EMBEDDING && facts->tied)) { /* a tied embedding is the head as well */
        const bool fits = bound->tensor->cols % vise_gguf_table[mixture->base].values == 0;
        return mixture->base == VISE_GGUF_MXFP4 || mixture->base == VISE_GGUF_Q8_0 || !fits ||
                       (holds(facts) & FALCON) != 0
                   ? VISE_GGUF_Q8_0
                   : VISE_GGUF_Q6_K;
    }
    if (mixture->base == VISE_GGUF_MXFP4)
        return is_stack ? VISE_GGUF_MXFP4 : VISE_GGUF_Q8_0;
    if ((of == KIND_V || of == KIND_K) && facts->model->config.experts == 8)
        return VISE_GGUF_Q8_0; /* they are small beside the experts */
    const vise_gguf_row row = by_rules(mixture, of, named->layer, facts);
    return of == KIND_V && is_70b(facts) && (row == VISE_GGUF_Q3_K || row == VISE_GGUF_Q4_K) ? VISE_GGUF_Q5_K
                                                                                             : row;
}

const vise_gguf_type *vise_mixture_type(const vise_mixture *mixture, const vise_mixture_model *facts,
                                        const vise_bound *bound, bool *fell_back)
{
    vise_gguf_named named;
    const kind of = kind_of(facts, bound, &named);
    const int64_t cols = bound->tensor->cols;
    *fell_back = false;
    if (of == KIND_NONE)
        return NULL;
    vise_gguf_row row = choose(mixture, facts, bound, of, &named);
    if (cols % vise_gguf_table[row].values == 0)
        return &vise_gguf_table[row];
    *fell_back = true;
    for (size_t i = 0; i < sizeof fallbacks / sizeof *fallbacks; i++)
        if (fallbacks[i].type == row) {
            row = fallbacks[i].instead;
            break;
        }
    return cols % vise_gguf_table[row].values == 0 ? &vise_gguf_table[row] : &vise_gguf_table[VISE_GGUF_F16];
}

bool vise_mixture_needs_imatrix(const vise_mixture *mixture, const vise_bound *bound,
                                const vise_gguf_type *type)
{
    static const uint32_t q2_k_s = 21;
    return mixture->file_type == q2_k_s && type == &vise_gguf_table[VISE_GGUF_Q2_K] && bound->layer >= 0;
}
