/* Reading tokenizer.json: normalizers and pre-tokenizers. */
#include <string.h>

#include "core/json.h"
#include "text/tokenizer_internal.h"

/* The "pattern" of a Replace or Split: a String, or a Regex. */
static vise_status read_pattern(vise_tokenizer_reader *r, const cJSON *component, const char *what,
                                const char **string, const char **regex)
{
    const cJSON *pattern = vise_reader_member(component, "pattern");

    *string = *regex = NULL;
    if (!cJSON_IsObject(pattern))
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: %s needs an object \"pattern\"", r->name, what);
    if (vise_reader_member(pattern, "Regex") != NULL)
        return vise_json_text(r->name, pattern, "Regex", true, regex, r->err);
    VISE_TRY(vise_json_text(r->name, pattern, "String", true, string, r->err));
    if ((*string)[0] == '\0')
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: %s has an empty pattern", r->name, what);
    return VISE_OK;
}

/* ---- normalizers ------------------------------------------------------------------------------------- */

static vise_status read_replace(vise_tokenizer_reader *r, const cJSON *component, vise_normal *normal)
{
    const char *string, *regex, *text;

    normal->kind = VISE_NORMAL_REPLACE;
    VISE_TRY(read_pattern(r, component, "the normalizer Replace", &string, &regex));
    VISE_TRY(vise_json_text(r->name, component, "content", true, &text, r->err));
    VISE_TRY(vise_reader_keep(r, text, &normal->content, &normal->content_length));
    if (regex != NULL) {
        r->tokenizer->loses_text = true;
        return vise_regex_new(r->name, regex, &normal->regex, r->err);
    }
    VISE_TRY(vise_reader_keep(r, string, &normal->pattern, &normal->pattern_length));
    if (strcmp(string, " ") == 0 && strcmp(text, VISE_MARK) == 0)
        r->tokenizer->marks_space = true;
    else
        r->tokenizer->loses_text = true;
    return VISE_OK;
}

static vise_status read_bert_normal(vise_tokenizer_reader *r, const cJSON *component, vise_normal *normal)
{
    bool strip;

    normal->kind = VISE_NORMAL_CHARS;
    normal->clean = normal->pad_chinese = normal->lower = true;
    VISE_TRY(vise_json_bool(r->name, component, "clean_text", false, &normal->clean, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "handle_chinese_chars", false, &normal->pad_chinese, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "lowercase", false, &normal->lower, r->err));
    strip = normal->lower;
    VISE_TRY(vise_json_bool(r->name, component, "strip_accents", false, &strip, r->err));
    if (strip) {
        normal->form = VISE_FORM_NFD;
        normal->drop = VISE_FLAG_NONSPACING;
    }
    return VISE_OK;
}

vise_status vise_reader_normal(vise_tokenizer_reader *r, const cJSON *component, const char *type)
{
    static const char *const forms[] = {"", "NFC", "NFD", "NFKC", "NFKD"};
    vise_tokenizer *t = r->tokenizer;
    vise_normal *normal;
    const char *text;

    if (t->n_normals == VISE_STEPS_MAX)
        return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: more than %d normalizers", r->name, VISE_STEPS_MAX);
    normal = &t->normals[t->n_normals++];
    if (strcmp(type, "Prepend") == 0) {
        normal->kind = VISE_NORMAL_PREPEND;
        VISE_TRY(vise_json_text(r->name, component, "prepend", true, &text, r->err));
        t->prepends = true;
        return vise_reader_keep(r, text, &normal->content, &normal->content_length);
    }
    if (strcmp(type, "Replace") == 0)
        return read_replace(r, component, normal);
    /* Composed text is as good as the original: tokens tell its bytes. */
    t->loses_text = t->loses_text || strcmp(type, "NFC") != 0;
    if (strcmp(type, "BertNormalizer") == 0)
        return read_bert_normal(r, component, normal);
    if (strcmp(type, "Strip") == 0) {
        normal->kind = VISE_NORMAL_STRIP;
        normal->left = normal->right = true;
        VISE_TRY(vise_json_bool(r->name, component, "strip_left", false, &normal->left, r->err));
        return vise_json_bool(r->name, component, "strip_right", false, &normal->right, r->err);
    }
    if (strcmp(type, VISE_SQUEEZE_TYPE) == 0) {
        normal->kind = VISE_NORMAL_SQUEEZE;
        return VISE_OK;
    }
    normal->kind = VISE_NORMAL_CHARS;
    for (int form = VISE_FORM_NFC; form <= VISE_FORM_NFKD; form++) {
        if (strcmp(type, forms[form]) == 0) {
            normal->form = (vise_form)form;
            return VISE_OK;
        }
    }
    normal->lower = strcmp(type, "Lowercase") == 0;
    normal->drop = strcmp(type, "StripAccents") == 0 ? VISE_FLAG_MARK : 0;
    if (!normal->lower && normal->drop == 0)
        return vise_reader_unsupported(r, "the normalizer", type);
    return VISE_OK;
}

