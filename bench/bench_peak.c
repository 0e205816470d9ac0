/* What this machine can do: its highest rate of single-precision multiply-adds on one thread, for the
 * floors of the benchmarks that time whole commands. Prints operations per second, two to a multiply-add. */
#include <stdio.h>

#include "compute/backend.h"

int main(void)
{
    double best = 0.0;
    for (int round = 0; round < 5; round++) {
        double rate = vise_measure_fma_peak();
        best = rate > best ? rate : best;
    }
    printf("%.6g\n", best);
    return 0;
}
