/* Where the modules of a model go: GPUs in their order, then the host's memory, then the disk, as accelerate and
 * transformers take a device map. Made from a plan, so that weights count as they will be stored: codes, scales, zero
 * points, and what stays float.
 *
 * A unit is what must not be split: a block; outside the blocks the largest modules that hold no block; and with tied
 * weights both modules that share them. Units keep their order, so that activations change devices once.
 *
 * A device needs room for its weights, for keys and values of the blocks that it runs, and for the activations of the
 * largest unit that it runs. Units on the host or on the disk are run by the first GPU (by the host where there is
 * none): that one needs their keys and values too, and room for the largest of them when its turn comes; the host needs
 * room for the largest that comes from the disk. When all fits on the GPUs nothing is held back. Of what fits, the map
 * that offloads least is taken.
 */
#ifndef VISE_PIPELINE_DEVICE_MAP_H
#define VISE_PIPELINE_DEVICE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buf.h"
#include "core/err.h"
#include "core/json.h"
#include "pipeline/plan.h"

#define VISE_GPUS_MAX 64

/* What --memory says: "gpu0=8GiB,cpu=16GiB". A device that is not named takes nothing; the disk takes what is left. */
typedef struct vise_memory_bounds {
    struct {
        int index;
        uint64_t bytes;
    } gpus[VISE_GPUS_MAX]; /* ascending */
    size_t n_gpus;
    uint64_t cpu; /* 0: not named */
} vise_memory_bounds;

typedef struct vise_map_unit {
    const char **modules; /* names in the class that config.json names; the first is its own, the others go with it */
    size_t n_modules, capacity;
    int layer; /* -1: outside the blocks */
    bool is_block, has_head;
    int64_t place; /* in the forward pass: units are sorted by it */
    uint64_t weights, kv_cache, activations; /* bytes */
} vise_map_unit;

typedef struct vise_map_device {
    int gpu;               /* -1: host or disk */
    const char *name;      /* "gpu0", "cpu", "disk" */
    uint64_t limit;        /* 0: none */
    size_t first, count;   /* its units */
    uint64_t weights, kv_cache, activations;
    uint64_t reserved;     /* for the largest unit that is brought in */
} vise_map_device;

typedef struct vise_device_map {
    vise_map_unit *units;
    size_t n_units;
    vise_map_device devices[VISE_GPUS_MAX + 2];
    size_t n_devices;
    int64_t context, batch;
    size_t element_bytes; /* of activations, keys and values */
    bool known;           /* a family with a table: keys, values and activations are counted */
} vise_device_map;

/* Everything lives in the plan's arena. context VISE_UNSET_INT: the smaller of the model's positions and 2048; 0 counts
 * weights alone. VISE_ERESOURCE names the device that is too small and what would do; VISE_EUNSUPPORTED for GGUF
 * outputs, whose loaders take no map. */
VISE_MUST_USE vise_status vise_device_map_make(const vise_plan *plan, const vise_memory_bounds *bounds,
                                               int64_t context, int64_t batch, vise_device_map *out,
                                               vise_error *err);

/* The file: {"model.embed_tokens": 0, ..., "model.layers.31": "cpu", "lm_head": "disk"}. */
void vise_device_map_json(const vise_device_map *map, vise_buf *out);
/* What lies where, for a person, and as members of the plan's JSON object. */
void vise_device_map_print(const vise_device_map *map, vise_buf *out);
void vise_device_map_put(const vise_device_map *map, vise_json_writer *json);

#endif
