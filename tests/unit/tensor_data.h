/* Data and loops that the tests of the tensor room share. */
#ifndef VISE_TESTS_UNIT_TENSOR_DATA_H
#define VISE_TESTS_UNIT_TENSOR_DATA_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/cpu.h"
#include "core/rng.h"

/* Every CPU level of this machine, the reference included. */
#define FOR_EACH_LEVEL(level) for (int level = VISE_CPU_REF; level <= (int)vise_cpu_highest(); level++)

static inline void use_level(int level)
{
    vise_cpu_force((vise_cpu_level)level);
}

static inline uint32_t float_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline float float_from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Kinds of weights that codecs and selections meet. */
typedef enum data_kind {
    DATA_NORMAL,    /* 0.02 * normal, some groups of zeros, some lonely values */
    DATA_SPARSE,    /* half of the values zero, some of them negative zero */
    DATA_POSITIVE,  /* no negative value */
    DATA_NEGATIVE,  /* no positive value */
    DATA_TIES,      /* multiples of 1/4 in [-4, 4]: many exact halves and equal scores */
    DATA_SUBNORMAL, /* below the smallest normal float */
    DATA_HUGE,      /* up to FLT_MAX */
    DATA_WIDE,      /* any finite bit pattern */
    DATA_ZERO,
    DATA_KINDS
} data_kind;

static inline void fill_data(data_kind kind, float *values, size_t n, uint64_t seed)
{
    vise_rng rng;
    vise_rng_init(&rng, seed, "tensor data");
    for (size_t i = 0; i < n; i++) {
        float v = 0.02f * (float)vise_rng_normal(&rng);
        uint64_t die = vise_rng_below(&rng, 16);
        switch (kind) {
        case DATA_NORMAL:
            v = i / 64 % 5 == 3 ? 0.0f : i / 64 % 7 == 2 ? (i % 64 == 17 ? v : 0.0f) : v;
            break;
        case DATA_SPARSE:
            v = die < 7 ? 0.0f : die == 7 ? -0.0f : v;
            break;
        case DATA_POSITIVE:
            v = fabsf(v);
            break;
        case DATA_NEGATIVE:
            v = -fabsf(v);
            break;
        case DATA_TIES:
            v = (float)((int)vise_rng_below(&rng, 33) - 16) / 4.0f;
            break;
        case DATA_SUBNORMAL:
            v *= 0x1p-126f;
            break;
        case DATA_HUGE:
            v *= 0x1p127f;
            v *= 8.0f;
            v = v > FLT_MAX ? FLT_MAX : v < -FLT_MAX ? -FLT_MAX : v;
            break;
        case DATA_WIDE:
            do
                v = float_from_bits((uint32_t)vise_rng_next(&rng));
            while (!isfinite(v));
            break;
        default:
            v = 0.0f;
            break;
        }
        values[i] = v;
    }
}

/* A block of exactly `bytes` bytes, so that sanitizers see a step beyond its end. Never NULL; freed with
 * free. */
static inline void *exact(size_t bytes)
{
    void *block = malloc(bytes ? bytes : 1);
    if (!block)
        _Exit(99);
    memset(block, 0xa5, bytes);
    return block;
}

#endif
