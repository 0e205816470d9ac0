#include "quant/rules.h"

#include <string.h>

#include "pipeline/selector.h"

static vise_status parse_rule(const char *text, vise_arena *arena, vise_quant_rule *rule, vise_error *err)
{
    const char *equals = strrchr(text, '=');
    if (equals == NULL || equals == text || equals[1] == '\0')
        return VISE_FAIL(err, VISE_EUSAGE, "--set %s: give SELECTOR=SCHEME, such as role:down_proj=int8-channel", text);
    *rule = (vise_quant_rule){.text = text};
    VISE_TRY(vise_arena_strdup(arena, text, (size_t)(equals - text), &rule->selector, err));
    return strcmp(equals + 1, "float") == 0 ? VISE_OK : vise_scheme_parse(equals + 1, &rule->scheme, err);
}

vise_status vise_quant_rules_parse(const vise_texts *texts, vise_arena *arena, vise_quant_rules *rules, vise_error *err)
{
    *rules = (vise_quant_rules){.count = texts->count};
    VISE_TRY(vise_arena_take(arena, (texts->count + 1) * sizeof *rules->items, (void **)&rules->items, err));
    for (size_t i = 0; i < texts->count; i++)
        VISE_TRY(parse_rule(texts->items[i], arena, &rules->items[i], err));
    return VISE_OK;
}

const vise_scheme *vise_quant_rules_find(vise_quant_rules *rules, const vise_model *model, const vise_bound *bound)
{
    const vise_scheme *found = NULL;
    for (size_t i = 0; i < rules->count; i++) {
        if (!vise_selector_matches(rules->items[i].selector, model, bound))
            continue;
        rules->items[i].used = true;
        found = &rules->items[i].scheme;
    }
    return found;
}

vise_status vise_quant_rules_check(const vise_quant_rules *rules, const vise_model *model, vise_error *err)
{
    for (size_t i = 0; i < rules->count; i++) {
        if (rules->items[i].used)
            continue;
        VISE_TRY(vise_selector_check(model, rules->items[i].selector, true, err));
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--set %s: no weight that quant works on matches; --include SELECTOR adds what it names",
                         rules->items[i].text);
    }
    return VISE_OK;
}
