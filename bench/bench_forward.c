/* Whole models from ids to logits, beside torch and beside the floor that the processor's measured FMA rate sets
 * (operations: vise_forward_operations, the head, and for Gram matrices d^2 a token).
 *
 *   bench_forward [--threads N]... [MODEL]...      (1 and 2 threads; gpt2 bert llama tiny books)
 *
 * "products": processor time inside the linear layers' matrix products alone, and what share of their floor that is.
 * The peer is bench/peers/forward_model.py under build/venv/bin/python ($PEER_PYTHON) with as many threads; it also
 * makes the models (random weights). Ends with 1 when the logits of the two differ. */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/machine.h"
#include "bench/whole_process.h"
#include "compute/backend.h"
#include "model/forward.h"

#define FOLDER "build/bench-forward"
#define SCRIPT "bench/peers/forward_model.py"

enum { LAYERS_MAX = 16 };

typedef struct workload {
    const char *name, *text;
    size_t windows, length;
    int tries;
    bool measures; /* one block: statistics too */
} workload;

static const workload workloads[] = {
    {"gpt2", "GPT-2, 124 M", 4, 512, 3, false},
    {"bert", "BERT base", 4, 512, 3, false},
    {"llama", "one block, hidden 4096, ffn 14336, 32 heads of which 8 key-value", 2, 512, 3, false},
    {"tiny", "one block, hidden 2048, ffn 5632, 32 heads of which 4 key-value", 8, 256, 3, true},
    {"books", "one block, hidden 512, ffn 1024, 8 heads of which 4 key-value", 64, 256, 3, true},
};

typedef struct machine {
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    int threads;
    double peak; /* operations a second of one core */
} machine;

/* ---- products ------------------------------------------------------------------------------------------------ */

/* Processor time and operations of products, counted in front of the backend's own. A product whose tiles run on
 * several threads is timed on all of them by the process's clock: nothing else runs then. */
static vise_status (*inner_gemm)(vise_backend *b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                                 const float *w, int64_t ldw, float beta, float *c, int64_t ldc, vise_error *err);
static atomic_ullong product_nanoseconds, product_operations;
static clockid_t product_clock; /* of the thread, in blocks; of the process, in the head */

