/* One weight, made at random, stored in a layout and read back. */
#ifndef VISE_TESTS_LAYOUT_HELP_H
#define VISE_TESTS_LAYOUT_HELP_H

#include <stdbool.h>

#include "formats/layout.h"
#include "tests/unit/formats_help.h"

/* "blk.q", a linear. */
vise_spelling help_spelling(const char *scheme, int64_t rows, int64_t cols, vise_dtype dtype);
/* Codes, scales of the dtype and zeros for the whole weight; the block is freed with free. */
void *help_weight(const vise_spelling *weight, vise_dtype scale_dtype, vise_qweight *q);
/* folder/m: a model of this weight alone, stored in tiles of `step` rows, the last first. */
void help_write_model(const vise_layout *layout, const char *folder, const vise_spelling *weight,
                      const vise_qweight *q, bool pack, int64_t step);
/* Reads it back by the store: codes and values bit for bit. */
void help_check_model(const vise_layout *layout, const char *folder, const vise_spelling *weight,
                      const vise_qweight *q, vise_pool *pool);

/* n tensors with the one of that name in another form: without it if the dtype is VISE_DTYPE_COUNT, with it behind the
 * others if it is a new one, for which there must be room. name NULL: as they are. Returns how many there are then. */
size_t help_replace(help_tensor *tensors, size_t n, const char *name, vise_dtype dtype, int ndim,
                    const int64_t shape[3], const void *bytes);
/* Opens the tensors, with that config, as a model in the folder: status and message (NULL: any) must be those wanted.
 * row: of the test's table. */
void help_opens(const char *folder, const help_tensor *tensors, size_t n, const char *config, size_t row,
                vise_status wanted, const char *say);

/* What a layout must say of a linear that it cannot hold. */
typedef struct help_refusal {
    const char *layout, *scheme;
    int64_t rows, cols;
    vise_status status;
    const char *say;
} help_refusal;
void help_spell_refuses(const help_refusal *rows, size_t n);

/* Parts as a layout stores them, kept. */
typedef struct help_parts {
    uint8_t part[VISE_PARTS_MAX][4096];
} help_parts;
vise_part_writer help_keep(help_parts *to);

#endif
