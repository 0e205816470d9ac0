/* BERT's vocab.txt: the bytes up to the first NUL are tokenizer_config.json, the rest is the vocabulary. Whatever
 * they are, reading ends with a status; what is read gives ids that the vocabulary has. */
#include "tests/fuzz/fuzz.h"
#include "text/tokenizer.h"

static void put(const char *folder, const char *name, const void *bytes, size_t length)
{
    char path[128];

    snprintf(path, sizeof path, "%s/%s", folder, name);
    require(vise_file_write_atomic(path, bytes, length, NULL) == VISE_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static char folder[] = "/tmp/vise-fuzz-vocab-XXXXXX";
    static int made;
    const uint8_t *stop = size > 0 ? memchr(data, 0, size) : NULL;
    size_t config = stop != NULL ? (size_t)(stop - data) : 0;
    vise_tokenizer *tokenizer;
    vise_encoding encoding;

    if (!made)
        require(mkdtemp(folder) != NULL);
    made = 1;
    put(folder, "tokenizer_config.json", config > 0 ? (const void *)data : "{}", config > 0 ? config : 2);
    put(folder, "vocab.txt", data + (stop != NULL ? config + 1 : 0), size - (stop != NULL ? config + 1 : 0));
    if (vise_tokenizer_open(folder, &tokenizer, NULL) == VISE_OK) {
        if (vise_tokenize_pair(tokenizer, "Unaffable caf\xc3\xa9 \xe4\xb8\xad!", "the cat", 8, &encoding,
                               NULL) == VISE_OK) {
            require(encoding.ids.count <= 8);
            for (size_t i = 0; i < encoding.ids.count; i++)
                require(vise_tokenizer_token(tokenizer, encoding.ids.ids[i]) != NULL);
            vise_encoding_deinit(&encoding);
        }
        vise_tokenizer_close(tokenizer);
    }
    require(vise_folder_remove(folder, NULL) == VISE_OK);
    made = 0;
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    return 0;
}
