/* general.*: what a model is called. Names of models say more than a name - "SmolLM2-1.7B-Instruct-v0.2" - and
 * llama.cpp's converter takes them apart: base name, fine-tune, version, size. Its rules are kept, since
 * runtimes and hubs show what they give. Sampling parameters come from generation_config.json. */
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "formats/gguf_meta.h"

#define TEXT_MAX  256
#define PARTS_MAX 32
#define JSON_MAX  ((size_t)16 << 20)

enum { BASENAME = 1, SIZE = 2, FINETUNE = 4, VERSION = 8, TYPE = 16 };

typedef struct part {
    char text[TEXT_MAX];
    unsigned is;
} part;

typedef struct title {
    char name[TEXT_MAX], organization[TEXT_MAX], basename[TEXT_MAX], finetune[TEXT_MAX], version[TEXT_MAX],
        size[TEXT_MAX]; /* empty: not known */
} title;

/* ---- the parts of a name ------------------------------------------------------------------------------- */

static bool equals(const char *text, const char *word)
{
    for (; *text != '\0' && tolower((unsigned char)*text) == *word; text++)
        word++;
    return *text == '\0' && *word == '\0';
}

static size_t digits(const char *text)
{
    size_t n = 0;
    while (isdigit((unsigned char)text[n]))
        n++;
    return n;
}

/* (v|iter)?\d+([.]\d+)* */
static bool is_version(const char *text)
{
    if (tolower((unsigned char)*text) == 'v')
        text++;
    else if (strncmp(text, "iter", 4) == 0 || strncmp(text, "ITER", 4) == 0 || strncmp(text, "Iter", 4) == 0)
        text += 4;
    size_t n = digits(text);
    while (n > 0 && text[n] == '.') {
        const size_t more = digits(text + n + 1);
        if (more == 0)
            return false;
        n += 1 + more;
    }
    return n > 0 && text[n] == '\0';
}

/* i?q\d(_\w)*|b?fp?(16|32) */
static bool is_type(const char *text)
{
    const char *at = tolower((unsigned char)*text) == 'i' ? text + 1 : text;
    if (tolower((unsigned char)at[0]) == 'q' && isdigit((unsigned char)at[1])) {
        for (at += 2; at[0] == '_' && (isalnum((unsigned char)at[1]) || at[1] == '_'); at += 2)
            continue;
        return *at == '\0';
    }
    at = tolower((unsigned char)*text) == 'b' ? text + 1 : text;
    if (tolower((unsigned char)*at++) != 'f')
        return false;
    at += tolower((unsigned char)*at) == 'p';
    return strcmp(at, "16") == 0 || strcmp(at, "32") == 0;
}

