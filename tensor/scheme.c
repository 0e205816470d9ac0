#include "tensor/scheme.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "tensor/activation_type.h"

#define GROUP_MAX 65536

#define TENSOR  (1u << VISE_PER_TENSOR)
#define CHANNEL (1u << VISE_PER_CHANNEL)
#define GROUP   (1u << VISE_PER_GROUP)
#define BLOCK   (1u << VISE_PER_BLOCK)
#define FLAT    (1u << VISE_PER_FLAT)

#define INT(name, bits)                                                                                      \
    {                                                                                                        \
        name, bits, true, VISE_PER_CHANNEL, 0, "compressed-tensors", NULL, NULL, TENSOR | CHANNEL | GROUP    \
    }
#define BLOCKS(name, row, values, bits, layout)                                                              \
    {                                                                                                        \
        name, bits, false, VISE_PER_GROUP, values, layout, &vise_gguf_table[row], NULL, GROUP                \
    }

static const vise_weight_type weight_types[] = {
    INT("int2", 2),
    INT("int3", 3),
    INT("int4", 4),
    INT("int5", 5),
    INT("int6", 6),
    INT("int7", 7),
    INT("int8", 8),
    {"fp8-e4m3", 8, false, VISE_PER_CHANNEL, 0, "compressed-tensors", NULL, &vise_codebook_fp8_e4m3,
     TENSOR | CHANNEL | GROUP | BLOCK},
    {"mxfp8", 8, false, VISE_PER_GROUP, 32, "compressed-tensors", NULL, &vise_codebook_mxfp8, GROUP},
    {"mxfp4", 4, false, VISE_PER_GROUP, 32, "compressed-tensors", NULL, &vise_codebook_mxfp4, GROUP},
    {"nvfp4", 4, false, VISE_PER_GROUP, 16, "compressed-tensors", NULL, &vise_codebook_nvfp4, GROUP},
    {"nf4", 4, false, VISE_PER_FLAT, 64, "bitsandbytes", NULL, &vise_codebook_nf4, FLAT},
    {"fp4", 4, false, VISE_PER_FLAT, 64, "bitsandbytes", NULL, &vise_codebook_fp4, FLAT},
    {"llm-int8", 8, false, VISE_PER_CHANNEL, 0, "bitsandbytes", NULL, &vise_codebook_llm_int8, CHANNEL},
    BLOCKS("q8_0", VISE_GGUF_Q8_0, 32, 8, "gguf"),
    BLOCKS("q4_0", VISE_GGUF_Q4_0, 32, 4, "gguf"),
    BLOCKS("q4_1", VISE_GGUF_Q4_1, 32, 4, "gguf"),
    BLOCKS("q5_0", VISE_GGUF_Q5_0, 32, 5, "gguf"),
    BLOCKS("q5_1", VISE_GGUF_Q5_1, 32, 5, "gguf"),
    BLOCKS("q2_k", VISE_GGUF_Q2_K, 256, 2, "gguf"),
    BLOCKS("q3_k", VISE_GGUF_Q3_K, 256, 3, "gguf"),
    BLOCKS("q4_k", VISE_GGUF_Q4_K, 256, 4, "gguf"),
    BLOCKS("q5_k", VISE_GGUF_Q5_K, 256, 5, "gguf"),
    BLOCKS("q6_k", VISE_GGUF_Q6_K, 256, 6, "gguf"),
    BLOCKS("iq4_nl", VISE_GGUF_IQ4_NL, 32, 4, "gguf"),
    BLOCKS("iq4_xs", VISE_GGUF_IQ4_XS, 256, 4, "gguf"),
    BLOCKS("tq1_0", VISE_GGUF_TQ1_0, 256, 2, "gguf"),
    BLOCKS("tq2_0", VISE_GGUF_TQ2_0, 256, 2, "gguf"),
    BLOCKS("q1_0", VISE_GGUF_Q1_0, 128, 1, "gguf"),
    BLOCKS("mxfp4", VISE_GGUF_MXFP4, 32, 4, "gguf"), /* behind the other of that name: taken where the layout is GGUF */
};
enum { WEIGHT_TYPES = sizeof weight_types / sizeof *weight_types };

