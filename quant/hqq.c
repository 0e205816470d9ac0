/* Half-quadratic quantization (Badri and Shaji 2023, https://mobiusml.github.io/hqq_blog/): the grid of each group from
 * its own weights, with a prior of few large errors: sum |e|^p, p < 1. Needs no calibration; rows in any order.
 *
 *   min over s, z, v of   sum |v_i|^p + beta/2 (v_i - (w_i - s (u_i - z)))^2,   u_i = clamp(rint(w_i / s) + z)
 *
 * is solved by turns from the range of the group on:
 *
 *   v = sign(e) max(0, |e| - |e|^(p-1) / beta),  e = w - s (u - z)     what is kept apart as an outlier
 *   s, z = least squares of w - v on u                                 the grid of the others
 *   beta <- 1.01 beta; from 10, at most 20 times, until the mean |e| stops falling; the grid with the least counts
 *
 * Errors of usual weights lie far below where |e| = |e|^(p-1) / beta (0.16), so v is 0 but for outliers of that size.
 * With beta in units of the scale instead, v would take part of all errors above a sixth of it, which was measured to
 * cost more.
 *
 * What differs from the paper follows from what files can hold. There the zero point is a float and is all that moves;
 * here it is an integer, whose small steps would all round to none. So the scale moves, too, and z is the better of
 * the two integers beside the solution of least squares. Up to 4 bits symmetric scales start with either sign; the
 * positive one wins ties. p is 0.75 instead of 0.7, since |e|^-0.25 needs square roots alone, which every processor
 * rounds alike. */
#include "quant/hqq.h"

#include <math.h>
#include <string.h>

#include "core/event.h"
#include "quant/quant.h"
#include "tensor/activation_type.h"
#include "tensor/grid.h"

enum { LANES = 16, ROUNDS = 20 };

/* Sums over a group, in units of the scale: d = u - z, y = (w - v) / s, error = |w/s - d|. */
typedef struct hqq_sums {
    float error, d, dd, y, yd;
} hqq_sums;

typedef struct hqq_lanes {
    float error[LANES], d[LANES], dd[LANES], y[LANES], yd[LANES];
} hqq_lanes;

/* softness: 1 / beta for errors in units of the scale. Lanes do not depend on each other: compilers make vectors
 * of them, of the same bits. Zeros add nothing. */
static inline void visit_lanes(const float *values, float scale, float low, float high, float softness,
                               hqq_lanes *sums)
{
    const float rounder = 12582912.0f; /* 1.5 * 2^23: adding it rounds to integers, ties to even */
    for (int l = 0; l < LANES; l++) {
        const float x = values[l] / scale;
        float code = x > low ? x : low;
        code = code < high ? code : high;
        const float d = (code + rounder) - rounder;
        const float e = x - d, size = fabsf(e);
        float kept = size - softness / sqrtf(sqrtf(size));
        kept = kept > 0.0f ? kept : 0.0f;
        const float y = x - copysignf(kept, e);
        sums->error[l] += size;
        sums->d[l] += d;
        sums->dd[l] += d * d;
        sums->y[l] += y;
        sums->yd[l] += y * d;
    }
}

static float sum_lanes(float *lanes)
{
    for (int half = LANES / 2; half >= 1; half /= 2)
        for (int l = 0; l < half; l++)
            lanes[l] += lanes[l + half];
    return lanes[0];
}

static hqq_sums visit(const float *values, int64_t n, float scale, int zero, int max_code, float softness)
{
    const float low = (float)-zero, high = (float)(max_code - zero);
    hqq_lanes lanes = {{0}, {0}, {0}, {0}, {0}};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        visit_lanes(values + i, scale, low, high, softness, &lanes);
    if (i < n) {
        float rest[LANES] = {0};
        memcpy(rest, values + i, (size_t)(n - i) * sizeof *rest);
        visit_lanes(rest, scale, low, high, softness, &lanes);
    }
    return (hqq_sums){sum_lanes(lanes.error), sum_lanes(lanes.d), sum_lanes(lanes.dd), sum_lanes(lanes.y),
                      sum_lanes(lanes.yd)};
}

/* The zero point that least squares find with its own best scale, rounded to the better neighbour; with factor, what
 * that scale is of the present one. False: the codes determine no grid. */
