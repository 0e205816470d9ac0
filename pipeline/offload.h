/* The weights of an output as accelerate keeps them when it offloads a model to the disk: FOLDER/index.json and one raw
 * file for each tensor, little-endian, named as the class of transformers names it.
 *
 *   FOLDER/model.embed_tokens.weight.dat
 *   FOLDER/index.json   {"model.embed_tokens.weight": {"dtype": "bfloat16", "shape": [512, 64]}, ...}
 *
 * What is tied stands under both names, as accelerate wants it, in one file with two links. A scalar's file holds one
 * element. Written beside its final name from the finished output, in pieces, and renamed.
 *
 * Source: accelerate 1.15, utils/offload.py: offload_weight, load_offloaded_weight.
 */
#ifndef VISE_PIPELINE_OFFLOAD_H
#define VISE_PIPELINE_OFFLOAD_H

#include "core/err.h"
#include "core/mem.h"
#include "pipeline/plan.h"

/* Before work: names, dtypes, room on the disk; that the folder holds nothing that is read or written; that it is new,
 * or an older offload that may be replaced. Makes the folder's temporary sibling. */
VISE_MUST_USE vise_status vise_offload_begin(const vise_plan *plan, vise_error *err);
/* Writes the temporary sibling from the finished output at `model`. */
VISE_MUST_USE vise_status vise_offload_write(const vise_plan *plan, const char *model, vise_pool *pool,
                                             vise_error *err);
VISE_MUST_USE vise_status vise_offload_publish(const vise_plan *plan, vise_error *err);
/* Removes what is not published. */
void vise_offload_drop(const vise_plan *plan);

/* Bytes and number of the files, index.json aside. */
uint64_t vise_offload_bytes(const vise_plan *plan, size_t *files);

#endif
