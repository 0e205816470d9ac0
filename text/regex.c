#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "core/mem.h"

#define PATTERN_BYTES_MAX ((size_t)1 << 20)
#define STACK_FIRST       ((size_t)32 << 10)
#define STACK_MAX         ((size_t)1 << 20)
#define MATCH_LIMIT       10000000u

struct vise_regex {
    char *name;
    pcre2_code *code;
};

struct vise_regex_scratch {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* PCRE2 asks for memory where we are counted, and can be made to fail. */
static void *take(size_t size, void *context)
{
    void *block;

    (void)context;
    return vise_alloc(size, &block, NULL) == VISE_OK ? block : NULL;
}

static void give(void *block, void *context)
{
    (void)context;
    vise_free(block);
}

static vise_status compile(const char *name, const char *pattern, const vise_buf *translated,
                           pcre2_code **out, vise_error *err)
{
    pcre2_general_context *memory = pcre2_general_context_create(take, give, NULL);
    pcre2_compile_context *context = memory != NULL ? pcre2_compile_context_create(memory) : NULL;
    vise_status status = VISE_OK;
    PCRE2_UCHAR message[200];
    PCRE2_SIZE offset;
    uint32_t empty = 0;
    int code = 0;

    if (context == NULL) {
        status = VISE_FAIL(err, VISE_ERESOURCE, "%s: no memory for a regular expression", name);
        goto end;
    }
    (void)pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    *out = pcre2_compile((PCRE2_SPTR)translated->data, translated->length,
                         PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code, &offset,
                         context);
    if (*out == NULL) {
        (void)pcre2_get_error_message(code, message, sizeof message);
        status = VISE_FAIL(err, code == PCRE2_ERROR_HEAP_FAILED ? VISE_ERESOURCE : VISE_EFORMAT,
                           "%s: the regular expression \"%.200s\" is not understood: %s", name, pattern,
                           (const char *)message);
        goto end;
    }
    (void)pcre2_pattern_info(*out, PCRE2_INFO_MATCHEMPTY, &empty);
    if (empty != 0)
        status = VISE_FAIL(err, VISE_EUNSUPPORTED,
                           "%s: the regular expression \"%.200s\" matches the empty text", name, pattern);
    /* Without the compiler (no memory it may execute) the interpreter serves. */
    if (status == VISE_OK)
        (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
end:
    pcre2_compile_context_free(context);
    pcre2_general_context_free(memory);
    return status;
}

vise_status vise_regex_new(const char *name, const char *pattern, vise_regex **out, vise_error *err)
{
    vise_regex *regex;
    vise_buf translated;
    vise_status status;

    *out = NULL;
    if (pattern[0] == '\0')
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "%s: an empty regular expression matches the empty text",
                         name);
    vise_buf_init(&translated, PATTERN_BYTES_MAX);
    VISE_TRY(vise_calloc(1, sizeof *regex, (void **)&regex, err));
    VISE_TRY_TO(end, vise_strdup(name, &regex->name, err));
    VISE_TRY_TO(end, vise_regex_translate(name, pattern, &translated, err));
    VISE_TRY_TO(end, compile(name, pattern, &translated, &regex->code, err));
    *out = regex;
end:
    vise_buf_deinit(&translated);
    if (status != VISE_OK)
        vise_regex_free(regex);
    return status;
}

void vise_regex_free(vise_regex *regex)
{
    if (regex == NULL)
        return;
    pcre2_code_free(regex->code);
    vise_free(regex->name);
    vise_free(regex);
}

vise_status vise_regex_scratch_new(vise_regex_scratch **out, vise_error *err)
{
    pcre2_general_context *memory = pcre2_general_context_create(take, give, NULL);
    vise_status status;

    *out = NULL;
    VISE_TRY_TO(end, vise_calloc(1, sizeof **out, (void **)out, err));
    if (memory != NULL) {
        (*out)->data = pcre2_match_data_create(1, memory);
        (*out)->context = pcre2_match_context_create(memory);
        (*out)->stack = pcre2_jit_stack_create(STACK_FIRST, STACK_MAX, memory);
    }
    if ((*out)->data == NULL || (*out)->context == NULL || (*out)->stack == NULL) {
        vise_regex_scratch_free(*out);
        *out = NULL;
        status = VISE_FAIL(err, VISE_ERESOURCE, "no memory to match regular expressions");
        goto end;
    }
    (void)pcre2_set_match_limit((*out)->context, MATCH_LIMIT);
    pcre2_jit_stack_assign((*out)->context, NULL, (*out)->stack);
end:
    pcre2_general_context_free(memory);
    return status;
}

void vise_regex_scratch_free(vise_regex_scratch *scratch)
{
    if (scratch == NULL)
        return;
    pcre2_match_data_free(scratch->data);
    pcre2_match_context_free(scratch->context);
    pcre2_jit_stack_free(scratch->stack);
    vise_free(scratch);
}

vise_status vise_regex_find(const vise_regex *regex, vise_regex_scratch *scratch, const char *text,
                            size_t length, size_t from, bool *found, size_t *start, size_t *end,
                            vise_error *err)
{
    PCRE2_UCHAR message[200];
    const PCRE2_SIZE *ends;
    int n;

    *found = false;
    if (from >= length)
        return VISE_OK;
    n = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK, scratch->data,
                    scratch->context);
    if (n == PCRE2_ERROR_JIT_STACKLIMIT)
        n = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                        scratch->data, scratch->context);
    if (n == PCRE2_ERROR_NOMATCH)
        return VISE_OK;
    if (n < 0) {
        (void)pcre2_get_error_message(n, message, sizeof message);
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: a regular expression cannot be matched with the text: %s",
                         regex->name, (const char *)message);
    }
    ends = pcre2_get_ovector_pointer(scratch->data);
    *start = ends[0];
    *end = ends[1];
    *found = ends[1] > ends[0];
    return VISE_OK;
}