/* Weight types that users may name and this version does not hold. They are known so that the answer is "not
 * supported" and a slip of the pen is told from a wish. */
static const char *const other_weight_types[] = {
    "q8_1",    "iq1_s",  "iq1_m", "iq2_xxs", "iq2_xs",
    "iq2_s",    "iq3_xxs", "iq3_xs", "iq3_s", "iq3_m",   "iq2_m",
};
/* Names of llama.cpp's mixtures, which are no schemes of one weight. */
static const char *const mixtures[] = {
    "q2_k_s",   "q3_k_s",   "q3_k_m",   "q3_k_l",   "q4_k_s",   "q4_k_m",     "q5_k_s",     "q5_k_m",    "mxfp4_moe",
    "q4_0-mix", "q4_1-mix", "q5_0-mix", "q5_1-mix", "q8_0-mix", "q2_k-mix",   "q6_k-mix",   "iq4_nl-mix",
    "iq4_xs-mix", "tq1_0-mix", "tq2_0-mix", "q1_0-mix",
};
enum { MIXTURES = sizeof mixtures / sizeof *mixtures };

enum { OTHER_WEIGHT_TYPES = sizeof other_weight_types / sizeof *other_weight_types };

const vise_weight_type *vise_weight_types(size_t *count)
{
    *count = WEIGHT_TYPES;
    return weight_types;
}

const char *const *vise_mixture_names(size_t *count)
{
    *count = MIXTURES;
    return mixtures;
}

/* ---- parsing ------------------------------------------------------------------------------------------- */

/* Edits (insert, delete, replace) from a[0..length) to b, letters compared without case; b under 32
 * characters. */
static size_t edit_distance(const char *a, size_t length, const char *b)
{
    size_t row[33], b_length = strlen(b);
    for (size_t j = 0; j <= b_length; j++)
        row[j] = j;
    for (size_t i = 0; i < length; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        char letter = a[i] >= 'A' && a[i] <= 'Z' ? (char)(a[i] - 'A' + 'a') : a[i];
        for (size_t j = 0; j < b_length; j++) {
            size_t replace = diagonal + (letter != b[j]), best = row[j] < row[j + 1] ? row[j] : row[j + 1];
            diagonal = row[j + 1];
            row[j + 1] = replace < best + 1 ? replace : best + 1;
        }
    }
    return row[b_length];
}

/* What llm-compressor and compressed-tensors call their presets. */
static const struct {
    const char *name, *scheme;
} presets[] = {
    {"w2a16", "int2-g128"},
    {"w3a16", "int3-g128"},
    {"w4a16", "int4-g128"},
    {"w4a16_asym", "int4-g128-asym"},
    {"w8a16", "int8-g128"},
    {"w4a8", "int4-g128+int8-token"},
    {"w8a8", "int8-channel+int8-token"},
    {"w4afp8", "int4-g128+fp8-e4m3-token"},
    {"fp8_dynamic", "fp8-e4m3-channel+fp8-e4m3-token"},
    {"fp8_block", "fp8-e4m3-128x128+fp8-e4m3-g128"},
    {"nvfp4a16", "nvfp4"},
    {"mxfp4a16", "mxfp4"},
};

/* The scheme that is written otherwise: a preset's, or one with a dash missing, or with capitals and underscores.
 * False: text is not near enough to one. */
