/* Files of multiple choice. Whatever they are, reading ends with a status, and every row that is read has a context,
 * endings that are not empty, and a label in range. */
#include "tests/fuzz/fuzz.h"
#include "text/choices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    vise_choices choices;

    write_input(path, "choices", "jsonl", data, size);
    if (vise_choices_load(path, &choices, NULL) == VISE_OK) {
        require(choices.count > 0);
        for (size_t i = 0; i < choices.count; i++) {
            const vise_choice_row *row = &choices.rows[i];
            require(row->context != NULL && row->n_endings >= 2 && row->n_endings <= VISE_ENDINGS_MAX);
            require(row->label >= 0 && (size_t)row->label < row->n_endings);
            for (size_t k = 0; k < row->n_endings; k++)
                require(row->endings[k] != NULL && row->endings[k][0] != '\0');
        }
    }
    vise_choices_deinit(&choices);
    unlink(path);
    return 0;
}
