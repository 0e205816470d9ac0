/* Token ids for tests/interop/tokenizer_ids.py, which compares them with the tokenizers library.
 *
 * tokenize ids FOLDER      stdin: texts, each behind its length as 8 little-endian bytes;
 *                            stdout: for each its ids in decimal, one line
 * tokenize chat FOLDER     stdin: conversations, objects of JSON, as above; stdout: for each its text as JSON and its
 * ids, on two lines; what is refused gives "error:" and why, and an empty line
 * tokenize time FOLDER N   tokenizes stdin as one text N times; stdout: the best time in seconds and the
 * number of ids
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/json.h"
#include "text/chat.h"
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

static void print_text(const vise_buf *text)
{
    vise_json_writer writer;
    vise_buf json;

    vise_buf_init(&json, SIZE_MAX / 2);
    vise_json_begin(&writer, &json, 0);
    vise_json_put_text(&writer, text->data != NULL ? text->data : "");
    printf("%s\n", json.data);
    vise_buf_deinit(&json);
}

static int print_chats(const vise_tokenizer *tokenizer, const char *folder)
{
    uint64_t length;
    vise_chat *chat = NULL;
    vise_error refused = {0};
    vise_status opened = vise_chat_open(folder, &chat, &refused);

    while (fread(&length, sizeof length, 1, stdin) == 1) {
        vise_ids ids = {0};
        vise_error err = {0};
        vise_buf text;
        cJSON *json = NULL;
        char *line = malloc(length + 1);
        if (line == NULL || fread(line, 1, length, stdin) != length)
            return fail("short input");
        vise_buf_init(&text, SIZE_MAX / 2);
        if (opened != VISE_OK || vise_json_parse("line", line, length, &json, &err) != VISE_OK ||
            vise_chat_render(chat, "line", json, &text, &err) != VISE_OK ||
            vise_tokenize(tokenizer, text.data != NULL ? text.data : "", text.length, &ids, &err) !=
                VISE_OK) {
            printf("error: %s\n\n", opened != VISE_OK ? refused.message : err.message);
        } else {
            print_text(&text);
            for (size_t i = 0; i < ids.count; i++)
                printf(i == 0 ? "%d" : " %d", (int)ids.ids[i]);
            printf("\n");
        }
        cJSON_Delete(json);
        vise_buf_deinit(&text);
        vise_ids_deinit(&ids);
        free(line);
    }
    vise_chat_close(chat);
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
        return fail("usage: tokenize ids FOLDER | chat FOLDER | time FOLDER N");
    if (vise_tokenizer_open(argv[2], &tokenizer, &err) != VISE_OK)
        return fail(err.message);
    if (strcmp(argv[1], "time") == 0)
        status = print_time(tokenizer, argc > 3 ? (int)strtol(argv[3], NULL, 10) : 3);
    else if (strcmp(argv[1], "chat") == 0)
        status = print_chats(tokenizer, argv[2]);
    else
        status = print_ids(tokenizer);
    vise_tokenizer_close(tokenizer);
    return status;
}