/* ---- pre-tokenizers ---------------------------------------------------------------------------------- */

vise_status vise_reader_add_step(vise_tokenizer_reader *r, vise_step step)
{
    vise_tokenizer *t = r->tokenizer;

    if (t->n_steps == VISE_STEPS_MAX) {
        vise_regex_free(step.regex);
        return VISE_FAIL(r->err, VISE_EUNSUPPORTED, "%s: more than %d pre-tokenizers", r->name,
                         VISE_STEPS_MAX);
    }
    t->steps[t->n_steps++] = step;
    return VISE_OK;
}

static vise_status add_cut(vise_tokenizer_reader *r, vise_cut_kind kind, vise_behavior behavior)
{
    vise_step step = {.kind = VISE_STEP_CUT, .cut = {.kind = kind, .behavior = behavior}};

    r->tokenizer->loses_text = r->tokenizer->loses_text || behavior == VISE_CUT_REMOVED;
    return vise_reader_add_step(r, step);
}

static vise_status read_byte_level(vise_tokenizer_reader *r, const cJSON *component)
{
    bool prefix = true, regex = true;

    VISE_TRY(vise_json_bool(r->name, component, "add_prefix_space", true, &prefix, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "use_regex", false, &regex, r->err));
    if (prefix)
        VISE_TRY(vise_reader_add_step(r, (vise_step){.kind = VISE_STEP_PREFIX_SPACE}));
    if (regex)
        VISE_TRY(vise_reader_add_step(r, (vise_step){.kind = VISE_STEP_SPLIT, .split = VISE_SPLIT_GPT2}));
    r->tokenizer->prepends = r->tokenizer->prepends || prefix;
    r->tokenizer->spells_bytes = true;
    r->tokenizer->bpe.byte_level = true;
    return VISE_OK;
}

static vise_status read_metaspace(vise_tokenizer_reader *r, const cJSON *component)
{
    static const char *const schemes[] = {"never", "first", "always"};
    const char *replacement, *scheme = "always";
    bool prefix = true, split = true;
    size_t prepend = 0;

    VISE_TRY(vise_json_text(r->name, component, "replacement", true, &replacement, r->err));
    if (strcmp(replacement, VISE_MARK) != 0)
        return vise_reader_unsupported(r, "the pre-tokenizer Metaspace with replacement", replacement);
    VISE_TRY(vise_json_text(r->name, component, "prepend_scheme", false, &scheme, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "add_prefix_space", false, &prefix, r->err));
    VISE_TRY(vise_json_bool(r->name, component, "split", false, &split, r->err));
    while (prepend < 3 && strcmp(scheme, schemes[prepend]) != 0)
        prepend++;
    if (prepend == 3)
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: prepend_scheme is \"%.60s\", expected always, first or never", r->name, scheme);
    if (!prefix && prepend != VISE_PREPEND_NEVER)
        return VISE_FAIL(r->err, VISE_EFORMAT,
                         "%s: Metaspace's add_prefix_space contradicts its prepend_scheme", r->name);
    VISE_TRY(vise_reader_add_step(
        r, (vise_step){.kind = VISE_STEP_MARK_SPACES, .prepend = (vise_prepend)prepend}));
    if (split)
        VISE_TRY(vise_reader_add_step(r, (vise_step){.kind = VISE_STEP_SPLIT, .split = VISE_SPLIT_MARK}));
    r->tokenizer->prepends = r->tokenizer->prepends || prepend != VISE_PREPEND_NEVER;
    r->tokenizer->marks_space = true;
    return VISE_OK;
}

static vise_status read_behavior(vise_tokenizer_reader *r, const cJSON *component, const char *fallback,
                                 vise_behavior *behavior)
{
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    const char *name = fallback;

    VISE_TRY(vise_json_text(r->name, component, "behavior", fallback == NULL, &name, r->err));
    for (int i = 0; i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            *behavior = (vise_behavior)i;
            return VISE_OK;
        }
    }
    return VISE_FAIL(r->err, VISE_EFORMAT,
                     "%s: behavior is \"%.60s\", expected Isolated, Removed, Contiguous, "
                     "MergedWithPrevious or MergedWithNext",
                     r->name, name);
}