static uint64_t nanoseconds(void)
{
    struct timespec t;
    clock_gettime(product_clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static vise_status timed_gemm(vise_backend *b, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda,
                              const float *w, int64_t ldw, float beta, float *c, int64_t ldc, vise_error *err)
{
    uint64_t start = nanoseconds();
    vise_status status = inner_gemm(b, m, n, k, a, lda, w, ldw, beta, c, ldc, err);
    atomic_fetch_add(&product_nanoseconds, nanoseconds() - start);
    atomic_fetch_add(&product_operations, (unsigned long long)(2 * m * n * k));
    return status;
}

/* ---- one run ------------------------------------------------------------------------------------------------- */

/* From ids to logits; returns the mean of logsumexp over all tokens, computed outside the time. */
static double run(const vise_model *model, const vise_block *blocks, const vise_head *head, const machine *m,
                  const vise_windows *windows, float *logits, size_t step, timing *best)
{
    vise_error err = {0};
    vise_stream *stream;
    timing spent = {0};
    double sum = 0.0;
    size_t vocab = (size_t)vise_head_width(model), tokens = windows->count * windows->length;
    timing start = now();
    must(vise_stream_open(model, windows, UINT64_MAX, m->workers, m->pool, &stream, &err), &err);
    product_clock = CLOCK_THREAD_CPUTIME_ID;
    for (int layer = 0; layer < (int)model->config.layers; layer++)
        must(vise_block_forward(model, &blocks[layer], stream, m->backend, &err), &err);
    product_clock = CLOCK_PROCESS_CPUTIME_ID;
    for (size_t token = 0; token < tokens; token += step) {
        size_t n = tokens - token < step ? tokens - token : step;
        must(vise_head_logits(head, stream, m->backend, token, n, logits, &err), &err);
        timing stop = now();
        spent.wall += stop.wall - start.wall;
        spent.cpu += stop.cpu - start.cpu;
        for (size_t t = 0; t < n; t += 37) { /* some of them */
            double total = 0.0;
            for (size_t v = 0; v < vocab; v++)
                total += exp((double)logits[t * vocab + v]);
            sum += log(total) * (double)(n - t < 37 ? n - t : 37);
        }
        start = now();
    }
    vise_stream_close(stream);
    best->wall = fmin(best->wall, spent.wall);
    best->cpu = fmin(best->cpu, spent.cpu);
    return sum / (double)tokens;
}

static void line(const char *what, const char *who, timing t, const machine *m, double tokens, double operations)
{
    double floor = operations / m->peak / m->threads;
    printf("  %-14s %-16s %7.3f s wall %7.3f s cpu %7.0f tokens/s %6.1f GFLOP/s  %3.0f %% of the floor"
           " (by cpu %3.0f %%)\n",
           what, who, t.wall, t.cpu, tokens / t.wall, 1e-9 * operations / t.wall, 100.0 * floor / t.wall,
           100.0 * floor * m->threads / t.cpu);
}

static void measure(const vise_model *model, const vise_block *block, const machine *m, const vise_windows *windows,
                    int tries, double forward)
{
    static const char *const names[] = {"", "measure norms", "measure gram"};
    const vise_config *c = &model->config;
    double tokens = (double)(windows->count * windows->length);
    double q = (double)(c->heads * c->head_dim), h = (double)c->hidden, f = (double)c->ffn;
    /* No down_proj; with Gram matrices d^2 a token for every input. */
    double operations[] = {0.0, forward - 2.0 * tokens * h * f,
                           forward + tokens * (2.0 * h * h + q * q + f * f - 2.0 * h * f)};
    vise_error err = {0};
    vise_stream *stream;
    must(vise_stream_open(model, windows, UINT64_MAX, m->workers, m->pool, &stream, &err), &err);
    for (unsigned wanted = VISE_STAT_NORMS; wanted <= VISE_STAT_GRAM; wanted++) {
        timing best = {INFINITY, INFINITY};
        for (int i = 0; i < tries; i++) {
            vise_block_stats stats;
            timing start = now();
            must(vise_block_measure(model, block, stream, m->backend, wanted, 0xf, &stats, &err), &err);
            keep_best(&best, start);
            vise_block_stats_deinit(&stats);
        }
        line(names[wanted], "vise", best, m, tokens, operations[wanted]);
    }
    vise_stream_close(stream);
}

/* ---- the peer ------------------------------------------------------------------------------------------------ */

static const char *python(void)
{
    const char *name = getenv("PEER_PYTHON");
    return name ? name : "build/venv/bin/python";
}

static bool prepare(const char *name)
{
    char command[1024];
    snprintf(command, sizeof command, "'%s' " SCRIPT " prepare %s " FOLDER "/%s", python(), name, name);
    fflush(stdout);
    FILE *peer = access(python(), X_OK) == 0 && access(SCRIPT, R_OK) == 0 ? popen(command, "r") : NULL;
    return peer && pclose(peer) == 0;
}

/* The mean of logsumexp; NaN when it failed. */
static double run_peer(const workload *w, const machine *m, double operations)
{
    char command[1024], version[64];
    double mean = NAN;
    timing t;
    snprintf(command, sizeof command,
             "OMP_NUM_THREADS=%d MKL_NUM_THREADS=%d '%s' " SCRIPT " time " FOLDER "/%s %zu %zu %d", m->threads,
             m->threads, python(), w->name, w->windows, w->length, w->tries);
    fflush(stdout);
    FILE *peer = popen(command, "r");
    if (peer && fscanf(peer, "peer %63s %lf %lf %lf", version, &t.wall, &t.cpu, &mean) == 4)
        line("forward", version, t, m, (double)(w->windows * w->length), operations);
    else
        printf("  peer failed: %s\n", command);
    if (peer)
        pclose(peer);
    return mean;
}

/* ---- all of it ----------------------------------------------------------------------------------------------- */

static bool bench_model(const workload *w, const machine *m, const vise_model *model, const vise_windows *windows)
{
    vise_error err = {0};
    vise_head *head;
    static vise_block blocks[LAYERS_MAX];
    size_t step = w->length, vocab = (size_t)vise_head_width(model);
    void *logits;
    for (int layer = 0; layer < (int)model->config.layers; layer++)
        must(vise_block_load(model, layer, m->workers, m->pool, &blocks[layer], &err), &err);
    must(vise_head_open(model, UINT64_MAX, true, m->workers, m->pool, &head, &err), &err);
    must(vise_pool_take(m->pool, step * vocab * sizeof(float), "logits", &logits, &err), &err);

    double tokens = (double)(w->windows * w->length), forward = vise_forward_operations(model, tokens, w->length);
    double operations = forward + 2.0 * tokens * (double)model->config.hidden * (double)vocab, mean = 0.0;
    timing best = {INFINITY, INFINITY};
    for (int i = 0; i < w->tries; i++)
        mean = run(model, blocks, head, m, windows, logits, step, &best);
    line("forward", "vise", best, m, tokens, operations);

    const vise_matrix_ops *own = m->backend->matrix;
    vise_matrix_ops timed = *own;
    timing ignored = {INFINITY, INFINITY};
    inner_gemm = own->gemm_nt;
    timed.gemm_nt = timed_gemm;
    m->backend->matrix = &timed;
    double share = 0.0, best_rate = 0.0;
    for (int i = 0; i < 2; i++) {
        product_nanoseconds = product_operations = 0;
        ignored.cpu = INFINITY;
        (void)run(model, blocks, head, m, windows, logits, step, &ignored);
        double rate = (double)product_operations / (double)product_nanoseconds;
        if (rate > best_rate) {
            best_rate = rate;
            share = 1e-9 * (double)product_nanoseconds / ignored.cpu;
        }
    }
    m->backend->matrix = own;
    printf("  %-14s %-16s %.0f %% of the cpu time, %.0f %% of the operations, %6.1f GFLOP/s a core, %3.0f %% of their"
           " floor\n",
           "products", "vise", 100.0 * share, 100.0 * (double)product_operations / operations, best_rate,
           1e11 * best_rate / m->peak);
    if (w->measures)
        measure(model, &blocks[0], m, windows, w->tries, forward);
    double theirs = run_peer(w, m, operations);
    bool same = fabs(mean - theirs) <= 1e-3 * fabs(theirs); /* ours is of a sample */
    printf("  mean logsumexp %.5f (a sample), torch's %.5f%s\n", mean, theirs, same ? "" : "  DIFFERENT");

    vise_pool_give(m->pool, logits);
    vise_head_close(head);
    for (int layer = 0; layer < (int)model->config.layers; layer++)
        vise_block_unload(&blocks[layer]);
    return same;
}

static bool bench(const workload *w, int threads)
{
    vise_error err = {0};
    vise_model *model;
    machine m = {.threads = threads};
    char folder[256];
    snprintf(folder, sizeof folder, FOLDER "/%s", w->name);
    if (!prepare(w->name)) {
        printf("%s: the model could not be made by %s\n", w->name, python());
        return true;
    }
    must(vise_workers_new(threads, &m.workers, &err), &err);
    must(vise_pool_new(0, &m.pool, &err), &err);
    must(vise_backend_open("cpu", m.workers, &m.backend, &err), &err);
    must(vise_model_open(folder, &model, &err), &err);
    size_t n = w->windows * w->length;
    int32_t *ids;
    must(vise_calloc(n, sizeof *ids, (void **)&ids, &err), &err);
    for (size_t i = 0; i < n; i++)
        ids[i] = (int32_t)(i * 7919 % (size_t)model->config.vocab);
    const vise_windows windows = {.ids = ids, .count = w->windows, .length = w->length};
    m.peak = vise_measure_fma_peak();
    printf("%s (%s), %zu x %zu tokens, %d thread%s; %s; FMA peak %.1f GFLOP/s a core\n", w->name, w->text, w->windows,
           w->length, threads, threads > 1 ? "s" : "", vise_blas_text(), 1e-9 * m.peak);
    bool same = bench_model(w, &m, model, &windows);
    vise_free(ids);
    vise_model_close(model);
    vise_backend_close(m.backend);
    vise_pool_free(m.pool);
    vise_workers_free(m.workers);
    return same;
}

int main(int argc, char **argv)
{
    int threads[8] = {1, 2}, n_threads = 0;
    bool same = true, any = false;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc && n_threads < 8)
            threads[n_threads++] = (int)strtol(argv[++i], NULL, 10);
        else
            any = true;
    print_machine("float32");
    for (size_t w = 0; w < sizeof workloads / sizeof workloads[0]; w++) {
        bool wanted = !any;
        for (int i = 1; i < argc; i++)
            wanted = wanted || strcmp(argv[i], workloads[w].name) == 0;
        for (int t = 0; wanted && t < (n_threads ? n_threads : 2); t++)
            same = bench(&workloads[w], threads[t]) && same;
    }
    return same ? 0 : 1;
}
