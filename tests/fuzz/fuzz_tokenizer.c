/* Tokenizers: the bytes up to the first NUL are a tokenizer.json, the rest is text. Whatever they are,
 * reading ends with a status; what is read gives ids that the vocabulary has, the same every time, and
 * the front of a text gives the front of its ids. */
#include "tests/fuzz/fuzz.h"
#include "text/tokenizer_internal.h"

static void tokenize(const vise_tokenizer *tokenizer, const char *text, size_t length)
{
    vise_ids ids = {0}, again = {0}, front = {0};

    if (vise_tokenize(tokenizer, text, length, &ids, NULL) == VISE_OK) {
        for (size_t i = 0; i < ids.count; i++)
            require(vise_tokenizer_token(tokenizer, ids.ids[i]) != NULL);
        require(vise_tokenize(tokenizer, text, length, &again, NULL) == VISE_OK);
        require(again.count == ids.count);
        require(vise_tokenize_until(tokenizer, text, length, ids.count / 2, &front, NULL) == VISE_OK);
        require(front.count >= ids.count / 2 && front.count <= ids.count);
        for (size_t i = 0; i < ids.count; i++)
            require(again.ids[i] == ids.ids[i] && (i >= front.count || front.ids[i] == ids.ids[i]));
    }
    vise_ids_deinit(&ids);
    vise_ids_deinit(&again);
    vise_ids_deinit(&front);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char mixed[] =
        "the cat's  \xe4\xb8\xad \xe2\x96\x81 12345\r\n \xf0\x9f\x99\x82 <s>[X] \xff\xc3 don't IT'S aaaa\n";
    const uint8_t *stop = size > 0 ? memchr(data, 0, size) : NULL;
    size_t length = stop != NULL ? (size_t)(stop - data) : size;
    vise_tokenizer *tokenizer;

    if (vise_tokenizer_from_text("fuzz", (const char *)data, length, &tokenizer, NULL) != VISE_OK)
        return 0;
    require(vise_tokenizer_bos(tokenizer) < vise_tokenizer_size(tokenizer));
    tokenize(tokenizer, mixed, sizeof mixed - 1);
    if (stop != NULL)
        tokenize(tokenizer, (const char *)stop + 1, size - length - 1);
    vise_tokenizer_close(tokenizer);
    return 0;
}
