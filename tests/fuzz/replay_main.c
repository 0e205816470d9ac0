/* Runs a fuzz target without a fuzzer: over every file of a folder, over each file cut at many lengths, and over
 * each file with single bytes changed. A defect shows as a crash, under the sanitizers also as their report.
 *
 *   replay_NAME FOLDER    prints one line "ok NAME: ..." and exits 0, or says what is wrong with FOLDER and exits 1 */
#include <dirent.h>

#include "tests/fuzz/fuzz.h"

/* Small files are cut and flipped at every byte, larger ones at about this many evenly spread places. */
enum { PLACES = 600, SIZE_MAX_BYTES = 1 << 22 };

static size_t runs;

/* The target gets a copy of exactly the size it is told, so that a read beyond it is seen. */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) {
        fprintf(stderr, "out of memory\n");
        exit(1);
    }
    memcpy(copy, bytes, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static void replay(uint8_t *bytes, size_t size)
{
    static const uint8_t values[] = {0x00, 0xFF, '"', '9'};
    size_t step = size / PLACES + 1;
    run(bytes, size);
    for (size_t length = 0; length < size; length += step)
        run(bytes, length);
    for (size_t at = 0; at < size; at += step) {
        uint8_t before = bytes[at];
        for (size_t i = 0; i < sizeof values; i++) {
            bytes[at] = values[i];
            run(bytes, size);
        }
        for (int bit = 0; bit < 8; bit++) {
            bytes[at] = (uint8_t)(before ^ (1u << bit));
            run(bytes, size);
        }
        bytes[at] = before;
    }
}

static int replay_file(const char *folder, const char *name)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    uint8_t *bytes = malloc(SIZE_MAX_BYTES);
    if (!file || !bytes) {
        fprintf(stderr, "%s: cannot be read\n", path);
        return 1;
    }
    size_t size = fread(bytes, 1, SIZE_MAX_BYTES, file);
    fclose(file);
    replay(bytes, size);
    free(bytes);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    DIR *folder = opendir(argv[1]);
    if (!folder) {
        fprintf(stderr, "%s: cannot be read\n", argv[1]);
        return 1;
    }
    size_t files = 0;
    for (const struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        if (replay_file(argv[1], entry->d_name) != 0)
            return 1;
        files++;
    }
    closedir(folder);
    if (files == 0) {
        fprintf(stderr, "%s: there is no corpus\n", argv[1]);
        return 1;
    }
    const char *name = strrchr(argv[0], '/');
    printf("ok %s: %zu files, %zu runs\n", name ? name + 1 : argv[0], files, runs);
    return 0;
}
