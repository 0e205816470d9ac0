/* The group hook of --method gptq on one weight and one Gram matrix from files, for tests/interop/check_solver.py.
 *
 * solve SCHEME RANGE ACTORDER ROWS COLS W H OUT
 *
 * W: [ROWS, COLS], H: [COLS, COLS] (upper triangle counts), float32. Scales stay float32, the damping is 0.01.
 * OUT gets the codes [ROWS, COLS], one byte each, then the quantized weight [ROWS, COLS] as float32; stdout the
 * loss and the damping.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/backend.h"
#include "core/mem.h"
#include "core/workers.h"
#include "quant/quant.h"

static void must(vise_status status, const vise_error *err)
{
    if (status == VISE_OK)
        return;
    fprintf(stderr, "solve: %s\n", err->message);
    exit((int)status);
}

static void *read_floats(const char *path, size_t n)
{
    FILE *file = fopen(path, "rb");
    float *x = malloc(n * sizeof *x);
    if (file == NULL || x == NULL || fread(x, sizeof *x, n, file) != n || fgetc(file) != EOF) {
        fprintf(stderr, "solve: %s: not a file of %zu floats\n", path, n);
        exit(3);
    }
    fclose(file);
    return x;
}

int main(int argc, char **argv)
{
    vise_error err = {0};
    vise_scheme scheme;
    vise_qweight q;
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;

    if (argc != 9) {
        fprintf(stderr, "usage: solve SCHEME RANGE ACTORDER ROWS COLS W H OUT\n");
        return 2;
    }
    const int64_t rows = strtol(argv[4], NULL, 10), cols = strtol(argv[5], NULL, 10);
    const size_t n = (size_t)(rows * cols);
    must(vise_scheme_parse(argv[1], &scheme, &err), &err);
    must(vise_workers_new(1, &workers, &err), &err);
    must(vise_pool_new(0, &pool, &err), &err);
    must(vise_backend_open("cpu", workers, &backend, &err), &err);
    void *block = calloc(1, vise_qweight_bytes(&scheme, rows, cols));
    if (block == NULL)
        return 4;
    vise_qweight_carve(&q, &scheme, VISE_DTYPE_F32, rows, cols, block);

    vise_quant_config config = {
        .scheme = argv[1], .clip = "none", .range = argv[2], .actorder = argv[3], .damp = 0.01};
    vise_planned planned = {.scheme = scheme};
    vise_weight weight = {
        .plan = &planned, .rows = rows, .cols = cols, .values = read_floats(argv[6], n), .q = &q};
    vise_weight *weights[] = {&weight};
    vise_input_stats stats = {
        .width = cols, .tokens = 1, .gram = read_floats(argv[7], (size_t)(cols * cols))};
    vise_group group = {.stats = &stats, .weights = weights, .count = 1};
    vise_pass_run run = {.pass = &vise_pass_quant,
                         .method = &vise_method_gptq,
                         .config = &config,
                         .threads = 1,
                         .pool = pool,
                         .workers = workers,
                         .backend = backend};
    must(vise_method_gptq.group(&run, &group, &err), &err);
    if (!weight.quantized || weight.note != NULL) {
        fprintf(stderr, "solve: %s\n", weight.note != NULL ? weight.note : "not quantized");
        return 1;
    }
    printf("%.9g %.9g\n", weight.loss, weight.damp);

    FILE *out = fopen(argv[8], "wb");
    if (out == NULL || fwrite(q.codes, 1, n, out) != n || fwrite(weight.values, sizeof(float), n, out) != n ||
        fclose(out) != 0) {
        fprintf(stderr, "solve: cannot write %s\n", argv[8]);
        return 4;
    }
    free(stats.gram);
    free(weight.values);
    free(block);
    vise_backend_close(backend);
    vise_pool_free(pool);
    vise_workers_free(workers);
    return 0;
}
