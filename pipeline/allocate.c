#include "pipeline/allocate.h"

#include <math.h>
#include <stdlib.h>

#include "core/mem.h"

/* A step along the hull of an item, from the corner before it. */
typedef struct step {
    size_t item, rank, to; /* rank: its place on the item's hull */
    uint64_t bytes;
    double saved;
} step;

/* By falling loss saved per byte; ties by place, so that an item's steps keep their order. */
static int by_worth(const void *a, const void *b)
{
    const step *x = a, *y = b;
    const double left = x->saved * (double)y->bytes, right = y->saved * (double)x->bytes;
    if (left != right)
        return left > right ? -1 : 1;
    if (x->item != y->item)
        return x->item < y->item ? -1 : 1;
    return x->rank < y->rank ? -1 : 1;
}

static size_t smallest(const vise_choice *options, size_t n)
{
    size_t best = n;
    for (size_t i = 0; i < n; i++)
        if (!isnan(options[i].loss) &&
            (best == n || options[i].bytes < options[best].bytes ||
             (options[i].bytes == options[best].bytes && options[i].loss < options[best].loss)))
            best = i;
    return best;
}

/* The steps of one item's hull: from each corner the one with the steepest fall. */
static size_t climb(const vise_choice *options, size_t item, size_t n, size_t from, step *steps)
{
    size_t count = 0;
    for (;;) {
        size_t best = n;
        for (size_t i = 0; i < n; i++) {
            if (isnan(options[i].loss) || options[i].bytes <= options[from].bytes ||
                options[i].loss >= options[from].loss)
                continue;
            const double saved = options[from].loss - options[i].loss;
            const double bytes = (double)(options[i].bytes - options[from].bytes);
            const double best_saved = best < n ? options[from].loss - options[best].loss : 0.0;
            const double best_bytes = best < n ? (double)(options[best].bytes - options[from].bytes) : 1.0;
            if (best == n || saved * best_bytes > best_saved * bytes)
                best = i;
        }
        if (best == n)
            return count;
        steps[count] = (step){.item = item,
                              .rank = count,
                              .to = best,
                              .bytes = options[best].bytes - options[from].bytes,
                              .saved = options[from].loss - options[best].loss};
        count++;
        from = best;
    }
}

/* What is left goes to the option of a single item that saves most and fits, until none does. */
static void fill(const vise_choice *options, size_t items, size_t n, uint64_t left, size_t *chosen)
{
    for (;;) {
        double most = 0.0;
        size_t item = items, to = n;
        for (size_t k = 0; k < items; k++) {
            const vise_choice *of = options + k * n, *now = of + chosen[k];
            for (size_t i = 0; i < n; i++) {
                if (isnan(of[i].loss) || of[i].bytes > now->bytes + left || !(now->loss - of[i].loss > most))
                    continue;
                most = now->loss - of[i].loss;
                item = k;
                to = i;
            }
        }
        if (item == items)
            return;
        left = left + options[item * n + chosen[item]].bytes - options[item * n + to].bytes;
        chosen[item] = to;
    }
}

/* One option for all that fits and loses less: between corners of the hull there may be one. */
static void prefer_even(const vise_choice *options, size_t items, size_t n, uint64_t budget, size_t *chosen)
{
    double loss = 0.0;
    for (size_t k = 0; k < items; k++)
        loss += options[k * n + chosen[k]].loss;
    for (size_t i = 0; i < n; i++) {
        double even = 0.0;
        uint64_t bytes = 0;
        for (size_t k = 0; k < items; k++) {
            even += options[k * n + i].loss; /* NaN stays */
            bytes += options[k * n + i].bytes;
        }
        if (bytes > budget || !(even < loss))
            continue;
        loss = even;
        for (size_t k = 0; k < items; k++)
            chosen[k] = i;
    }
}

vise_status vise_allocate(const vise_choice *options, size_t items, size_t n, uint64_t budget, size_t *chosen,
                          uint64_t *least, bool *fits, vise_error *err)
{
    size_t count = 0;
    uint64_t left = budget;
    *least = 0;
    for (size_t k = 0; k < items; k++) {
        chosen[k] = smallest(options + k * n, n);
        if (chosen[k] == n)
            return VISE_FAIL(err, VISE_EUSAGE, "item %zu has no option", k);
        *least += options[k * n + chosen[k]].bytes;
    }
    *fits = *least <= budget;
    if (!*fits)
        return VISE_OK;
    left -= *least;
    step *steps;
    VISE_TRY(vise_calloc(items * n + 1, sizeof *steps, (void **)&steps, err));
    for (size_t k = 0; k < items; k++)
        count += climb(options + k * n, k, n, chosen[k], steps + count);
    qsort(steps, count, sizeof *steps, by_worth);
    for (size_t s = 0; s < count && steps[s].bytes <= left; s++) {
        chosen[steps[s].item] = steps[s].to;
        left -= steps[s].bytes;
    }
    vise_free(steps);
    fill(options, items, n, left, chosen);
    prefer_even(options, items, n, budget, chosen);
    return VISE_OK;
}
