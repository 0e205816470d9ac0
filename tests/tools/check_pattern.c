/* Holds the linears inside a model's blocks against a sparsity pattern, whatever form they are stored in.
 *
 *   check_pattern MODEL KEEP:GROUP        exactly KEEP of every GROUP consecutive weights of a row are not zero
 *   check_pattern MODEL at-most KEEP:GROUP   no more than KEEP are
 *   check_pattern MODEL like OTHER        weights that are zero in OTHER are zero in MODEL
 *   check_pattern MODEL same OTHER [F]    at least the fraction F of the weights are equal to 1 in 10^4 (default 1)
 *
 * Prints what was counted; exits 1 when it does not hold. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/store.h"

typedef enum check { EXACT, AT_MOST, LIKE, SAME } check;

typedef struct counts {
    uint64_t tensors, weights, zeros, groups, bad;
} counts;

typedef struct checker {
    check check;
    int keep, group;
    vise_store *model, *other;
    vise_pool *pool;
    counts counts;
    vise_error err;
} checker;

static bool is_block_linear(const vise_logical *t)
{
    return strncmp(t->name, "model.layers.", 13) == 0 && strstr(t->name, "_proj") != NULL && t->ndim == 2;
}

static void count_groups(checker *c, const float *values, int64_t rows, int64_t cols)
{
    for (int64_t row = 0; row < rows; row++)
        for (int64_t g = 0; g < cols; g += c->group) {
            int kept = 0;
            for (int64_t j = g; j < g + c->group && j < cols; j++)
                kept += values[row * cols + j] != 0.0f;
            c->counts.groups++;
            c->counts.bad += c->check == EXACT ? kept != c->keep : kept > c->keep;
        }
}

static vise_status read_all(checker *c, const vise_store *store, size_t index, float **values)
{
    const vise_logical *t = vise_store_tensor(store, index);
    VISE_TRY(vise_pool_take(c->pool, (size_t)(t->rows * t->cols) * sizeof(float), t->name, (void **)values, &c->err));
    return vise_store_read_f32(store, index, 0, t->rows, *values, c->pool, &c->err);
}

static vise_status check_tensor(checker *c, size_t index)
{
    const vise_logical *t = vise_store_tensor(c->model, index);
    const size_t n = (size_t)(t->rows * t->cols);
    float *values = NULL, *others = NULL;
    vise_status status = read_all(c, c->model, index, &values);
    if (status == VISE_OK && c->other != NULL) {
        size_t at = vise_store_find(c->other, t->name);
        status = at == SIZE_MAX ? VISE_FAIL(&c->err, VISE_EUSAGE, "%s is not in the other model", t->name)
                                : read_all(c, c->other, at, &others);
    }
    if (status == VISE_OK) {
        c->counts.tensors++;
        c->counts.weights += n;
        for (size_t i = 0; i < n; i++) {
            c->counts.zeros += values[i] == 0.0f;
            if (c->check == LIKE)
                c->counts.bad += others[i] == 0.0f && values[i] != 0.0f;
            if (c->check == SAME) /* codes are equal or differ by much more; scales may differ in the last bits */
                c->counts.bad += !(fabsf(others[i] - values[i]) <= 1e-4f * fabsf(values[i]));
        }
        if (c->group > 0)
            count_groups(c, values, t->rows, t->cols);
    }
    vise_pool_give(c->pool, others);
    vise_pool_give(c->pool, values);
    return status;
}

static vise_status check_model(checker *c, const char *path, const char *other)
{
    VISE_TRY(vise_pool_new(0, &c->pool, &c->err));
    VISE_TRY(vise_store_open(path, &c->model, &c->err));
    if (other != NULL)
        VISE_TRY(vise_store_open(other, &c->other, &c->err));
    for (size_t i = 0; i < vise_store_count(c->model); i++)
        if (is_block_linear(vise_store_tensor(c->model, i)))
            VISE_TRY(check_tensor(c, i));
    return VISE_OK;
}

static bool parse(checker *c, const char *pattern)
{
    return sscanf(pattern, "%d:%d", &c->keep, &c->group) == 2 && c->group > 0;
}

int main(int argc, char **argv)
{
    checker c = {.check = EXACT};
    const char *other = NULL;
    double fraction = 1.0;
    bool good = argc == 3 && parse(&c, argv[2]);
    if (argc >= 4) {
        c.check = strcmp(argv[2], "at-most") == 0 ? AT_MOST : strcmp(argv[2], "like") == 0 ? LIKE : SAME;
        good = c.check == AT_MOST ? parse(&c, argv[3]) : c.check == LIKE || strcmp(argv[2], "same") == 0;
        other = c.check == AT_MOST ? NULL : argv[3];
        fraction = argc == 5 ? strtod(argv[4], NULL) : 1.0;
    }
    if (!good) {
        fprintf(stderr, "check_pattern: wrong arguments\n");
        return 2;
    }
    vise_status status = check_model(&c, argv[1], other);
    vise_store_close(c.other);
    vise_store_close(c.model);
    vise_pool_free(c.pool);
    if (status != VISE_OK) {
        fprintf(stderr, "check_pattern: %s\n", c.err.message);
        return 3;
    }
    printf("%llu weights of %llu linears: %.6f are zero, %llu of %llu are not as they must be\n",
           (unsigned long long)c.counts.weights, (unsigned long long)c.counts.tensors,
           (double)c.counts.zeros / (double)c.counts.weights, (unsigned long long)c.counts.bad,
           (unsigned long long)(c.group > 0 ? c.counts.groups : c.counts.weights));
    const uint64_t allowed = c.check == SAME ? (uint64_t)((1.0 - fraction) * (double)c.counts.weights) : 0;
    return c.counts.tensors > 0 && c.counts.bad <= allowed ? 0 : 1;
}
