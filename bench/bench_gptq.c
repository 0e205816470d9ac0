/* One linear layer through GPTQ: Gram matrix of 2048 tokens, inverse factor, column solver (int4, groups
 * of 128, static min-max grids), beside the same in torch and beside the floor that the processor's
 * measured FMA rate sets.
 *
 *   bench_gptq [--threads N]... [ROWSxCOLS]...        (1 and 2 threads; 768x768 2048x2048 4096x4096 4096x11008)
 *
 * The best of five tries counts, beyond 4096 columns the only one.
 *
 * The peer runs when build/venv/bin/python (or $PEER_PYTHON) exists and has torch:
 * bench/peers/gptq_layer.py on the same matrices, with as many threads and, should its numpy or torch
 * use OpenBLAS, with the same kernels. */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/whole_process.h"
#include "compute/backend.h"
#include "compute/project.h"
#include "core/cpu.h"

enum { TOKENS = 2048, GROUP = 128, TRIES = 5, SHAPES_MAX = 16 };

typedef struct matrices {
    int64_t rows, cols;
    float *w; /* [rows, cols] */
    float *x; /* [TOKENS, cols] */
    float *g; /* [cols, cols] */
    float *u, *q;
    float *scale, *zero; /* [cols / GROUP][rows, rounded up] */
} matrices;

static float *floats(int64_t n)
{
    float *x = calloc((size_t)n, sizeof *x);
    if (x == NULL) {
        fprintf(stderr, "bench_gptq: out of memory\n");
        exit(4);
    }
    return x;
}

/* Not quite normal, but bell-shaped: the sum of four uniform numbers. */
static float bell(uint64_t *state)
{
    double sum = -2.0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*state >> 11) * 0x1p-53;
    }
    return (float)(sum * 1.7320508);
}

static void make_matrices(matrices *m, int64_t rows, int64_t cols)
{
    uint64_t state = 1;
    int64_t stride = (rows + VISE_SOLVE_LANES - 1) / VISE_SOLVE_LANES * VISE_SOLVE_LANES;
    int64_t groups = (cols + GROUP - 1) / GROUP;
    *m = (matrices){rows,
                    cols,
                    floats(rows * cols),
                    floats(TOKENS * cols),
                    floats(cols * cols),
                    floats(cols * cols),
                    floats(rows * cols),
                    floats(groups * stride),
                    floats(groups * stride)};
    for (int64_t i = 0; i < rows * cols; i++)
        m->w[i] = 0.02f * bell(&state);
    for (int64_t t = 0; t < TOKENS; t++)
        for (int64_t j = 0; j < cols; j++)
            m->x[t * cols + j] = bell(&state) + (j > 0 ? 0.5f * m->x[t * cols + j - 1] : 0.0f);
    /* Asymmetric min-max grids of the original weights. */
    for (int64_t g = 0; g < groups; g++)
        for (int64_t r = 0; r < stride; r++) {
            float low = 0.0f;
            float high = 0.0f;
            for (int64_t j = g * GROUP; r < rows && j < cols && j < (g + 1) * GROUP; j++) {
                low = fminf(low, m->w[r * cols + j]);
                high = fmaxf(high, m->w[r * cols + j]);
            }
            m->scale[g * stride + r] = fmaxf(high - low, 1e-8f) / 15.0f;
            m->zero[g * stride + r] = rintf(-low / m->scale[g * stride + r]);
        }
}

static void free_matrices(matrices *m)
{
    float *blocks[] = {m->w, m->x, m->g, m->u, m->q, m->scale, m->zero};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        free(blocks[i]);
}

typedef struct projection {
    vise_uniform_projector projector;
    vise_uniform_grid grid;
} projection;

static void project(void *context, int64_t row0, int n, int64_t col, const float *values, float *projected)
{
    (void)n;
    const projection *p = context;
    p->projector(&p->grid, row0, col, values, projected);
}

