/* Label files: JSONL if the first byte is a brace, else TSV. Whatever they are, reading ends with a status, and every
 * row that is read has a text and a label in range. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "text/labels.h"

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
    static const char *const names[] = {"negative", NULL, "positive"};
    char path[64];
    vise_labels labels;

    if (size == 0)
        return 0;
    snprintf(path, sizeof path, "%s/vise-fuzz-labels-%ld.%s", folder(), (long)getpid(),
             data[0] == '{' ? "jsonl" : "tsv");
    require(vise_file_write_atomic(path, data, size, NULL) == VISE_OK);
    if (vise_labels_load(path, names, 3, &labels, NULL) == VISE_OK) {
        require(labels.count > 0);
        for (size_t i = 0; i < labels.count; i++)
            require(labels.rows[i].first != NULL && labels.rows[i].label >= 0 && labels.rows[i].label < 3);
    }
    vise_labels_deinit(&labels);
    unlink(path);
    return 0;
}
