/* Files of texts: JSONL if the first byte is a brace, else one to a line. Whatever they are, reading ends with a
 * status, and every text that is read knows its line. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/file.h"
#include "text/lines.h"

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
    vise_lines lines;

    snprintf(path, sizeof path, "%s/vise-fuzz-lines-%ld.%s", folder(), (long)getpid(),
             size > 0 && data[0] == '{' ? "jsonl" : "txt");
    require(vise_file_write_atomic(path, data, size, NULL) == VISE_OK);
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