static bool fit_codes(const hqq_sums *sums, int64_t n, const vise_grid_rule *rule, int *zero, double *factor)
{
    const double count = (double)n, d = (double)sums->d, dd = (double)sums->dd, y = (double)sums->y,
                 yd = (double)sums->yd;
    if (!rule->asym) {
        *factor = yd / dd;
        return dd > 0.0;
    }
    const double variance = dd - d * d / count, slope = (yd - y * d / count) / variance;
    if (!(variance > 0.0) || !(slope > 0.0))
        return false;
    double wanted = floor((double)*zero - (y - slope * d) / count / slope), best = 0.0;
    const int now = *zero;
    wanted = wanted > 0.0 ? wanted : 0.0;
    wanted = wanted < (double)rule->max_code ? wanted : (double)rule->max_code;
    for (int z = (int)wanted; z <= (int)wanted + 1 && z <= rule->max_code; z++) {
        const double shift = (double)(now - z);
        const double along = yd + shift * y, square = dd + 2.0 * shift * d + count * shift * shift;
        if (along > 0.0 && square > 0.0 && along * along / square > best) {
            best = along * along / square;
            *zero = z;
            *factor = along / square;
        }
    }
    return best > 0.0;
}

typedef struct hqq_grid {
    float scale;
    int zero;
    float error; /* sum |e| */
} hqq_grid;

static void descend(const vise_grid_rule *rule, const float *values, int64_t n, float scale, int zero,
                    hqq_grid *best)
{
    float last = INFINITY, softness = 0.1f; /* 1 / beta for errors as they are */
    for (int round = 0; round < ROUNDS; round++) {
        const float step = fabsf(scale);
        const hqq_sums sums =
            visit(values, n, scale, zero, rule->max_code, softness / (step * sqrtf(sqrtf(step))));
        const float error = sums.error * step;
        double factor = 0.0;
        if (!(error < last))
            return;
        last = error;
        if (error < best->error)
            *best = (hqq_grid){scale, zero, error};
        if (!fit_codes(&sums, n, rule, &zero, &factor) || !(factor > 0.0))
            return;
        const float size = vise_grid_round_scale(rule->scale_dtype, (float)((double)step * factor));
        scale = copysignf(size, scale);
        softness /= 1.01f;
    }
}

void vise_hqq_fit(const vise_scheme *scheme, vise_dtype scale_dtype, const float *values, int64_t n,
                  float *scale, uint8_t *zero)
{
    const vise_grid_rule rule = vise_grid_rule_of(scheme, scale_dtype);
    hqq_grid best = {.error = INFINITY};
    float min, max, start;
    int zero_point;
    vise_range(values, (size_t)n, &min, &max);
    vise_grid_solve(&rule, min, max, &start, &zero_point);
    best.scale = start;
    best.zero = zero_point;
    if (start > 0.0f)
        descend(&rule, values, n, start, zero_point, &best);
    if (start > 0.0f && !rule.asym && scheme->type->bits <= VISE_QUANT_SIGNED_BITS)
        descend(&rule, values, n, -start, zero_point, &best);
    *scale = best.scale;
    if (zero != NULL)
        *zero = (uint8_t)best.zero;
}

/* ---- the method ------------------------------------------------------------------------------------------ */

static vise_status hqq_weight(vise_pass_run *run, vise_weight *tile, void *scratch, vise_error *err)
{
    (void)run;
    (void)scratch;
    (void)err;
    vise_qweight *q = tile->q;
    const int64_t width = q->cols / q->groups;
    for (int64_t i = 0; i < q->rows * q->groups; i++)
        vise_hqq_fit(&q->scheme, q->scale_dtype, tile->values + i * width, width, &q->scales[i],
                     q->zeros != NULL ? &q->zeros[i] : NULL);
    vise_encode_on_grid(tile->values, q);
    vise_decode(q, tile->values);
    tile->quantized = true;
    return VISE_OK;
}

static vise_status hqq_plan(vise_pass_run *run, vise_error *err)
{
    const vise_quant_config *config = run->config;
    char text[VISE_SCHEME_TEXT_MAX];
    bool scaled = false;
    if (strcmp(config->clip, "auto") != 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--clip goes with rtn and gptq: hqq finds the range of each group itself");
    VISE_TRY(vise_quant_plan(run, err));
    for (size_t i = 0; i < run->model->count; i++) {
        const vise_planned *planned = &run->planned[i];
        const vise_scheme *scheme = &planned->scheme;
        if ((planned->passes >> run->index & 1) == 0 || scheme->type == NULL)
            continue;
        if (scheme->type->blocks != NULL || scheme->type->codebook != NULL ||
            scheme->granularity == VISE_PER_TENSOR)
            return VISE_FAIL(err, VISE_EUNSUPPORTED,
                             "%s: --method hqq finds grids of integers in groups or channels, not of %s; use "
                             "--method rtn",
                             planned->bound->tensor->module, vise_scheme_text(scheme, text));
        scaled = scaled || vise_scheme_needs_calibration(scheme);
    }
    if (run->calibrated && run->model->arch != NULL && !scaled)
        vise_info("hqq uses no calibration text; it is ignored (--method gptq uses it)");
    return VISE_OK;
}

const vise_method vise_method_hqq = {
    .name = "hqq",
    .summary = "the grid of each group by half-quadratic descent, without text (mobiusml.github.io/hqq_blog)",
    .plan = hqq_plan,
    .weight = hqq_weight,
};
