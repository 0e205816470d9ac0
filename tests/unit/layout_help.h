/* One weight, made at random, stored in a layout and read back. */
#ifndef VISE_TESTS_LAYOUT_HELP_H
#define VISE_TESTS_LAYOUT_HELP_H

#include <stdbool.h>

#include "formats/layout.h"
#include "tests/unit/formats_help.h"

/* Codes, scales of the dtype and zeros for the whole weight; the block is freed with free. */
void *help_weight(const vise_spelling *weight, vise_dtype scale_dtype, vise_qweight *q);
/* folder/m: a model of this weight alone, stored in tiles of `step` rows, the last first. */
void help_write_model(const vise_layout *layout, const char *folder, const vise_spelling *weight,
                      const vise_qweight *q, bool pack, int64_t step);
/* Reads it back by the store: codes and values bit for bit. */
void help_check_model(const vise_layout *layout, const char *folder, const vise_spelling *weight,
                      const vise_qweight *q, vise_pool *pool);

#endif
