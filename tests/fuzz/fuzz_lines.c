/* Files of texts: JSONL if the first byte is a brace, else one to a line. Whatever they are, reading ends with a
 * status, and every text that is read knows its line. */
#include "tests/fuzz/fuzz.h"
#include "text/lines.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    vise_lines lines;

    write_input(path, "lines", size > 0 && data[0] == '{' ? "jsonl" : "txt", data, size);
    if (vise_lines_load(path, &lines, NULL) == VISE_OK) {
        require(lines.count > 0);
        for (size_t i = 0; i < lines.count; i++)
            require(lines.rows[i].text != NULL &&
                    lines.rows[i].number > (i > 0 ? lines.rows[i - 1].number : 0));
    }
    vise_lines_deinit(&lines);
    unlink(path);
    return 0;
}