static bool respelled(const char *text, char scheme[VISE_SCHEME_TEXT_MAX])
{
    char rest[VISE_SCHEME_TEXT_MAX];
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
        if (strcasecmp(text, presets[i].name) == 0) {
            snprintf(scheme, VISE_SCHEME_TEXT_MAX, "%s", presets[i].scheme);
            return true;
        }
    for (size_t i = 0; i < WEIGHT_TYPES; i++) {
        const char *name = weight_types[i].name;
        const size_t length = strlen(name);
        vise_scheme parsed;
        if (strncasecmp(text, name, length) != 0)
            continue;
        const char *from = text + length + strspn(text + length, "-_");
        size_t n = 0;
        for (; from[n] != '\0'; n++)
            rest[n] = from[n] == '_' ? '-' : (char)tolower((unsigned char)from[n]);
        rest[n] = '\0';
        const int wanted = snprintf(scheme, VISE_SCHEME_TEXT_MAX, "%s%s%s", name,
                                    n == 0 || rest[0] == '+' ? "" : "-", rest);
        if (wanted < VISE_SCHEME_TEXT_MAX && vise_scheme_parse(scheme, &parsed, NULL) == VISE_OK)
            return true;
    }
    return false;
}

/* The longest name that text begins with, else the first that begins with it, else the one with the fewest edits to
 * text[0..length), at most a third; or NULL. */
static const char *nearest_weight_type(const char *text, size_t length)
{
    const char *nearest = NULL, *prefix = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < WEIGHT_TYPES + OTHER_WEIGHT_TYPES + MIXTURES; i++) {
        const char *name = i < WEIGHT_TYPES ? weight_types[i].name
                           : i < WEIGHT_TYPES + OTHER_WEIGHT_TYPES
                               ? other_weight_types[i - WEIGHT_TYPES]
                               : mixtures[i - WEIGHT_TYPES - OTHER_WEIGHT_TYPES];
        const size_t name_length = strlen(name), longer = name_length > length ? name_length : length;
        const bool begins = length >= 3 && strncmp(text, name, length) == 0;
        const size_t distance = begins ? 0 : edit_distance(text, length, name);
        if (distance < best && distance <= (longer + 2) / 3 && distance < longer) {
            best = distance;
            nearest = name;
        }
        if (strncmp(text, name, strlen(name)) == 0 && (!prefix || strlen(name) > strlen(prefix)))
            prefix = name;
    }
    return prefix ? prefix : nearest;
}

/* Does text begin with name, followed by a separator or the end? */
static bool begins_with(const char *text, const char *name)
{
    size_t length = strlen(name);
    return strncmp(text, name, length) == 0 &&
           strchr("-+", text[length]) != NULL; /* strchr finds the NUL too */
}

/* A decimal number of 1 to 7 digits without leading zero at *text; moves *text behind it. 0: none. */
static int64_t take_number(const char **text)
{
    int64_t value = 0;
    const char *p = *text;
    if (*p == '0')
        return 0;
    for (; *p >= '0' && *p <= '9' && p - *text < 7; p++)
        value = value * 10 + (*p - '0');
    *text = p;
    return value;
}

static vise_status parse_weight(const char *text, const vise_weight_type **type, vise_error *err)
{
    for (size_t i = 0; i < MIXTURES; i++)
        if (strcmp(text, mixtures[i]) == 0)
            return VISE_FAIL(
                err, VISE_EUSAGE,
                "%s is a mixture for a whole model, not the scheme of a weight; say q4_0, q4_k or the like", text);
    for (size_t i = 0; i < WEIGHT_TYPES; i++) {
        if (begins_with(text, weight_types[i].name)) {
            *type = &weight_types[i];
            return VISE_OK;
        }
    }
    if (begins_with(text, "fp8-e5m2"))
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "scheme %s: no runtime loads weights in fp8-e5m2; use fp8-e4m3, which is more precise", text);
    for (size_t i = 0; i < OTHER_WEIGHT_TYPES; i++) {
        if (begins_with(text, other_weight_types[i]))
            return VISE_FAIL(
                err, VISE_EUNSUPPORTED,
                "scheme %s: weight type %s is not in this version; it has those of \"vise "
                "inspect --schemes\"",
                text, other_weight_types[i]);
    }
    char scheme[VISE_SCHEME_TEXT_MAX];
    const char *nearest = respelled(text, scheme) ? scheme : nearest_weight_type(text, strcspn(text, "-+"));
    return VISE_FAIL(err, VISE_EUSAGE,
                     "\"%s\" is no scheme%s%s%s (WEIGHT[-GRANULARITY][-asym][+ACTIVATION]; vise inspect --schemes "
                     "lists them)",
                     text, nearest != NULL ? "; did you mean " : "", nearest != NULL ? nearest : "",
                     nearest != NULL ? "?" : "");
}

