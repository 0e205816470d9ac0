#include "compute/project.h"

#include <immintrin.h>
#include <math.h>

enum { LANES = VISE_SOLVE_LANES };

static void project_ref(const vise_uniform_grid *grid, int64_t row0, int64_t col, const float *values,
                        float *projected)
{
    int64_t first = col / grid->group * grid->stride + row0;
    for (int lane = 0; lane < LANES; lane++) {
        float scale = grid->scale[first + lane];
        float zero = grid->zero != NULL ? grid->zero[first + lane] : 0.0f;
        float code = rintf(values[lane] / scale) + zero;
        code = code < grid->highest ? code : grid->highest;
        code = code > grid->lowest ? code : grid->lowest;
        projected[lane] = (code - zero) * scale;
    }
}

__attribute__((target("avx2,fma,f16c,bmi2"))) static void project_avx2(const vise_uniform_grid *grid,
                                                                       int64_t row0, int64_t col,
                                                                       const float *values, float *projected)
{
    int64_t first = col / grid->group * grid->stride + row0;
    for (int half = 0; half < LANES; half += 8) {
        __m256 scale = _mm256_loadu_ps(grid->scale + first + half);
        __m256 zero = grid->zero != NULL ? _mm256_loadu_ps(grid->zero + first + half) : _mm256_setzero_ps();
        __m256 code = _mm256_round_ps(_mm256_div_ps(_mm256_loadu_ps(values + half), scale),
                                      _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        code = _mm256_min_ps(_mm256_add_ps(code, zero), _mm256_set1_ps(grid->highest));
        code = _mm256_max_ps(code, _mm256_set1_ps(grid->lowest));
        _mm256_storeu_ps(projected + half, _mm256_mul_ps(_mm256_sub_ps(code, zero), scale));
    }
}

__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2"))) static void project_avx512(
    const vise_uniform_grid *grid, int64_t row0, int64_t col, const float *values, float *projected)
{
    int64_t first = col / grid->group * grid->stride + row0;
    __m512 scale = _mm512_loadu_ps(grid->scale + first);
    __m512 zero = grid->zero != NULL ? _mm512_loadu_ps(grid->zero + first) : _mm512_setzero_ps();
    __m512 code = _mm512_roundscale_ps(_mm512_div_ps(_mm512_loadu_ps(values), scale),
                                       _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    code = _mm512_min_ps(_mm512_add_ps(code, zero), _mm512_set1_ps(grid->highest));
    code = _mm512_max_ps(code, _mm512_set1_ps(grid->lowest));
    _mm512_storeu_ps(projected, _mm512_mul_ps(_mm512_sub_ps(code, zero), scale));
}

vise_uniform_projector vise_uniform_projector_for(vise_cpu_level level)
{
    static const vise_uniform_projector projectors[VISE_CPU_LEVELS] = {project_ref, project_avx2,
                                                                       project_avx512};
    return projectors[level];
}
