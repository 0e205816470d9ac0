/* Tokenizing and loading on one thread, beside the tokenizers library in its quickest mode, ids compared.
 *
 *   bench_tokenizer [TOKENIZER [TEXT]]      (gpt2 llama3 llama2 bert; english wiki code cjk)
 *
 * A megabyte of each text, at once and line by line. "cold": the first time after loading, which fills the cache of
 * words on either side. The peer is bench/peers/tokenizers_library.py under build/venv/bin/python ($PEER_PYTHON), which
 * also prepares tokenizers and texts from ../shared ($VISE_SHARED). Ends with 1 when ids differ. */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <unistd.h>

#include "bench/machine.h"
#include "bench/single_thread.h"
#include "core/file.h"
#include "text/tokenizer.h"

#define FOLDER "build/bench-tokenizer"
#define SCRIPT "bench/peers/tokenizers_library.py"

enum { TRIES = 7, PEER_TRIES = 3 };

typedef struct result {
    double cold, best, wall; /* seconds; wall: of the best */
    uint64_t fingerprint;
} result;

static void must(vise_status status, const vise_error *err)
{
    if (status == VISE_OK)
        return;
    fprintf(stderr, "bench_tokenizer: %s\n", err->message);
    exit((int)status);
}

static double wall_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* FNV-1a over the ids as words. */
static uint64_t fingerprint_of(const vise_ids *ids)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < ids->count; i++)
        h = (h ^ (uint32_t)ids->ids[i]) * UINT64_C(0x100000001b3);
    return h;
}

static void encode(const vise_tokenizer *tokenizer, const char *text, size_t length, bool lines, vise_ids *ids)
{
    vise_error err = {0};
    const char *end = text + length;
    ids->count = 0;
    while (lines && text < end) {
        const char *stop = memchr(text, '\n', (size_t)(end - text));
        stop = stop ? stop : end;
        if (stop > text)
            must(vise_tokenize(tokenizer, text, (size_t)(stop - text), ids, &err), &err);
        text = stop + 1;
    }
    if (!lines)
        must(vise_tokenize(tokenizer, text, length, ids, &err), &err);
}

static result measure(const char *folder, const char *text, size_t length, bool lines)
{
    vise_error err = {0};
    vise_tokenizer *tokenizer;
    vise_ids ids = {0};
    result r = {0};
    must(vise_tokenizer_open(folder, &tokenizer, &err), &err);
    for (int i = 0; i < TRIES; i++) {
        double wall = wall_seconds(), start = seconds();
        encode(tokenizer, text, length, lines, &ids);
        keep_best(&r.best, start);
        wall = wall_seconds() - wall;
        r.wall = i == 0 || wall < r.wall ? wall : r.wall;
        r.cold = i == 0 ? r.best : r.cold;
    }
    r.fingerprint = fingerprint_of(&ids);
    vise_ids_deinit(&ids);
    vise_tokenizer_close(tokenizer);
    return r;
}

static result measure_load(const char *folder)
{
    result r = {0};
    for (int i = 0; i < 5; i++) {
        vise_error err = {0};
        vise_tokenizer *tokenizer;
        double wall = wall_seconds(), start = seconds();
        must(vise_tokenizer_open(folder, &tokenizer, &err), &err);
        keep_best(&r.best, start);
        wall = wall_seconds() - wall;
        r.wall = i == 0 || wall < r.wall ? wall : r.wall;
        vise_tokenizer_close(tokenizer);
    }
    return r;
}

static const char *python(void)
{
    const char *name = getenv("PEER_PYTHON");
    return name ? name : "build/venv/bin/python";
}

/* False without a peer. */
static bool run_peer(const char *folder, const char *path, char version[64], result *load, result both[2])
{
    char arguments[640];
    snprintf(arguments, sizeof arguments, "time %s %s %d", folder, path, PEER_TRIES);
    FILE *peer = peer_open(SCRIPT, arguments);
    if (!peer)
        return false;
    int n = fscanf(peer, "peer %63s %lf %lf", version, &load->best, &load->wall);
    for (int i = 0; i < 2; i++)
        n += fscanf(peer, "%lf %lf %lf %" SCNx64, &both[i].cold, &both[i].best, &both[i].wall, &both[i].fingerprint);
    pclose(peer);
    return n == 11;
}

static bool bench(const char *name, const char *text_name, bool *told_load)
{
    char folder[256], path[256], version[64] = "";
    char *text;
    size_t length;
    vise_error err = {0};
    result load = {0}, theirs[2] = {{0}}, ours[2];
    bool same = true;
    snprintf(folder, sizeof folder, FOLDER "/%s", name);
    snprintf(path, sizeof path, FOLDER "/%s.txt", text_name);
    must(vise_file_read_all(path, (size_t)1 << 30, &text, &length, &err), &err);
    bool peer = run_peer(folder, path, version, &load, theirs);
    if (!*told_load) {
        result own = measure_load(folder);
        printf("%-7s load          vise %8.4f s (wall %.4f)", name, own.best, own.wall);
        if (peer)
            printf("   %s %8.4f s (wall %.4f)   %.1fx", version, load.best, load.wall, load.best / own.best);
        printf("\n");
        *told_load = true;
    }
    double megabytes = 1e-6 * (double)length;
    for (int lines = 0; lines < 2; lines++) {
        ours[lines] = measure(folder, text, length, lines);
        const result *a = &ours[lines], *b = &theirs[lines];
        printf("%-7s %-7s %-5s vise %6.1f MB/s (cold %5.1f, wall %6.1f)", name, text_name, lines ? "lines" : "whole",
               megabytes / a->best, megabytes / a->cold, megabytes / a->wall);
        if (peer) {
            bool equal = a->fingerprint == b->fingerprint;
            printf("   %s %5.2f MB/s (cold %5.2f, wall %5.2f)   %5.1fx, cold %5.1fx%s", version,
                   megabytes / b->best, megabytes / b->cold, megabytes / b->wall, b->best / a->best,
                   b->cold / a->cold, equal ? "" : "  IDS DIFFER");
            same = same && equal;
        }
        printf("\n");
        fflush(stdout);
    }
    vise_free(text);
    return same;
}

int main(int argc, char **argv)
{
    static const char *const names[] = {"gpt2", "llama3", "llama2", "bert"};
    static const char *const texts[] = {"english", "wiki", "code", "cjk"};
    const char *shared = getenv("VISE_SHARED"); /* cut, it is not found */
    char command[512];
    bool same = true;
    snprintf(command, sizeof command, "prepare %s " FOLDER, shared ? shared : "../shared");
    FILE *peer = peer_open(SCRIPT, command);
    if (!peer || pclose(peer) != 0) {
        printf("tokenizers and texts could not be prepared by %s\n", python());
        return 0;
    }
    print_machine("one thread; seconds and rates are of processor time");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool told_load = false;
        for (size_t t = 0; t < sizeof texts / sizeof texts[0]; t++)
            if ((argc < 2 || strcmp(argv[1], names[i]) == 0) && (argc < 3 || strcmp(argv[2], texts[t]) == 0))
                same = bench(names[i], texts[t], &told_load) && same;
    }
    return same ? 0 : 1;
}
