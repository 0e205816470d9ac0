/* Label files: JSONL if the first byte is a brace, else TSV. Whatever they are, reading ends with a status, and every
 * row that is read has a text and a label in range. */
#include "tests/fuzz/fuzz.h"
#include "text/labels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[] = {"negative", NULL, "positive"};
    char path[64];
    vise_labels labels;

    if (size == 0)
        return 0;
    write_input(path, "labels", data[0] == '{' ? "jsonl" : "tsv", data, size);
    if (vise_labels_load(path, names, 3, &labels, NULL) == VISE_OK) {
        require(labels.count > 0);
        for (size_t i = 0; i < labels.count; i++)
            require(labels.rows[i].first != NULL && labels.rows[i].label >= 0 && labels.rows[i].label < 3);
    }
    vise_labels_deinit(&labels);
    unlink(path);
    return 0;
}