const char *vise_weight_type_grains(const vise_weight_type *type, char buffer[64])
{
    static const char *const names[] = {[VISE_PER_TENSOR] = "tensor",
                                        [VISE_PER_CHANNEL] = "channel",
                                        [VISE_PER_GROUP] = "gN",
                                        [VISE_PER_BLOCK] = "RxC (128x128)",
                                        [VISE_PER_FLAT] = "bN (b64)"};
    size_t at = 0;
    if (type->codebook && type->codebook->group > 0) {
        (void)snprintf(buffer, 64, "g%d", type->codebook->group);
        return buffer;
    }
    for (int g = 0; g <= VISE_PER_FLAT; g++)
        if (type->grains >> g & 1)
            at += (size_t)snprintf(buffer + at, 64 - at, "%s%s", at > 0 ? ", " : "", names[g]);
    return buffer;
}

/* One part between dashes, part[0..length). */
static vise_status parse_part(const char *text, const char *part, size_t length, bool *has_granularity,
                              vise_scheme *scheme, vise_error *err)
{
    const char *name = scheme->type->name, *end = part + length;
    bool is_granularity = true;
    if (length == 4 && memcmp(part, "asym", 4) == 0) {
        if (scheme->asym)
            return VISE_FAIL(err, VISE_EUSAGE, "scheme %s says asym twice", text);
        if (!scheme->type->has_asym)
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "scheme %s: %s has no zero points (-asym)", text, name);
        scheme->asym = true;
        is_granularity = false;
    } else if (length == 2 && memcmp(part, "dq", 2) == 0) {
        if (!(scheme->type->grains & FLAT))
            return VISE_FAIL(err, VISE_EUNSUPPORTED, "scheme %s: %s has no quantized scales (-dq)", text, name);
        scheme->dq = true;
        is_granularity = false;
    } else if (length == 6 && memcmp(part, "tensor", 6) == 0) {
        scheme->granularity = VISE_PER_TENSOR;
        scheme->group = 0;
    } else if (length == 7 && memcmp(part, "channel", 7) == 0) {
        scheme->granularity = VISE_PER_CHANNEL;
        scheme->group = 0;
    } else if (length == 5 && memcmp(part, "token", 5) == 0) {
        return VISE_FAIL(err, VISE_EUSAGE,
                         "scheme %s: token is how inputs are quantized, which stands behind a +, as in "
                         "int8-channel+int8-token",
                         text);
    } else {
        /* gN, bN or RxC */
        const char *p = part + (*part == 'g' || *part == 'b');
        int64_t number = take_number(&p), rows = 0;
        if (number > 0 && p < end && *p == 'x' && *part != 'g' && *part != 'b') {
            p++;
            rows = number;
            number = take_number(&p);
        }
        if (number == 0 || p != end || (*part != 'g' && *part != 'b' && rows == 0))
            return VISE_FAIL(err, VISE_EUSAGE,
                             "scheme %s: \"%.*s\" is no granularity; say tensor, channel or gN (g128)", text,
                             (int)length, part);
        if (number > GROUP_MAX || rows > GROUP_MAX)
            return VISE_FAIL(err, VISE_EUSAGE, "scheme %s: a group has at most %d weights", text, GROUP_MAX);
        scheme->granularity = *part == 'g' ? VISE_PER_GROUP : *part == 'b' ? VISE_PER_FLAT : VISE_PER_BLOCK;
        scheme->group = number;
        scheme->group_rows = rows;
        if (scheme->granularity == VISE_PER_FLAT && (number < 32 || number > 4096 || (number & (number - 1)) != 0))
            return VISE_FAIL(err, VISE_EUSAGE, "scheme %s: flat blocks have 32, 64, 128 ... or 4096 weights", text);
    }
    const vise_codebook *codebook = scheme->type->codebook;
    if (is_granularity && codebook && codebook->group > 0 && scheme->granularity == VISE_PER_GROUP &&
        scheme->group != codebook->group)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "scheme %s: the groups of %s have %d weights", text, name,
                         codebook->group);
    if (is_granularity && !(scheme->type->grains >> scheme->granularity & 1)) {
        char have[64];
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "scheme %s: %s has no granularity %.*s; it has %s", text, name,
                         (int)length, part, vise_weight_type_grains(scheme->type, have));
    }
    if (is_granularity && (*has_granularity || scheme->asym || scheme->dq))
        return VISE_FAIL(err, VISE_EUSAGE, "scheme %s: one granularity, before -asym and -dq", text);
    *has_granularity |= is_granularity;
    return VISE_OK;
}

