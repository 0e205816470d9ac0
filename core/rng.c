#include "core/rng.h"

#include <math.h>
#include <string.h>

__extension__ typedef unsigned __int128 uint128;

static uint64_t rotate_left(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

/* One step of splitmix64 (Vigna 2015). */
static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = (*state += 0x9E3779B97F4A7C15u);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static uint64_t fnv1a(const char *text)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (; *text; text++)
        hash = (hash ^ (unsigned char)*text) * 0x100000001B3u;
    return hash;
}

void vise_rng_init(vise_rng *rng, uint64_t seed, const char *name)
{
    /* The seed is mixed before the name joins in, so that seed 1 of "a" is not seed 2 of some other name. */
    uint64_t mix = splitmix64(&seed) ^ fnv1a(name);
    for (int i = 0; i < 4; i++)
        rng->state[i] = splitmix64(&mix);
}

uint64_t vise_rng_next(vise_rng *rng)
{
    uint64_t *s = rng->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t vise_rng_below(vise_rng *rng, uint64_t bound)
{
    /* Lemire 2019: the high half of x * bound, refusing the 2^64 mod bound low halves that would favour some. */
    uint128 product = (uint128)vise_rng_next(rng) * bound;
    if ((uint64_t)product < bound) {
        uint64_t refused = (0 - bound) % bound;
        while ((uint64_t)product < refused)
            product = (uint128)vise_rng_next(rng) * bound;
    }
    return (uint64_t)(product >> 64);
}

double vise_rng_uniform(vise_rng *rng)
{
    return (double)(vise_rng_next(rng) >> 11) * 0x1p-53;
}

/* The natural logarithm of a positive normal number, from + - * / alone: the C library picks its log by CPU, and
 * those differ in the last bit. x = 2^e m with m in [sqrt(1/2), sqrt(2)); log m = 2 atanh(f), f = (m - 1) / (m +
 * 1), |f| < 0.172, where eleven terms of the series leave less than one part in 10^17. */
static double portable_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int exponent = (int)(bits >> 52) - 1023;
    bits = (bits & 0x000FFFFFFFFFFFFFu) | 0x3FF0000000000000u;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 0x1.6A09E667F3BCDp+0) {
        m *= 0.5;
        exponent++;
    }
    double f = (m - 1.0) / (m + 1.0);
    double square = f * f;
    double sum = 0.0;
    for (int k = 21; k >= 1; k -= 2)
        sum = sum * square + 1.0 / k;
    return exponent * 0x1.62E42FEFA39EFp-1 + 2.0 * f * sum;
}

double vise_rng_normal(vise_rng *rng)
{
    for (;;) {
        double u = 2.0 * vise_rng_uniform(rng) - 1.0;
        double v = 2.0 * vise_rng_uniform(rng) - 1.0;
        double s = u * u + v * v;
        /* The second normal of the pair is dropped: the state stays the four words of the generator. */
        if (s > 0.0 && s < 1.0)
            return u * sqrt(-2.0 * portable_log(s) / s);
    }
}