/* (([A]|\d+[x])?\d+([._]\d+)?[KMBT][\d]?|small|mini|medium|large|x?xl) */
static bool is_size(const char *text)
{
    static const char *const words[] = {"small", "mini", "medium", "large", "xl", "xxl"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (equals(text, words[i]))
            return true;
    if (tolower((unsigned char)*text) == 'a')
        text++;
    else if (digits(text) > 0 && tolower((unsigned char)text[digits(text)]) == 'x')
        text += digits(text) + 1;
    size_t n = digits(text);
    if (n == 0)
        return false;
    if ((text[n] == '.' || text[n] == '_') && digits(text + n + 1) > 0)
        n += 1 + digits(text + n + 1);
    if (text[n] == '\0' || strchr("kmbtKMBT", text[n]) == NULL)
        return false;
    n += isdigit((unsigned char)text[n + 1]) != 0 ? 2 : 1;
    return text[n] == '\0';
}

/* A size as it is written, "7b1" being 7.1B; one that is far from the model's own is a length of context. */
static void take_size(part *p, uint64_t parameters)
{
    char *text = p->text;
    size_t n = strlen(text);
    for (size_t i = 0; i < n; i++)
        text[i] = text[i] == '_' ? '.' : text[i];
    if (isdigit((unsigned char)text[n - 1]) && n >= 2) {
        const char letter = text[n - 2], last = text[n - 1];
        snprintf(text + n - 2, TEXT_MAX - n + 2, ".%c%c", last, letter);
        n++;
    }
    if (n > 1 && isdigit((unsigned char)text[n - 2]) && strchr("kmbt", text[n - 1]) != NULL)
        text[n - 1] = (char)toupper((unsigned char)text[n - 1]);
    const char *unit = strchr(" KMBT", text[n - 1]);
    char *end;
    const double number = strtod(text, &end);
    if (parameters > 0 && end == text + n - 1 && end != text) {
        const double label = number * pow(1000.0, unit != NULL ? (double)(unit - " KMBT") : -1.0);
        if (fabs(label - (double)parameters) > (double)(7 * parameters / 8)) {
            p->is |= FINETUNE;
            text[n - 1] = (char)tolower((unsigned char)text[n - 1]);
        }
    }
    if (p->is == 0)
        p->is = SIZE;
}

static size_t split(const char *name, part parts[PARTS_MAX])
{
    size_t n = 0;
    while (*name != '\0' && n < PARTS_MAX) {
        const size_t length = strcspn(name, "-");
        if (length > 0 && length < TEXT_MAX - 8) {
            memcpy(parts[n].text, name, length);
            parts[n].text[length] = '\0';
            parts[n++].is = 0;
        }
        name += length + (name[length] == '-');
    }
    return n;
}

static bool has(const char *text, int (*kind)(int), bool all)
{
    for (; *text != '\0'; text++)
        if ((kind((unsigned char)*text) != 0) != all)
            return !all;
    return all;
}

static void sort_parts(part *parts, size_t n, uint64_t parameters)
{
    bool numbered = false, at_start = true;
    for (size_t i = 0; i < n; i++) {
        part *p = &parts[i];
        if (is_version(p->text)) {
            p->is = VERSION;
        } else if (is_type(p->text)) {
            p->is = TYPE;
            for (char *c = p->text; *c != '\0'; c++)
                *c = (char)toupper((unsigned char)*c);
        } else if (i > 0 && is_size(p->text)) {
            take_size(p, parameters);
        } else if (i > 0 && (equals(p->text, "chat") || equals(p->text, "instruct") ||
                             equals(p->text, "vision") || equals(p->text, "lora"))) {
            p->is = FINETUNE;
        }
        numbered = numbered || ((p->is & SIZE) != 0 && has(p->text, isdigit, false));
    }
    for (size_t i = 0; i < n && numbered; i++) /* sizes in words count only without one in numbers */
        if ((parts[i].is & SIZE) != 0 && has(parts[i].text, isalpha, true))
            parts[i].is &= ~(unsigned)SIZE;
    for (size_t i = 0; i < n; i++) {
        part *p = &parts[i];
        if (at_start && ((p->is == 0 && isalpha((unsigned char)p->text[0])) || (p->is & VERSION) != 0))
            p->is |= BASENAME;
        else
            at_start = false;
        if (p->is == 0)
            p->is = FINETUNE;
    }
    for (size_t i = n; i-- > 0 && (parts[i].is & BASENAME) != 0 && (parts[i].is & ~(unsigned)BASENAME) != 0;)
        parts[i].is &= ~(unsigned)BASENAME;
}

static void join(const part *parts, size_t n, unsigned wanted, unsigned unwanted, char out[TEXT_MAX])
{
    size_t length = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        bool twice = false;
        for (size_t k = 0; k < i && wanted == SIZE; k++)
            twice = twice || ((parts[k].is & SIZE) != 0 && strcmp(parts[k].text, parts[i].text) == 0);
        if ((parts[i].is & wanted) == 0 || (parts[i].is & unwanted) != 0 || twice)
            continue;
        const int added = snprintf(out + length, TEXT_MAX - length, "%s%s", length > 0 ? "-" : "", parts[i].text);
        if (added < 0 || (size_t)added >= TEXT_MAX - length)
            return;
        length += (size_t)added;
    }
}

