/* The convert pass: changes how a model is stored, not what it computes: dtype of floats, layout, packing,
 * shards. */
#ifndef VISE_CONVERT_CONVERT_H
#define VISE_CONVERT_CONVERT_H

#include "pipeline/pass.h"

extern const vise_pass vise_pass_convert;

#endif
