/* Token ids for tests/interop/tokenizer_ids.py, which compares them with the tokenizers library.
 *
 * tokenize ids FOLDER      stdin: texts, each behind its length as 8 little-endian bytes;
 *                            stdout: for each its ids in decimal, one line
 * tokenize time FOLDER N   tokenizes stdin as one text N times; stdout: the best time in seconds and the
 * number of ids
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "text/tokenizer.h"

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fail(const char *message)
{
    fprintf(stderr, "tokenize: %s\n", message);
    return 1;
}

static int print_ids(const vise_tokenizer *tokenizer)
{
    uint64_t length;

    while (fread(&length, sizeof length, 1, stdin) == 1) {
        vise_ids ids = {0};
        vise_error err = {0};
        char *text = malloc(length + 1);
        if (text == NULL || fread(text, 1, length, stdin) != length)
            return fail("short input");
        if (vise_tokenize(tokenizer, text, length, &ids, &err) != VISE_OK)
            return fail(err.message);
        for (size_t i = 0; i < ids.count; i++)
            printf(i == 0 ? "%d" : " %d", (int)ids.ids[i]);
        printf("\n");
        vise_ids_deinit(&ids);
        free(text);
    }
    return 0;
}

static int print_time(const vise_tokenizer *tokenizer, int runs)
{
    size_t length = 0, capacity = 1 << 16, n;
    char *text = malloc(capacity);
    double best = 1e30;
    vise_ids ids = {0};

    while (text != NULL && (n = fread(text + length, 1, capacity - length, stdin)) > 0) {
        length += n;
        if (length == capacity)
            text = realloc(text, capacity *= 2);
    }
    if (text == NULL)
        return fail("out of memory");
    for (int i = 0; i < runs; i++) {
        vise_error err = {0};
        double start = now(), time;
        ids.count = 0;
        if (vise_tokenize(tokenizer, text, length, &ids, &err) != VISE_OK)
            return fail(err.message);
        time = now() - start;
        best = time < best ? time : best;
    }
    printf("%.6f %zu\n", best, ids.count);
    vise_ids_deinit(&ids);
    free(text);
    return 0;
}

int main(int argc, char **argv)
{
    vise_tokenizer *tokenizer;
    vise_error err = {0};
    int status;

    if (argc < 3)
        return fail("usage: tokenize ids FOLDER | time FOLDER N");
    if (vise_tokenizer_open(argv[2], &tokenizer, &err) != VISE_OK)
        return fail(err.message);
    if (strcmp(argv[1], "time") == 0)
        status = print_time(tokenizer, argc > 3 ? (int)strtol(argv[3], NULL, 10) : 3);
    else
        status = print_ids(tokenizer);
    vise_tokenizer_close(tokenizer);
    return status;
}