/* "llama-stories260K" to "Llama stories260K": words in small letters get a capital, others are names
 * already, as are versions and what begins with a digit. */
static void title_case(const char *id, char out[TEXT_MAX])
{
    size_t n = 0;
    while (*id != '\0' && n < TEXT_MAX - 2) {
        const size_t length = strcspn(id, "- \t");
        char word[TEXT_MAX];
        snprintf(word, sizeof word, "%.*s", (int)length, id);
        const bool named = isdigit((unsigned char)word[0]) ||
                           (word[0] == 'v' && digits(word + 1) > 0 && is_version(word));
        const bool small = has(word, isalpha, false) && !has(word, isupper, false);
        if (length > 0 && n > 0)
            out[n++] = ' ';
        for (size_t i = 0; i < length && n < TEXT_MAX - 1; i++) {
            const bool first = i == 0 || !isalpha((unsigned char)word[i - 1]);
            out[n++] = small && !named && first ? (char)toupper((unsigned char)word[i]) : word[i];
        }
        id += length;
        id += strspn(id, "- \t");
    }
    out[n] = '\0';
}

static void fill(char text[TEXT_MAX], const char *value)
{
    if (text[0] == '\0')
        snprintf(text, TEXT_MAX, "%s", value);
}

/* What an id ("organization/model") tells of what is not known yet. */
static void take_id(title *t, const char *id, uint64_t parameters)
{
    part parts[PARTS_MAX];
    title found = {0};
    char text[TEXT_MAX];
    if (strchr(id, ' ') != NULL) {
        title_case(id, text);
        fill(t->name, text);
        return;
    }
    const char *slash = strchr(id, '/');
    if (slash != NULL && id[0] != '.') {
        snprintf(text, sizeof text, "%.*s", (int)(slash - id), id);
        title_case(text, found.organization);
    }
    const char *model = slash != NULL ? slash + 1 : id;
    const size_t n = split(model, parts);
    sort_parts(parts, n, parameters);
    join(parts, n, BASENAME, 0, found.basename);
    join(parts, n, SIZE, 0, found.size);
    join(parts, n, FINETUNE, 0, found.finetune);
    join(parts, n, VERSION, BASENAME, found.version);
    if (found.size[0] == '\0' && found.finetune[0] == '\0' && found.version[0] == '\0')
        found.basename[0] = '\0'; /* too little to tell them apart */
    title_case(model, found.name);
    fill(t->name, found.name);
    fill(t->organization, found.organization);
    fill(t->basename, found.basename);
    fill(t->finetune, found.finetune);
    fill(t->version, found.version);
    fill(t->size, found.size);
}

/* ---- size ---------------------------------------------------------------------------------------------- */

/* "260K", "1.1B": two digits at least. */
static void count_label(uint64_t parameters, char label[24])
{
    static const struct {
        double unit, scale;
        char letter;
    } units[] = {{1e12, 1e-12, 'T'}, {1e9, 1e-9, 'B'}, {1e6, 1e-6, 'M'}, {1e3, 1e-3, 'K'}};
    size_t i = 0;
    while (i < 3 && (double)parameters <= units[i].unit)
        i++;
    const double scaled = (double)parameters * units[i].scale, rounded = rint(scaled);
    snprintf(label, 24, "%.*f%c", rounded < 1.0 ? 2 : rounded < 10.0 ? 1 : 0, scaled, units[i].letter);
}

static void size_label(const vise_gguf_facts *facts, char label[TEXT_MAX])
{
    char count[24];
    count_label(facts->experts > 0 ? facts->shared_parameters + facts->expert_parameters : facts->parameters,
                count);
    if (facts->experts > 0)
        snprintf(label, TEXT_MAX, "%lldx%s", (long long)facts->experts, count);
    else
        snprintf(label, TEXT_MAX, "%s", count);
}