/* u = the Gram matrix, scaled and damped as GPTQ does: 2/tokens, 1 % of the mean diagonal. */
static void damped(const matrices *m)
{
    double mean = 0.0;
    float scale = 2.0f / TOKENS;
    for (int64_t i = 0; i < m->cols; i++)
        mean += (double)(scale * m->g[i * m->cols + i]) / (double)m->cols;
    for (int64_t i = 0; i < m->cols * m->cols; i++)
        m->u[i] = scale * m->g[i];
    for (int64_t i = 0; i < m->cols; i++)
        m->u[i * m->cols + i] += (float)(0.01 * mean);
}

static void line(const char *what, const char *who, timing t, int threads, double operations, double peak)
{
    double floor_seconds = operations / (peak * threads);
    printf("  %-14s %-5s wall %8.2f ms  cpu/thread %8.2f ms  %6.1f GF/s  %3.0f %% of floor (cpu %3.0f %%)\n",
           what, who, 1e3 * t.wall, 1e3 * t.cpu / threads, operations / t.wall / 1e9,
           100.0 * floor_seconds / t.wall, 100.0 * floor_seconds / (t.cpu / threads));
}

static void write_raw(const char *folder, const char *name, const float *x, int64_t n)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(x, sizeof *x, (size_t)n, file) != (size_t)n || fclose(file) != 0) {
        fprintf(stderr, "bench_gptq: cannot write %s\n", path);
        exit(4);
    }
}

/* Runs the torch layer on the same matrices and prints its lines; its loss is the answer to compare with. */
static void run_peer(const matrices *m, int threads, double peak, timing gram, timing layer, double loss)
{
    const char *python = getenv("PEER_PYTHON") != NULL ? getenv("PEER_PYTHON") : "build/venv/bin/python";
    char folder[] = "/tmp/bench_gptq.XXXXXX";
    char command[512];
    if (access(python, X_OK) != 0) {
        printf("  peer: skipped, no %s\n", python);
        return;
    }
    if (mkdtemp(folder) == NULL) {
        printf("  peer: skipped, no temporary folder\n");
        return;
    }
    write_raw(folder, "w", m->w, m->rows * m->cols);
    write_raw(folder, "x", m->x, TOKENS * m->cols);
    const char *core = strrchr(vise_blas_text(), ' ');
    snprintf(command, sizeof command,
             "OPENBLAS_CORETYPE=%s OPENBLAS_NUM_THREADS=%d OMP_NUM_THREADS=%d MKL_NUM_THREADS=%d "
             "%s bench/peers/gptq_layer.py %s %lld %lld %d %d 2>&1; rm -r %s",
             core != NULL ? core + 1 : "", threads, threads, threads, python, folder, (long long)m->rows,
             (long long)m->cols, TOKENS, GROUP, folder);
    FILE *pipe = popen(command, "r");
    char text[512] = "";
    timing peer_gram = {0};
    timing peer_layer = {0};
    double peer_loss = 0.0;
    char version[64] = "";
    bool parsed = false;
    while (pipe != NULL && fgets(text, sizeof text, pipe) != NULL)
        parsed = parsed || sscanf(text, "peer %63s %lf %lf %lf %lf %lf", version, &peer_gram.wall,
                                  &peer_gram.cpu, &peer_layer.wall, &peer_layer.cpu, &peer_loss) == 6;
    if (pipe != NULL)
        pclose(pipe);
    if (!parsed) {
        text[strcspn(text, "\n")] = '\0';
        printf("  peer: skipped, %s failed: %s\n", python, text);
        return;
    }
    double d = (double)m->cols;
    line("gram", "peer", peer_gram, threads, (double)TOKENS * d * d, peak);
    line("factor+solve", "peer", peer_layer, threads, 2.0 / 3.0 * d * d * d + (double)m->rows * d * d, peak);
    printf("  against %s: gram %.2fx, factor+solve %.2fx (wall); loss ours %.6g, peer's %.6g (%+.3f %%)\n",
           version, peer_gram.wall / gram.wall, peer_layer.wall / layer.wall, loss, peer_loss,
           100.0 * (loss / peer_loss - 1.0));
}

