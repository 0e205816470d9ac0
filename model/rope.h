/* Frequencies of rotary positions, by the kind of scaling. */
#ifndef VISE_MODEL_ROPE_H
#define VISE_MODEL_ROPE_H

#include <stdbool.h>
#include <stdint.h>

#include "model/arch.h"

/* Rotated dimensions of a head. */
int64_t vise_rope_width(const vise_config *config);
/* True if the frequencies depend on the length of the text. */
bool vise_rope_by_length(const vise_rope *rope);
/* The angle of pair i at position p is p * frequency(i), for a text of `length` tokens. */
double vise_rope_frequency(const vise_config *config, const vise_rope *rope, int64_t i, int64_t length);
/* What cos and sin are multiplied by. */
double vise_rope_magnitude(const vise_config *config, const vise_rope *rope);

#endif
