#include "model/rope.h"

#include <math.h>

int64_t vise_rope_width(const vise_config *config)
{
    return config->rotary > 0 ? config->rotary : config->head_dim;
}

bool vise_rope_by_length(const vise_rope *rope)
{
    return rope->kind == VISE_ROPE_DYNAMIC || rope->kind == VISE_ROPE_LONGROPE;
}

/* Llama 3.1: long waves are stretched by the factor, short ones stay, those between are blended. */
static double llama3_frequency(const vise_rope *rope, double frequency)
{
    const double turn = 6.283185307179586;
    double turns = (double)rope->original * frequency / turn; /* within the original context */
    if (turns < rope->low)
        return frequency / rope->factor;
    if (turns > rope->high)
        return frequency;
    double blend = (turns - rope->low) / (rope->high - rope->low);
    return (1.0 - blend) * frequency / rope->factor + blend * frequency;
}

static double yarn_factor(const vise_config *config, const vise_rope *rope)
{
    return rope->factor > 0.0 ? rope->factor : (double)config->max_positions / (double)rope->original;
}

/* The dimension that turns `turns` times within the original context (arXiv:2309.00071, section 3.2). */
static double yarn_dimension(const vise_rope *rope, double width, double turns)
{
    const double turn = 6.283185307179586;
    return width * log((double)rope->original / (turns * turn)) / (2.0 * log(rope->theta));
}

static double yarn_frequency(const vise_config *config, const vise_rope *rope, double width, int64_t i,
                             double frequency)
{
    double low = yarn_dimension(rope, width, rope->high), high = yarn_dimension(rope, width, rope->low);
    low = fmax(rope->truncate ? floor(low) : low, 0.0);
    high = fmin(rope->truncate ? ceil(high) : high, width - 1.0);
    if (low == high)
        high += 0.001;
    double ramp = fmin(fmax(((double)i - low) / (high - low), 0.0), 1.0);
    return frequency / yarn_factor(config, rope) * ramp + frequency * (1.0 - ramp);
}

double vise_rope_frequency(const vise_config *config, const vise_rope *rope, int64_t i, int64_t length)
{
    double width = (double)vise_rope_width(config), theta = rope->theta;
    if (rope->kind == VISE_ROPE_DYNAMIC) {
        double positions = (double)config->max_positions;
        double reach = fmax((double)length, positions) / positions;
        theta *= pow(rope->factor * reach - (rope->factor - 1.0), width / (width - 2.0));
    }
    double frequency = pow(theta, -2.0 * (double)i / width);
    switch (rope->kind) {
    case VISE_ROPE_DEFAULT:
    case VISE_ROPE_DYNAMIC:
        break;
    case VISE_ROPE_LINEAR:
        return frequency / rope->factor;
    case VISE_ROPE_LLAMA3:
        return llama3_frequency(rope, frequency);
    case VISE_ROPE_YARN:
        return yarn_frequency(config, rope, width, i, frequency);
    case VISE_ROPE_LONGROPE: {
        const cJSON *factors = length > rope->original ? rope->long_factor : rope->short_factor;
        return frequency / cJSON_GetArrayItem(factors, (int)i)->valuedouble;
    }
    }
    return frequency;
}

static double yarn_scale(double factor, double mscale)
{
    return factor > 1.0 ? 0.1 * mscale * log(factor) + 1.0 : 1.0;
}

double vise_rope_magnitude(const vise_config *config, const vise_rope *rope)
{
    double factor = yarn_factor(config, rope);
    if (rope->attention_factor > 0.0)
        return rope->attention_factor;
    if (rope->kind == VISE_ROPE_YARN) {
        if (rope->mscale > 0.0 && rope->mscale_all > 0.0)
            return yarn_scale(factor, rope->mscale) / yarn_scale(factor, rope->mscale_all);
        return yarn_scale(factor, 1.0);
    }
    if (rope->kind == VISE_ROPE_LONGROPE && factor > 1.0)
        return sqrt(1.0 + log(factor) / log((double)rope->original));
    return 1.0;
}
