/* sentencepiece's tokenizer.model. Whatever the bytes are, reading ends with a status; what is read gives ids that the
 * vocabulary has. */
#include "tests/fuzz/fuzz.h"
#include "text/tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char text[] = "  ab  aba \xc3\xa9 <s> b<0xC3>";
    char folder[] = "/tmp/vise-fuzz-pieces-XXXXXX", path[64];
    vise_tokenizer *tokenizer;
    vise_ids ids = {0};

    require(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/tokenizer.model", folder);
    require(vise_file_write_atomic(path, data, size, NULL) == VISE_OK);
    if (vise_tokenizer_open(folder, &tokenizer, NULL) == VISE_OK) {
        if (vise_tokenize(tokenizer, text, sizeof text - 1, &ids, NULL) == VISE_OK)
            for (size_t i = 0; i < ids.count; i++)
                require(vise_tokenizer_token(tokenizer, ids.ids[i]) != NULL);
        vise_ids_deinit(&ids);
        vise_tokenizer_close(tokenizer);
    }
    require(vise_folder_remove(folder, NULL) == VISE_OK);
    return 0;
}
