#include "eval/figures.h"

#include <math.h>
#include <stdlib.h>

#include "core/mem.h"

vise_status vise_window_sums_init(vise_window_sums *sums, size_t windows, vise_error *err)
{
    double **const sides[] = {&sums->nll[0], &sums->nll[1], &sums->kl, &sums->delta_p};
    void *memory = NULL;

    *sums = (vise_window_sums){.windows = windows};
    VISE_TRY(vise_calloc(windows, sizeof *sums->counted, &memory, err));
    sums->counted = memory;
    for (size_t i = 0; i < sizeof sides / sizeof sides[0]; i++) {
        VISE_TRY(vise_calloc(windows, sizeof(double), &memory, err));
        *sides[i] = memory;
    }
    return VISE_OK;
}

void vise_window_sums_deinit(vise_window_sums *sums)
{
    vise_free(sums->counted);
    vise_free(sums->nll[0]);
    vise_free(sums->nll[1]);
    vise_free(sums->kl);
    vise_free(sums->delta_p);
    *sums = (vise_window_sums){0};
}

static double total(const double *x, size_t n)
{
    double sum = 0.0;
    for (size_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

/* Standard error of sum(x - minus) / sum(counted) over windows: the ratio estimator's residuals. */
static double standard_error(const vise_window_sums *sums, const double *x, const double *minus, double mean)
{
    double squares = 0.0;
    size_t used = 0;
    for (size_t w = 0; w < sums->windows; w++) {
        if (sums->counted[w] == 0)
            continue;
        double residual = x[w] - (minus ? minus[w] : 0.0) - mean * (double)sums->counted[w];
        squares += residual * residual;
        used++;
    }
    return used > 1 ? sqrt(squares * (double)used / (double)(used - 1)) / (double)sums->predictions : 0.0;
}

vise_status vise_quality_of(const vise_window_sums *sums, int side, uint64_t bytes, const char *name,
                            vise_quality *quality, vise_error *err)
{
    double sum = total(sums->nll[side], sums->windows), all = (double)sums->predictions;
    if (!isfinite(sum))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: its logits are not finite", name);
    *quality = (vise_quality){.tokens = sums->predictions, .nll = sum / all};
    quality->stderr_nll = standard_error(sums, sums->nll[side], NULL, quality->nll);
    double variance = sums->squares[side] / all - quality->nll * quality->nll;
    quality->stderr_nll_tokens = all > 1.0 && variance > 0.0 ? sqrt(variance / (all - 1.0)) : 0.0;
    quality->perplexity = exp(quality->nll);
    if (bytes > 0)
        quality->bits_per_byte = sum / log(2.0) / (double)bytes;
    return VISE_OK;
}

static int ascending(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static double percentile(const float *sorted, uint64_t n, double p)
{
    double rank = p * (double)(n - 1);
    uint64_t below = (uint64_t)rank, above = below + 1 < n ? below + 1 : below;
    return (double)sorted[below] + (rank - (double)below) * ((double)sorted[above] - (double)sorted[below]);
}

static void spread_of(const vise_window_sums *sums, const double *of_windows, float *values, vise_spread *spread)
{
    const struct {
        double p, *to;
    } points[] = {{0.0, &spread->min},   {0.01, &spread->p1},  {0.05, &spread->p5},   {0.10, &spread->p10},
                  {0.25, &spread->p25},  {0.50, &spread->p50}, {0.75, &spread->p75},  {0.90, &spread->p90},
                  {0.95, &spread->p95},  {0.99, &spread->p99}, {0.999, &spread->p999}, {1.0, &spread->max}};
    uint64_t n = sums->predictions;
    double squares = 0.0;

    for (uint64_t i = 0; i < n; i++)
        squares += (double)values[i] * (double)values[i];
    spread->rms = sqrt(squares / (double)n);
    spread->mean = total(of_windows, sums->windows) / (double)n;
    spread->stderr_mean = standard_error(sums, of_windows, NULL, spread->mean);
    qsort(values, n, sizeof *values, ascending);
    for (size_t i = 0; i < sizeof points / sizeof points[0]; i++)
        *points[i].to = percentile(values, n, points[i].p);
}

void vise_divergence_of(const vise_window_sums *sums, float *kl, float *delta_p, vise_divergence *divergence)
{
    double all = (double)sums->predictions;
    double difference = (total(sums->nll[0], sums->windows) - total(sums->nll[1], sums->windows)) / all;
    double agreement = (double)sums->agreed / all;

    *divergence = (vise_divergence){
        .top1_agreement = agreement,
        .top1_stderr = all > 1.0 ? sqrt(agreement * (1.0 - agreement) / (all - 1.0)) : 0.0,
        .perplexity_ratio_stderr = exp(difference) * standard_error(sums, sums->nll[0], sums->nll[1], difference)};
    spread_of(sums, sums->kl, kl, &divergence->kl);
    spread_of(sums, sums->delta_p, delta_p, &divergence->delta_p);
}
