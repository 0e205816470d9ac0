/* Random numbers keyed by (seed, name): what one weight draws does not depend on the order or the thread in which
 * weights are visited. xoshiro256** (Blackman and Vigna 2018), seeded by splitmix64 over the seed and the FNV-1a
 * hash of the name. */
#ifndef VISE_CORE_RNG_H
#define VISE_CORE_RNG_H

#include <stdint.h>

typedef struct vise_rng {
    uint64_t state[4];
} vise_rng;

void vise_rng_init(vise_rng *rng, uint64_t seed, const char *name);
uint64_t vise_rng_next(vise_rng *rng);
uint64_t vise_rng_below(vise_rng *rng, uint64_t bound); /* unbiased, bound >= 1 */
double vise_rng_uniform(vise_rng *rng);                 /* [0, 1), 53 bits */
double vise_rng_normal(vise_rng *rng);                  /* standard normal, Marsaglia polar */

#endif
