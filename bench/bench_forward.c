/* One block of a Llama over calibration windows: forward, and with statistics, beside torch and beside the floor that
 * the processor's measured FMA rate sets (operations: vise_forward_operations and, for Gram matrices, d^2 a token).
 *
 *   bench_forward [--threads N]... [books|synth]...      (1 and 2 threads, both shapes)
 *
 * The peer runs when build/venv/bin/python (or $PEER_PYTHON) exists and has torch: bench/peers/forward_block.py, the
 * same block in eager torch with its fused attention, as many threads and, should its torch use OpenBLAS, the same
 * kernels. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "compute/backend.h"
#include "core/cpu.h"
#include "model/forward.h"
#include "model/stream.h"

typedef struct shape {
    const char *name;
    vise_config config;
    size_t windows, length;
    int tries;
} shape;

/* The bundled protocol's model, and a block of the size that a model of a billion weights has. */
static const shape shapes[] = {
    {"books", {.hidden = 512, .ffn = 1024, .layers = 1, .heads = 8, .kv_heads = 4, .head_dim = 64, .vocab = 4096,
               .max_positions = 512, .norm_eps = 1e-5, .rope = {.theta = 1e4}}, 64, 256, 5},
    {"synth", {.hidden = 2048, .ffn = 5632, .layers = 1, .heads = 32, .kv_heads = 4, .head_dim = 64, .vocab = 32000,
               .max_positions = 2048, .norm_eps = 1e-5, .rope = {.theta = 1e4}}, 8, 256, 3},
};

typedef struct timing {
    double wall, cpu; /* seconds; cpu of all threads */
} timing;

static timing now(void)
{
    struct timespec wall, cpu;
    clock_gettime(CLOCK_MONOTONIC, &wall);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    return (timing){(double)wall.tv_sec + 1e-9 * (double)wall.tv_nsec, (double)cpu.tv_sec + 1e-9 * (double)cpu.tv_nsec};
}

static void keep_best(timing *best, timing start)
{
    timing end = now();
    best->wall = fmin(best->wall, end.wall - start.wall);
    best->cpu = fmin(best->cpu, end.cpu - start.cpu);
}

static void must(vise_status status, const vise_error *err)
{
    if (status == VISE_OK)
        return;
    fprintf(stderr, "bench_forward: %s\n", err->message);
    exit((int)status);
}

static void fill(float *x, size_t n, float scale, float offset)
{
    uint64_t state = n + 1;
    for (size_t i = 0; i < n; i++) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        x[i] = offset + scale * ((float)(state >> 40) * 0x1p-23f - 1.0f);
    }
}

static void make_block(const vise_model *model, vise_pool *pool, vise_block *block)
{
    vise_error err = {0};
    must(vise_block_init(model, 0, pool, block, &err), &err);
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        if (!vise_arch_row_in_block(row) || !vise_arch_row_applies(row, &model->config, 0))
            continue;
        int64_t rows = vise_config_dim(&model->config, row->rows), cols = vise_config_dim(&model->config, row->cols);
        void *memory;
        must(vise_pool_take(pool, (size_t)(rows * cols) * sizeof(float), "weights", &memory, &err), &err);
        block->weight[row->role] = memory;
        fill(memory, (size_t)(rows * cols), row->linear ? 1.0f / sqrtf((float)cols) : 0.1f, row->linear ? 0.0f : 1.0f);
    }
}

static void line(const char *what, const char *who, timing t, int threads, double tokens, double operations,
                 double peak)
{
    double floor = operations / peak / threads;
    printf("  %-14s %-16s %7.3f s wall %7.3f s cpu %7.0f tokens/s %6.1f GFLOP/s  %3.0f %% of the floor"
           " (by cpu %3.0f %%)\n",
           what, who, t.wall, t.cpu, tokens / t.wall, 1e-9 * operations / t.wall, 100.0 * floor / t.wall,
           100.0 * floor * threads / t.cpu);
}

/* Operations of a walk that gathers Gram matrices: no down_proj, d^2 a token for every input. */
static double measure_operations(const vise_config *c, double forward, double tokens)
{
    double q = (double)(c->heads * c->head_dim), h = (double)c->hidden, f = (double)c->ffn;
    return forward + tokens * (2.0 * h * h + q * q + f * f - 2.0 * h * f);
}

