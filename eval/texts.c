#include "eval/texts.h"

#include <string.h>

#include "core/mem.h"

vise_status vise_encoded_add(vise_encoded *rows, const int32_t *ids, const uint8_t *types, size_t count,
                             vise_error *err)
{
    size_t needed = 0;

    if (!vise_add_size(rows->tokens, count, &needed))
        return VISE_FAIL(err, VISE_ERESOURCE, "too many tokens for this machine");
    VISE_TRY(vise_grow((void **)&rows->ids, &rows->ids_capacity, needed, sizeof *rows->ids, err));
    VISE_TRY(vise_grow((void **)&rows->types, &rows->types_capacity, needed, sizeof *rows->types, err));
    VISE_TRY(vise_grow((void **)&rows->sets, &rows->sets_capacity, rows->count + 1, sizeof *rows->sets, err));
    memcpy(rows->ids + rows->tokens, ids, count * sizeof *ids);
    if (types)
        memcpy(rows->types + rows->tokens, types, count);
    else
        memset(rows->types + rows->tokens, 0, count);
    rows->sets[rows->count++] = (vise_windows){.count = 1, .length = count};
    rows->tokens = needed;
    rows->longest = count > rows->longest ? count : rows->longest;
    return VISE_OK;
}

vise_status vise_ids_check(const char *name, const vise_tokenizer *tokenizer, const int32_t *ids,
                           size_t count, int64_t vocab, vise_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= vocab)
            return VISE_FAIL(
                err, VISE_EFORMAT,
                "%s: the tokenizer gives id %ld (\"%.60s\"), but the model's vocab_size is %lld; give the "
                "model the tokenizer that it was trained with",
                name, (long)ids[i], vise_tokenizer_token(tokenizer, ids[i]), (long long)vocab);
    return VISE_OK;
}

vise_status vise_encoded_add_text(vise_encoded *rows, const vise_tokenizer *tokenizer, const char *name,
                                  const char *first, const char *second, size_t max_length, int64_t vocab,
                                  vise_error *err)
{
    vise_encoding encoding;
    vise_status status;

    VISE_TRY(vise_tokenize_pair(tokenizer, first, second, max_length, &encoding, err));
    if (encoding.ids.count == 0)
        status = VISE_FAIL(err, VISE_EUSAGE, "%s: the text has no tokens", name);
    else
        status = vise_ids_check(name, tokenizer, encoding.ids.ids, encoding.ids.count, vocab, err);
    if (status == VISE_OK)
        status = vise_encoded_add(rows, encoding.ids.ids, encoding.types, encoding.ids.count, err);
    rows->truncated += encoding.truncated;
    rows->invalid_utf8 += encoding.ids.invalid_utf8;
    vise_encoding_deinit(&encoding);
    return status;
}

void vise_encoded_finish(vise_encoded *rows)
{
    for (size_t i = 0, token = 0; i < rows->count; i++) {
        rows->sets[i].ids = rows->ids + token;
        rows->sets[i].types = rows->types + token;
        token += rows->sets[i].length;
    }
}

void vise_encoded_deinit(vise_encoded *rows)
{
    vise_free(rows->sets);
    vise_free(rows->ids);
    vise_free(rows->types);
    *rows = (vise_encoded){0};
}
