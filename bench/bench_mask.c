/* Selection of weights on one thread: scores |w| * norm, masks of the lowest half of each row and of 2:4, and
 * their use, beside the same in torch and beside a plain copy.
 *
 *     bench_mask [ROWS COLS]        (default 4096 4096)
 *
 * The floor is the time in which memcpy moves as many bytes as are read and written: the weights once each
 * way. Rates are of this thread's processor clock, the best of several rounds. The peer runs when
 * build/venv/bin/python (or $PEER_PYTHON) has torch. */
#include <stdint.h>

#include "bench/single_thread.h"
#include "core/cpu.h"
#include "core/rng.h"
#include "tensor/mask.h"

enum { ROUNDS = 5, BLOCK_ROWS = 1 };

typedef struct job {
    int64_t rows, cols;
    const float *weights; /* [rows, cols] */
    const float *norms;   /* [cols] */
    float *pruned;        /* [rows, cols] */
    float *score;         /* [BLOCK_ROWS, cols] */
    uint8_t *mask;        /* rows of mask bits */
    vise_pattern pattern; /* group 0: half of each row */
} job;

/* As a pass does it: a few rows at a time, so that scores stay in the cache. */
static void prune(job *j)
{
    size_t cols = (size_t)j->cols, row_bytes = vise_mask_row_bytes(j->cols);
    for (int64_t r = 0; r < j->rows; r += BLOCK_ROWS) {
        int64_t rows = j->rows - r < BLOCK_ROWS ? j->rows - r : BLOCK_ROWS;
        const float *weights = j->weights + (size_t)r * cols;
        float *pruned = j->pruned + (size_t)r * cols;
        uint8_t *mask = j->mask + (size_t)r * row_bytes;
        for (int64_t i = 0; i < rows; i++)
            vise_mask_score(weights + (size_t)i * cols, j->norms, cols, j->score + (size_t)i * cols);
        if (j->pattern.group)
            vise_mask_pattern(j->score, rows, j->cols, j->pattern, mask);
        else if (vise_mask_rows(j->score, rows, j->cols, 0.5, mask, NULL) != VISE_OK)
            exit(1);
        memcpy(pruned, weights, (size_t)rows * cols * sizeof *pruned);
        vise_mask_apply(mask, rows, j->cols, pruned);
    }
}

/* The mask alone, of the weights as scores. */
static void select_only(job *j)
{
    if (j->pattern.group)
        vise_mask_pattern(j->weights, j->rows, j->cols, j->pattern, j->mask);
    else if (vise_mask_rows(j->weights, j->rows, j->cols, 0.5, j->mask, NULL) != VISE_OK)
        exit(1);
}

static void run_peer(int64_t rows, int64_t cols, double rates[2])
{
    char arguments[64], line[256];
    rates[0] = rates[1] = 0.0;
    snprintf(arguments, sizeof arguments, "%lld %lld", (long long)rows, (long long)cols);
    FILE *peer = peer_open("bench/peers/mask.py", arguments);
    if (!peer)
        return;
    while (fgets(line, sizeof line, peer)) {
        char name[64], version[64];
        double rate;
        if (sscanf(line, "%63s %63s %lf", name, version, &rate) != 3)
            continue;
        printf("  peer torch %-9s %-14s %8.1f Mweights/s\n", name, version, rate);
        rates[strcmp(name, "2:4") == 0] = rate;
    }
    pclose(peer);
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        vise_pattern pattern;
        int peer;
    } kinds[] = {{"rows-50%", {0, 0}, 0}, {"2:4", {2, 4}, 1}, {"1:4", {1, 4}, 1}, {"4:8", {4, 8}, 1}};
    int64_t rows = argc == 3 ? strtoll(argv[1], NULL, 10) : 4096;
    int64_t cols = argc == 3 ? strtoll(argv[2], NULL, 10) : 4096;
    if (rows < 1 || cols < 8 || cols % 8 != 0) {
        fprintf(stderr, "usage: bench_mask [ROWS COLS], COLS a multiple of 8\n");
        return 2;
    }
    size_t n = (size_t)(rows * cols);
    float *weights = touched(n * sizeof *weights), *norms = touched((size_t)cols * sizeof *norms);
    job j = {.rows = rows,
             .cols = cols,
             .weights = weights,
             .norms = norms,
             .pruned = touched(n * sizeof *weights),
             .score = touched((size_t)(BLOCK_ROWS * cols) * sizeof *weights),
             .mask = touched((size_t)rows * vise_mask_row_bytes(cols))};
    vise_rng rng;
    vise_rng_init(&rng, 1, "bench_mask");
    for (size_t i = 0; i < n; i++) /* a million normal values, repeated */
        weights[i] = i < 1 << 20 ? 0.02f * (float)vise_rng_normal(&rng) : weights[i & ((1 << 20) - 1)];
    for (int64_t c = 0; c < cols; c++)
        norms[c] = (float)vise_rng_uniform(&rng);

    double rate = copy_rate(n * 4, ROUNDS), floor_rate = rate / 8e6, peer[2];
    printf("bench_mask: %lld x %lld, 1 thread, %s, copy %.1f GB/s (read + written)\n", (long long)rows,
           (long long)cols, vise_cpu_model(), rate / 1e9);
    run_peer(rows, cols, peer);
    printf("  %-6s %-9s %20s %20s %12s %8s %8s\n", "cpu", "kind", "prune Mweights/s", "mask Mweights/s",
           "floor", "of floor", "x peer");
    for (int level = (int)vise_cpu_highest(); level >= VISE_CPU_REF; level--) {
        vise_cpu_force((vise_cpu_level)level);
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            j.pattern = kinds[k].pattern;
            double ours = mega_rate(prune, &j, n, ROUNDS), alone = mega_rate(select_only, &j, n, ROUNDS),
                   beside = peer[kinds[k].peer];
            printf("  %-6s %-9s %20.0f %20.0f %12.0f %7.0f%%", vise_cpu_level_name((vise_cpu_level)level),
                   kinds[k].name, ours, alone, floor_rate, 100.0 * ours / floor_rate);
            if (beside > 0.0)
                printf(" %8.1f\n", ours / beside);
            else
                printf(" %8s\n", "-");
        }
    }
    vise_free(weights);
    vise_free(norms);
    vise_free(j.pruned);
    vise_free(j.score);
    vise_free(j.mask);
    return 0;
}