static vise_status parse_activation(const char *text, const char *name, vise_scheme *scheme, vise_error *err)
{
    const vise_activation_type *type = vise_activation_type_find(name);
    char names[VISE_ACTIVATION_NAMES_MAX];
    if (!type)
        return VISE_FAIL(err, VISE_EUSAGE, "scheme %s: \"%s\" is no activation; %s takes %s", text, name,
                         scheme->type->name, vise_activation_names(scheme->type, names));
    if (!vise_activation_goes_with(type, scheme->type))
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "scheme %s: activation %s does not go with %s weights, which take %s",
                         text, name, scheme->type->name, vise_activation_names(scheme->type, names));
    scheme->activation = type->name;
    return VISE_OK;
}

vise_status vise_scheme_parse(const char *text, vise_scheme *scheme, vise_error *err)
{
    vise_scheme parsed = {0};
    bool has_granularity = false;
    if (strlen(text) >= VISE_SCHEME_TEXT_MAX)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "\"%.40s...\" is no scheme (WEIGHT[-GRANULARITY][-asym][+ACTIVATION])", text);
    VISE_TRY(parse_weight(text, &parsed.type, err));
    parsed.granularity = parsed.type->default_granularity;
    parsed.group = parsed.type->default_group;

    const char *p = text + strlen(parsed.type->name);
    if (*p != '\0' && parsed.type->blocks != NULL)
        return VISE_FAIL(err, VISE_EUSAGE, "scheme %s: the GGUF type %s says it all; leave out \"%s\"", text,
                         parsed.type->name, p);
    while (*p == '-') {
        size_t length = strcspn(p + 1, "-+");
        VISE_TRY(parse_part(text, p + 1, length, &has_granularity, &parsed, err));
        p += 1 + length;
    }
    if (*p == '+')
        VISE_TRY(parse_activation(text, p + 1, &parsed, err));
    *scheme = parsed;
    return VISE_OK;
}