static vise_status read_split(vise_tokenizer_reader *r, const cJSON *component)
{
    vise_step step = {.kind = VISE_STEP_CUT};
    const char *regex, *string;
    bool removes;

    VISE_TRY(read_pattern(r, component, "the pre-tokenizer Split", &string, &regex));
    VISE_TRY(read_behavior(r, component, NULL, &step.cut.behavior));
    VISE_TRY(vise_json_bool(r->name, component, "invert", false, &step.cut.invert, r->err));
    removes = step.cut.behavior == VISE_CUT_REMOVED;
    if (regex != NULL) {
        /* The known expressions match every character: isolated matches, and removed gaps, are the same
         * pieces. */
        if ((removes ? step.cut.invert : step.cut.behavior == VISE_CUT_ISOLATED) &&
            vise_split_from_regex(regex, &step.split)) {
            step.kind = VISE_STEP_SPLIT;
            return vise_reader_add_step(r, step);
        }
        VISE_TRY(vise_regex_new(r->name, regex, &step.regex, r->err));
        step.cut.kind = VISE_CUT_REGEX;
        step.cut.regex = step.regex;
    } else {
        step.cut.kind = VISE_CUT_STRING;
        VISE_TRY(vise_reader_keep(r, string, &step.cut.string, &step.cut.string_length));
    }
    r->tokenizer->loses_text = r->tokenizer->loses_text || removes;
    return vise_reader_add_step(r, step);
}

static vise_status read_delimiter(vise_tokenizer_reader *r, const cJSON *component)
{
    vise_step step = {.kind = VISE_STEP_CUT, .cut = {.kind = VISE_CUT_STRING, .behavior = VISE_CUT_REMOVED}};
    const char *text;

    VISE_TRY(vise_json_text(r->name, component, "delimiter", true, &text, r->err));
    VISE_TRY(vise_reader_keep(r, text, &step.cut.string, &step.cut.string_length));
    if (step.cut.string_length == 0)
        return VISE_FAIL(r->err, VISE_EFORMAT, "%s: CharDelimiterSplit has an empty delimiter", r->name);
    r->tokenizer->loses_text = true;
    return vise_reader_add_step(r, step);
}

vise_status vise_reader_step(vise_tokenizer_reader *r, const cJSON *component, const char *type)
{
    vise_behavior behavior;
    bool each = false;

    /* Pre-tokenizers behind ByteLevel see the characters that stand for bytes. */
    if (r->tokenizer->bpe.byte_level) {
        if (strcmp(type, "ByteLevel") == 0)
            return vise_reader_unsupported(r, "behind ByteLevel, the pre-tokenizer", type);
        VISE_TRY(vise_reader_add_step(r, (vise_step){.kind = VISE_STEP_SPELL_BYTES}));
        r->tokenizer->bpe.byte_level = false;
    } else if (r->tokenizer->spells_bytes && strcmp(type, "ByteLevel") == 0) {
        return vise_reader_unsupported(r, "behind ByteLevel, the pre-tokenizer", type);
    }
    if (strcmp(type, "ByteLevel") == 0)
        return read_byte_level(r, component);
    if (strcmp(type, "Metaspace") == 0)
        return read_metaspace(r, component);
    if (strcmp(type, "Split") == 0)
        return read_split(r, component);
    if (strcmp(type, "BertPreTokenizer") == 0) {
        r->tokenizer->loses_text = true;
        return vise_reader_add_step(r, (vise_step){.kind = VISE_STEP_BERT});
    }
    if (strcmp(type, "WhitespaceSplit") == 0)
        return add_cut(r, VISE_CUT_SPACE, VISE_CUT_REMOVED);
    if (strcmp(type, "Whitespace") == 0) {
        VISE_TRY(add_cut(r, VISE_CUT_WORDS, VISE_CUT_REMOVED));
        r->tokenizer->steps[r->tokenizer->n_steps - 1].cut.invert = true;
        return VISE_OK;
    }
    if (strcmp(type, "Punctuation") == 0) {
        VISE_TRY(read_behavior(r, component, "Isolated", &behavior));
        return add_cut(r, VISE_CUT_PUNCTUATION, behavior);
    }
    if (strcmp(type, "Digits") == 0) {
        VISE_TRY(vise_json_bool(r->name, component, "individual_digits", false, &each, r->err));
        return add_cut(r, VISE_CUT_NUMERIC, each ? VISE_CUT_ISOLATED : VISE_CUT_CONTIGUOUS);
    }
    if (strcmp(type, "CharDelimiterSplit") == 0)
        return read_delimiter(r, component);
    return vise_reader_unsupported(r, "the pre-tokenizer", type);
}