/* ---- sampling ------------------------------------------------------------------------------------------ */

static vise_status put_sampling(const vise_source *source, vise_gguf_values *values, vise_error *err)
{
    static const struct {
        const char *hf, *other, *gguf;
        bool is_int;
    } rows[] = {
        {"top_k", NULL, "top_k", true},
        {"top_p", NULL, "top_p", false},
        {"min_p", NULL, "min_p", false},
        {"xtc_probability", NULL, "xtc_probability", false},
        {"xtc_threshold", NULL, "xtc_threshold", false},
        {"temperature", NULL, "temp", false},
        {"penalty_last_n", NULL, "penalty_last_n", true},
        {"penalty_repeat", "repetition_penalty", "penalty_repeat", false},
        {"mirostat", NULL, "mirostat", true},
        {"mirostat_tau", NULL, "mirostat_tau", false},
        {"mirostat_eta", NULL, "mirostat_eta", false},
    };
    char *path, key[64];
    cJSON *config = NULL;
    VISE_TRY(vise_path_join(vise_source_path(source), "generation_config.json", &path, err));
    vise_error ignored = {0};
    /* A broken one is no reason to stop: it is advice to samplers. */
    if (vise_source_is_folder(source) && vise_path_exists(path) &&
        vise_json_load(path, JSON_MAX, &config, &ignored) != VISE_OK)
        vise_warn("%s: cannot be read; the GGUF file says nothing of sampling", path);
    vise_free(path);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const cJSON *number = cJSON_GetObjectItemCaseSensitive(config, rows[i].hf);
        if (number == NULL && rows[i].other != NULL)
            number = cJSON_GetObjectItemCaseSensitive(config, rows[i].other);
        snprintf(key, sizeof key, "general.sampling.%s", rows[i].gguf);
        if (cJSON_IsNumber(number) && rows[i].is_int)
            vise_gguf_put_i32(values, key, number->valueint);
        else if (cJSON_IsNumber(number))
            vise_gguf_put_f32(values, key, (float)number->valuedouble);
    }
    cJSON_Delete(config);
    return VISE_OK;
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static void folder_name(const char *path, char name[TEXT_MAX])
{
    size_t end = strlen(path), start;
    while (end > 1 && path[end - 1] == '/')
        end--;
    for (start = end; start > 0 && path[start - 1] != '/';)
        start--;
    snprintf(name, TEXT_MAX, "%.*s", (int)(end - start), path + start);
}

vise_status vise_gguf_describe_model(const vise_source *source, const vise_gguf_facts *facts,
                                     vise_gguf_values *values, vise_error *err)
{
    const cJSON *id = cJSON_GetObjectItemCaseSensitive(vise_source_config(source), "_name_or_path");
    char folder[TEXT_MAX];
    title t = {0};
    const char *slash = cJSON_IsString(id) ? strchr(id->valuestring, '/') : NULL;
    if (cJSON_IsString(id) && id->valuestring[0] != '\0' && (slash == NULL || strchr(slash + 1, '/') == NULL))
        take_id(&t, id->valuestring, facts->parameters);
    folder_name(vise_source_path(source), folder);
    take_id(&t, folder, facts->parameters);
    if (t.size[0] == '\0')
        size_label(facts, t.size);
    vise_gguf_put_text(values, "general.type", "model");
    VISE_TRY(put_sampling(source, values, err));
    const struct {
        const char *key, *text;
    } rows[] = {
        {"general.name", t.name},         {"general.version", t.version},
        {"general.organization", t.organization}, {"general.finetune", t.finetune},
        {"general.basename", t.basename}, {"general.size_label", t.size},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (i == 0 || rows[i].text[0] != '\0')
            vise_gguf_put_text(values, rows[i].key, rows[i].text);
    return VISE_OK;
}
