#include "tensor/loss.h"

#include "tensor/kernels.h"

enum { LANES = 16, RUN = 64 }; /* vectors of a run: short enough to stay exact */

void vise_loss_run_ref(const float *original, const float *values, size_t n, float error[LANES],
                       float signal[LANES], uint64_t *zeros)
{
    for (size_t i = 0; i < n; i++) {
        const float w = original[i], v = values[i];
        error[i % LANES] += (w - v) * (w - v);
        signal[i % LANES] += w * w;
        *zeros += v == 0.0f;
    }
}

void vise_loss_add(const float *original, const float *values, size_t n, vise_loss *sum)
{
    const vise_tensor_kernels *kernels = vise_tensor_kernels_now();
    for (size_t start = 0; start < n; start += LANES * RUN) {
        const size_t left = n - start, run = left < LANES * RUN ? left : LANES * RUN,
                     whole = run - run % LANES;
        float error[LANES] = {0}, signal[LANES] = {0};
        kernels->loss_run(original + start, values + start, whole, error, signal, &sum->zeros);
        for (size_t i = start + whole; i < start + run; i++) /* what fills no vector goes to the first sum */
            vise_loss_run_ref(original + i, values + i, 1, error, signal, &sum->zeros);
        for (int lane = 0; lane < LANES; lane++) {
            sum->error += (double)error[lane];
            sum->signal += (double)signal[lane];
        }
    }
}