const char *vise_scheme_text(const vise_scheme *scheme, char buffer[VISE_SCHEME_TEXT_MAX])
{
    char group[32];
    const char *granularity = "tensor";
    if (!scheme->type) {
        snprintf(buffer, VISE_SCHEME_TEXT_MAX, "float");
        return buffer;
    }
    if (scheme->type->blocks != NULL) {
        snprintf(buffer, VISE_SCHEME_TEXT_MAX, "%s", scheme->type->name);
        return buffer;
    }
    if (scheme->granularity == VISE_PER_CHANNEL) {
        granularity = "channel";
    } else if (scheme->granularity == VISE_PER_GROUP) {
        snprintf(group, sizeof group, "g%lld", (long long)scheme->group);
        granularity = group;
    } else if (scheme->granularity == VISE_PER_FLAT) {
        snprintf(group, sizeof group, "b%lld", (long long)scheme->group);
        granularity = group;
    } else if (scheme->granularity == VISE_PER_BLOCK) {
        snprintf(group, sizeof group, "%lldx%lld", (long long)scheme->group_rows, (long long)scheme->group);
        granularity = group;
    }
    snprintf(buffer, VISE_SCHEME_TEXT_MAX, "%s-%s%s%s%s%s", scheme->type->name, granularity,
             scheme->asym ? "-asym" : "", scheme->dq ? "-dq" : "", scheme->activation ? "+" : "",
             scheme->activation ? scheme->activation : "");
    return buffer;
}

bool vise_scheme_equal(const vise_scheme *a, const vise_scheme *b)
{
    if (!a->type || !b->type)
        return a->type == b->type;
    if (a->activation ? !b->activation || strcmp(a->activation, b->activation) != 0 : b->activation != NULL)
        return false;
    return a->type == b->type && a->granularity == b->granularity && a->group == b->group &&
           a->group_rows == b->group_rows && a->asym == b->asym && a->dq == b->dq;
}

/* ---- sizes --------------------------------------------------------------------------------------------- */

int64_t vise_scheme_groups(const vise_scheme *scheme, int64_t cols)
{
    if (scheme->granularity == VISE_PER_BLOCK)
        return cols / scheme->group + (cols % scheme->group != 0);
    if (scheme->granularity != VISE_PER_GROUP)
        return 1;
    return cols % scheme->group == 0 ? cols / scheme->group : 0;
}