static void run_peer(const shape *s, int threads, double operations, double peak)
{
    const char *python = getenv("PEER_PYTHON"), *script = "bench/peers/forward_block.py";
    python = python ? python : "build/venv/bin/python";
    if (access(python, X_OK) != 0 || access(script, R_OK) != 0) {
        printf("  peer skipped: no %s or no %s (PEER_PYTHON names a python with torch)\n", python, script);
        return;
    }
    const vise_config *c = &s->config;
    char command[1024], version[64];
    const char *core = strrchr(vise_blas_text(), ' ');
    snprintf(command, sizeof command,
             "OPENBLAS_CORETYPE='%s' OMP_NUM_THREADS=%d MKL_NUM_THREADS=%d '%s' %s %lld %lld %lld %lld %lld %zu %zu %d",
             core ? core + 1 : "", threads, threads, python, script, (long long)c->hidden, (long long)c->ffn,
             (long long)c->heads, (long long)c->kv_heads, (long long)c->head_dim, s->windows, s->length, s->tries);
    fflush(stdout);
    FILE *peer = popen(command, "r");
    timing t;
    if (peer && fscanf(peer, "peer %63s %lf %lf", version, &t.wall, &t.cpu) == 3)
        line("forward", version, t, threads, (double)(s->windows * s->length), operations, peak);
    else
        printf("  peer failed: %s\n", command);
    if (peer)
        pclose(peer);
}

static void bench(const shape *s, int threads)
{
    vise_error err = {0};
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    vise_stream *stream;
    vise_block block;
    vise_model model = {.arch = vise_arch_find("llama"), .config = s->config};
    vise_windows windows = {.count = s->windows, .length = s->length};
    must(vise_workers_new(threads, &workers, &err), &err);
    must(vise_pool_new(0, &pool, &err), &err);
    must(vise_backend_open("cpu", workers, &backend, &err), &err);
    must(vise_stream_new(&model, &windows, 1, UINT64_MAX, pool, &stream, &err), &err);
    make_block(&model, pool, &block);

    double tokens = (double)(s->windows * s->length), peak = vise_measure_fma_peak();
    double operations = vise_forward_operations(&model, tokens, s->length);
    printf("%s: hidden %lld, ffn %lld, %zu x %zu tokens, %d thread%s; %s, %s; FMA peak %.1f GFLOP/s a core\n", s->name,
           (long long)s->config.hidden, (long long)s->config.ffn, s->windows, s->length, threads,
           threads > 1 ? "s" : "", vise_cpu_level_name(vise_cpu()), vise_blas_text(), 1e-9 * peak);
    timing best[3] = {{INFINITY, INFINITY}, {INFINITY, INFINITY}, {INFINITY, INFINITY}};
    for (int i = 0; i < s->tries; i++) {
        fill(stream->resident, (size_t)(s->windows * s->length) * (size_t)s->config.hidden, 1.0f, 0.0f);
        timing start = now();
        must(vise_block_forward(&model, &block, stream, backend, &err), &err);
        keep_best(&best[0], start);
        for (unsigned wanted = VISE_STAT_NORMS; wanted <= VISE_STAT_GRAM; wanted++) {
            vise_block_stats stats;
            start = now();
            must(vise_block_measure(&model, &block, stream, backend, wanted, 0xf, &stats, &err), &err);
            keep_best(&best[wanted], start);
            vise_block_stats_deinit(&stats);
        }
    }
    double without_down = operations - 2.0 * tokens * (double)(s->config.hidden * s->config.ffn);
    line("forward", "vise", best[0], threads, tokens, operations, peak);
    line("measure norms", "vise", best[1], threads, tokens, without_down, peak);
    line("measure gram", "vise", best[2], threads, tokens, measure_operations(&s->config, operations, tokens), peak);
    run_peer(s, threads, operations, peak);

    vise_block_unload(&block);
    vise_stream_close(stream);
    vise_backend_close(backend);
    vise_pool_free(pool);
    vise_workers_free(workers);
}

int main(int argc, char **argv)
{
    int threads[8] = {1, 2}, n_threads = 0;
    const char *only = NULL;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc && n_threads < 8)
            threads[n_threads++] = (int)strtol(argv[++i], NULL, 10);
        else
            only = argv[i];
    for (size_t s = 0; s < sizeof shapes / sizeof shapes[0]; s++)
        for (int t = 0; t < (n_threads ? n_threads : 2); t++)
            if (!only || strcmp(only, shapes[s].name) == 0)
                bench(&shapes[s], threads[t]);
    return 0;
}