static void run_shape(int64_t rows, int64_t cols, int threads)
{
    vise_error err = {0};
    vise_workers *workers;
    vise_backend *b;
    matrices m;
    double loss = 0.0;
    bool failed = false;
    timing gram = {INFINITY, INFINITY};
    timing factor = gram;
    timing solve = gram;
    timing layer = gram;

    make_matrices(&m, rows, cols);
    must(vise_workers_new(threads, &workers, &err), &err);
    must(vise_backend_open("cpu", workers, &b, &err), &err);
    projection grid = {vise_uniform_projector_for(vise_cpu()),
                       {m.scale, m.zero, (rows + VISE_SOLVE_LANES - 1) / VISE_SOLVE_LANES * VISE_SOLVE_LANES,
                        GROUP, 0.0f, 15.0f}};
    const int tries = cols <= 4096 ? TRIES : 1;
    for (int i = 0; i < tries; i++) {
        memset(m.g, 0, (size_t)(cols * cols) * sizeof *m.g);
        timing start = now();
        must(b->matrix->gram(b, TOKENS, cols, m.x, cols, m.g, &err), &err);
        keep_best(&gram, start);
    }
    for (int i = 0; i < tries; i++) {
        memcpy(m.q, m.w, (size_t)(rows * cols) * sizeof *m.q);
        damped(&m);
        timing start = now();
        must(b->factor->inverse_factor(b, cols, m.u, &failed, &err), &err);
        keep_best(&factor, start);
        timing middle = now();
        vise_solve problem = {.rows = rows,
                              .cols = cols,
                              .w = m.q,
                              .ldw = cols,
                              .u = m.u,
                              .ldu = cols,
                              .project = project,
                              .context = &grid};
        must(b->factor->solve_columns(b, &problem, &loss, &err), &err);
        keep_best(&solve, middle);
        keep_best(&layer, start);
    }
    double peak = vise_measure_fma_peak(); /* after the work: the clock as it is under load */
    double d = (double)cols;
    printf("%lldx%lld, %d tokens, %d thread%s, %s, FMA peak %.1f GF/s a core%s\n", (long long)rows,
           (long long)cols, TOKENS, threads, threads == 1 ? "" : "s", b->detail, peak / 1e9,
           failed ? ", NOT POSITIVE DEFINITE" : "");
    line("gram", "ours", gram, threads, (double)TOKENS * d * d, peak);
    line("inverse factor", "ours", factor, threads, 2.0 / 3.0 * d * d * d, peak);
    line("solve", "ours", solve, threads, (double)rows * d * d, peak);
    line("factor+solve", "ours", layer, threads, 2.0 / 3.0 * d * d * d + (double)rows * d * d, peak);
    run_peer(&m, threads, peak, gram, layer, loss);
    fflush(stdout);
    vise_backend_close(b);
    vise_workers_free(workers);
    free_matrices(&m);
}

int main(int argc, char **argv)
{
    long long shapes[SHAPES_MAX][2] = {{768, 768}, {2048, 2048}, {4096, 4096}, {4096, 11008}};
    int threads[SHAPES_MAX] = {1, 2};
    int shape_count = 0;
    int thread_count = 0;
    for (int i = 1; i < argc; i++) {
        long long rows;
        long long cols;
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc && thread_count < SHAPES_MAX)
            threads[thread_count++] = (int)strtol(argv[++i], NULL, 10);
        else if (shape_count < SHAPES_MAX && sscanf(argv[i], "%lldx%lld", &rows, &cols) == 2 && rows > 0 &&
                 cols > 0) {
            shapes[shape_count][0] = rows;
            shapes[shape_count++][1] = cols;
        } else {
            fprintf(stderr, "usage: %s [--threads N]... [ROWSxCOLS]...\n", argv[0]);
            return 2;
        }
    }
    for (int s = 0; s < (shape_count > 0 ? shape_count : 4); s++)
        for (int t = 0; t < (thread_count > 0 ? thread_count : 2); t++)
            run_shape(shapes[s][0], shapes[s][1], threads[t]);
    return 0;
}