double vise_scheme_bits(const vise_scheme *scheme, int64_t rows, int64_t cols, vise_dtype scale_dtype)
{
    if (!scheme->type)
        return vise_dtype_of(scale_dtype)->bits;
    const vise_gguf_type *blocks = scheme->type->blocks;
    if (blocks != NULL)
        return 8.0 * blocks->bytes / blocks->values;
    const double weights = (double)rows * (double)cols;
    if (scheme->granularity == VISE_PER_FLAT)
        return scheme->type->bits + (scheme->dq ? 8.0 + 32.0 / VISE_NESTED_BLOCK : 32.0) / (double)scheme->group;
    if (scheme->granularity == VISE_PER_BLOCK)
        rows = rows / scheme->group_rows + (rows % scheme->group_rows != 0);
    double groups = scheme->granularity == VISE_PER_TENSOR
                        ? 1.0
                        : (double)rows * (double)vise_scheme_groups(scheme, cols);
    const vise_codebook *codebook = scheme->type->codebook;
    const int scale_bits = codebook && codebook->scale_bits ? codebook->scale_bits : vise_dtype_of(scale_dtype)->bits;
    double group_bits = scale_bits + (scheme->asym ? scheme->type->bits : 0);
    return scheme->type->bits + groups * group_bits / weights;
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int64_t vise_scheme_tile_rows(const vise_scheme *scheme, int64_t cols)
{
    if (!scheme->type || cols < 1)
        return 1;
    if (scheme->granularity == VISE_PER_BLOCK)
        return scheme->group_rows;
    if (scheme->granularity != VISE_PER_FLAT)
        return 1;
    int64_t unit = scheme->group * (scheme->dq ? VISE_NESTED_BLOCK : 1);
    return unit / gcd(unit, cols);
}

/* Offsets of the parts of a block, and its size. Sums saturate at SIZE_MAX, which no allocation can serve. */
typedef struct parts {
    size_t scales, zeros, scale_codes, nested, total;
} parts;

static size_t add_part(size_t offset, size_t count, size_t size)
{
    size_t bytes, sum;
    if (__builtin_mul_overflow(count, size, &bytes) || __builtin_add_overflow(offset, bytes, &sum) ||
        sum > SIZE_MAX - 63)
        return SIZE_MAX;
    return (sum + 63) & ~(size_t)63;
}

static parts parts_of(const vise_scheme *scheme, int64_t rows, int64_t cols)
{
    parts p = {SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX, SIZE_MAX};
    size_t codes, scales;
    if (rows < 0 || cols < 0 || __builtin_mul_overflow((size_t)rows, (size_t)cols, &codes))
        return p;
    const vise_gguf_type *blocks = scheme->type->blocks;
    if (blocks != NULL) {
        if (!__builtin_mul_overflow((size_t)rows, vise_gguf_row_bytes(blocks, cols), &codes))
            p.scales = p.zeros = p.scale_codes = p.nested = p.total = add_part(0, codes, 1);
        return p;
    }
    size_t groups = (size_t)vise_scheme_groups(scheme, cols);
    if (scheme->granularity == VISE_PER_TENSOR)
        scales = 1;
    else if (scheme->granularity == VISE_PER_FLAT) /* the first may have begun in the row before */
        scales = codes / (size_t)scheme->group + 2;
    else if (__builtin_mul_overflow((size_t)rows, groups, &scales))
        return p;
    p.scales = add_part(0, codes, 1);
    p.zeros = add_part(p.scales, scales, sizeof(float));
    p.scale_codes = add_part(p.zeros, scheme->asym ? scales : 0, 1);
    p.nested = add_part(p.scale_codes, scheme->dq ? scales : 0, 1);
    p.total = add_part(p.nested, scheme->dq ? scales / VISE_NESTED_BLOCK + 2 : 0, sizeof(float));
    return p;
}

size_t vise_qweight_bytes(const vise_scheme *scheme, int64_t rows, int64_t cols)
{
    return parts_of(scheme, rows, cols).total;
}

void vise_qweight_carve(vise_qweight *q, const vise_scheme *scheme, vise_dtype scale_dtype, int64_t rows,
                        int64_t cols, void *block)
{
    uint8_t *bytes = block;
    parts p = parts_of(scheme, rows, cols);
    *q = (vise_qweight){
        .scheme = *scheme,
        .scale_dtype = scale_dtype,
        .rows = rows,
        .cols = cols,
        .groups = vise_scheme_groups(scheme, cols),
        .codes = bytes,
        .scales = scheme->type->blocks == NULL ? (float *)(void *)(bytes + p.scales) : NULL,
        .zeros = scheme->asym ? bytes + p.zeros : NULL,
        .scale_codes = scheme->dq ? bytes + p.scale_codes : NULL,
        .nested = scheme->dq ? (float *)(void *)(bytes + p.nested) : NULL,
    };
}

size_t vise_qweight_row_bytes(const vise_qweight *q)
{
    const vise_gguf_type *blocks = q->scheme.type->blocks;
    return blocks != NULL ? (size_t)vise_gguf_row_bytes(blocks, q->cols) : (size_t)q->cols;
}

vise_qweight vise_qweight_rows(const vise_qweight *q, int64_t row0, int64_t rows)
{
    vise_qweight part = *q;
    part.rows = rows;
    part.codes += (size_t)row0 * vise_qweight_row_bytes(q);
    if (q->scheme.granularity == VISE_PER_FLAT) {
        const int64_t block = q->scheme.group, first = q->flat / block;
        part.flat = q->flat + row0 * q->cols;
        part.scales += part.flat / block - first;
        if (q->scheme.dq) {
            part.scale_codes += part.flat / block - first;
            part.nested += part.flat / block / VISE_NESTED_BLOCK - first / VISE_NESTED_BLOCK;
        }
    } else if (q->scheme.granularity != VISE_PER_TENSOR) {
        if (part.scales != NULL)
            part.scales += row0 * q->groups;
        if (part.zeros != NULL)
            part.zeros += row0 * q->groups;
    }
    return part;
}
