/* Files of multiple choice. Whatever they are, reading ends with a status, and every row that is read has a context,
 * endings that are not empty, and a label in range. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/file.h"
#include "text/choices.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort(); /* how a fuzz target reports a defect */
}

/* In memory where there is such a place: files are synced. */
static const char *folder(void)
{
    return access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    vise_choices choices;

    snprintf(path, sizeof path, "%s/vise-fuzz-choices-%ld.jsonl", folder(), (long)getpid());
    require(vise_file_write_atomic(path, data, size, NULL) == VISE_OK);
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
