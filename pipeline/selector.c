#include "pipeline/selector.h"

#include <stdio.h>
#include <string.h>

#include "tensor/dtype.h"

/* ---- globs ------------------------------------------------------------------------------------------ */

/* Matches c against the set that begins behind '['; *end gets the place behind ']'. A '[' that is never
 * closed is no set: *end is then NULL. */
static bool set_matches(const char *set, char c, const char **end)
{
    bool negated = *set == '!' || *set == '^', found = false, first = true;
    unsigned char wanted = (unsigned char)c;

    *end = NULL;
    set += negated;
    for (; *set && (first || *set != ']'); first = false) {
        unsigned char low = (unsigned char)*set, high = low;

        if (set[1] == '-' && set[2] && set[2] != ']') {
            high = (unsigned char)set[2];
            set += 3;
        } else {
            set++;
        }
        found = found || (wanted >= low && wanted <= high);
    }
    if (*set != ']')
        return false;
    *end = set + 1;
    return found != negated;
}

/* One pattern element against one character; *next gets the place behind the element. */
static bool element_matches(const char *pattern, char c, const char **next)
{
    const char *end;

    *next = pattern + 1;
    if (*pattern == '?')
        return true;
    if (*pattern == '[') {
        bool matches = set_matches(pattern + 1, c, &end);

        if (end) {
            *next = end;
            return matches;
        }
    }
    return *pattern == c;
}

bool vise_glob_match(const char *pattern, const char *text)
{
    const char *star = NULL, *resume = NULL, *next;

    /* After a '*' only the last one ever needs to give more: what an earlier one could take, the last can
     * too. */
    while (*text) {
        if (*pattern == '*') {
            star = ++pattern;
            resume = text;
        } else if (*pattern && element_matches(pattern, *text, &next)) {
            pattern = next;
            text++;
        } else if (star) {
            pattern = star;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

/* ---- selectors -------------------------------------------------------------------------------------- */

#define ROLE_PREFIX "role:"
#define SELECTOR_SHOW_MAX 128

/* The module that a tied head would have, when this tensor stands for it. */
static const vise_arch_row *tied_head(const vise_model *model, const vise_bound *bound)
{
    size_t head;

    if (!model->arch || !model->tied)
        return NULL;
    head = vise_model_role(model, VISE_ROLE_HEAD, -1);
    if (head >= model->count || &model->bound[head] != bound)
        return NULL;
    for (size_t i = 0; i < model->arch->n_rows; i++)
        if (model->arch->rows[i].role == VISE_ROLE_HEAD &&
            vise_arch_row_applies(&model->arch->rows[i], &model->config, -1))
            return &model->arch->rows[i];
    return NULL;
}

bool vise_selector_matches(const char *selector, const vise_model *model, const vise_bound *bound)
{
    const vise_arch_row *head = tied_head(model, bound);

    if (strncmp(selector, ROLE_PREFIX, strlen(ROLE_PREFIX)) == 0) {
        vise_role role;

        if (!vise_role_from_name(selector + strlen(ROLE_PREFIX), &role))
            return false;
        return bound->role == role || (head && role == VISE_ROLE_HEAD);
    }
    return vise_glob_match(selector, bound->tensor->module) ||
           (head && vise_glob_match(selector, head->module));
}

/* A matrix of weights: what a pass can work on. */
static bool selectable(const vise_bound *bound)
{
    const vise_logical *tensor = bound->tensor;

    return tensor->ndim == 2 && !bound->is_bias &&
           (tensor->scheme.type || vise_dtype_of(tensor->dtype)->is_float);
}

static vise_status unknown_role(const char *selector, vise_error *err)
{
    const char *names[VISE_ROLE_COUNT];
    const char *nearest;

    for (size_t i = 0; i < VISE_ROLE_COUNT; i++)
        names[i] = vise_role_name((vise_role)i);
    nearest = vise_nearest(selector + strlen(ROLE_PREFIX), names, VISE_ROLE_COUNT);
    if (nearest)
        return VISE_FAIL(err, VISE_EUSAGE, "selector '%s': unknown role; did you mean 'role:%s'?", selector,
                         nearest);
    return VISE_FAIL(err, VISE_EUSAGE, "selector '%s': unknown role; `vise inspect --roles` lists them",
                     selector);
}

static vise_status no_match(const char *selector, const vise_model *model, vise_error *err)
{
    /* What is meant by a role's name alone, and by the end, the beginning and the middle of a module's. */
    static const char *const around[][2] = {{ROLE_PREFIX, ""}, {"*.", ""}, {"", ".*"}, {"*.", ".*"}};
    const char *best = NULL;
    char complete[SELECTOR_SHOW_MAX];

    for (size_t a = 0; a < sizeof around / sizeof around[0] && !best; a++) {
        const int length = snprintf(complete, sizeof complete, "%s%s%s", around[a][0], selector, around[a][1]);
        for (size_t i = 0; i < model->count && length < SELECTOR_SHOW_MAX && !best; i++)
            if (vise_selector_matches(complete, model, &model->bound[i]))
                best = complete;
    }
    for (size_t i = 0; i < model->count && !best; i++) {
        const char *module = model->bound[i].tensor->module;

        best = vise_nearest(selector, &module, 1);
    }
    if (best)
        return VISE_FAIL(err, VISE_EUSAGE, "selector '%s' matches no module; did you mean '%s'?", selector,
                         best);
    return VISE_FAIL(err, VISE_EUSAGE,
                     "selector '%s' matches no module of the model; `vise inspect MODEL` lists the names",
                     selector);
}

vise_status vise_selector_check(const vise_model *model, const char *selector, bool includes, vise_error *err)
{
    bool matched = false;
    vise_role role;

    if (strncmp(selector, ROLE_PREFIX, strlen(ROLE_PREFIX)) == 0 &&
        !vise_role_from_name(selector + strlen(ROLE_PREFIX), &role))
        return unknown_role(selector, err);
    for (size_t i = 0; i < model->count; i++) {
        if (!vise_selector_matches(selector, model, &model->bound[i]))
            continue;
        if (!includes || selectable(&model->bound[i]))
            return VISE_OK;
        matched = true;
    }
    if (!matched)
        return no_match(selector, model, err);
    return VISE_FAIL(err, VISE_EUSAGE,
                     "selector '%s' names nothing that a pass can work on: no matrix of weights", selector);
}

static bool any_matches(const vise_texts *selectors, const vise_model *model, const vise_bound *bound)
{
    for (size_t i = 0; i < selectors->count; i++)
        if (vise_selector_matches(selectors->items[i], model, bound))
            return true;
    return false;
}

vise_status vise_select(const vise_model *model, const vise_texts *include, const vise_texts *exclude,
                        bool *selected, vise_error *err)
{
    for (size_t i = 0; i < include->count; i++)
        VISE_TRY(vise_selector_check(model, include->items[i], true, err));
    for (size_t i = 0; i < exclude->count; i++)
        VISE_TRY(vise_selector_check(model, exclude->items[i], false, err));
    for (size_t i = 0; i < model->count; i++) {
        const vise_bound *bound = &model->bound[i];
        /* An unknown family has no blocks: what looks like a linear inside one counts. */
        bool target = bound->is_linear && (!model->arch || bound->layer >= 0);

        if (include->count > 0)
            target = any_matches(include, model, bound);
        selected[i] = target && selectable(bound) && !any_matches(exclude, model, bound);
    }
    return VISE_OK;
}
