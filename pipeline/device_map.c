#include "pipeline/device_map.h"

#include <string.h>

#include "core/event.h"
#include "model/footprint.h"

static uint64_t max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- units ------------------------------------------------------------------------------------------ */

/* The length of the name up to its first component that is a number ("model.layers.12"), or 0. */
static size_t block_length(const char *name)
{
    for (const char *at = name; *at != '\0';) {
        size_t length = strcspn(at, ".");
        if (length > 0 && strspn(at, "0123456789") == length && at[length] == '.')
            return (size_t)(at - name) + length;
        at += length + (at[length] == '.');
    }
    return 0;
}

/* True if blocks lie below the module name[0, length). */
static bool holds_blocks(const char *const *names, size_t count, const char *name, size_t length)
{
    for (size_t i = 0; i < count; i++) {
        size_t block = block_length(names[i]);
        if (block > length && names[i][length] == '.' && strncmp(names[i], name, length) == 0)
            return true;
    }
    return false;
}

/* How much of a tensor's name is its unit's. */
static size_t unit_length(const char *const *names, size_t count, const char *name)
{
    size_t length = block_length(name);
    if (length > 0)
        return length;
    length = strcspn(name, ".");
    while (name[length] == '.' && holds_blocks(names, count, name, length))
        length += 1 + strcspn(name + length + 1, ".");
    return length;
}

static vise_status add_module(vise_map_unit *unit, const char *name, size_t length, vise_arena *arena,
                              vise_error *err)
{
    if (unit->n_modules == unit->capacity) {
        size_t capacity = unit->capacity > 0 ? 2 * unit->capacity : 2;
        void *grown;
        VISE_TRY(vise_arena_take(arena, capacity * sizeof *unit->modules, &grown, err));
        if (unit->n_modules > 0)
            memcpy(grown, unit->modules, unit->n_modules * sizeof *unit->modules);
        unit->modules = grown;
        unit->capacity = capacity;
    }
    return vise_arena_strdup(arena, name, length, &unit->modules[unit->n_modules++], err);
}

/* The unit that has the module, or n_units. Tensors come in order: it is most often the last. */
static size_t find_unit(const vise_device_map *map, const char *name, size_t length)
{
    for (size_t u = map->n_units; u > 0; u--)
        for (size_t m = 0; m < map->units[u - 1].n_modules; m++) {
            const char *module = map->units[u - 1].modules[m];
            if (strncmp(module, name, length) == 0 && module[length] == '\0')
                return u - 1;
        }
    return map->n_units;
}

/* The place of a unit in the forward pass: what stands in front of the blocks and behind them by the rows of the
 * family, whose order is that of the network; what has no row is run behind the blocks (a pooler), unless it embeds.
 * Images go through their tower in front of the text. */
static int64_t place_of(const vise_model *model, const vise_map_unit *unit, const vise_bound *bound)
{
    const int64_t section = INT64_C(1) << 32;
    const size_t n_rows = model->arch != NULL ? model->arch->n_rows : 0;
    if (model->arch != NULL && model->arch->text != NULL && bound->role == VISE_ROLE_UNKNOWN)
        return -1;
    if (unit->is_block)
        return section + unit->layer;
    for (size_t r = 0; r < n_rows; r++)
        if (model->arch->rows[r].role == bound->role)
            return (vise_role_after_blocks(bound->role) ? 2 * section : 0) + (int64_t)r;
    return strstr(unit->modules[0], "emb") != NULL ? (int64_t)n_rows : 3 * section;
}

/* Few units move far: most come in order. */
static void sort_units(vise_device_map *map)
{
    for (size_t u = 1; u < map->n_units; u++) {
        const vise_map_unit moved = map->units[u];
        size_t at = u;
        for (; at > 0 && map->units[at - 1].place > moved.place; at--)
            map->units[at] = map->units[at - 1];
        map->units[at] = moved;
    }
}

static vise_status gather_units(const vise_plan *plan, vise_device_map *map, vise_error *err)
{
    const char **names;
    VISE_TRY(vise_arena_take(plan->arena, (plan->count + 1) * sizeof *names, (void **)&names, err));
    VISE_TRY(vise_arena_take(plan->arena, (plan->count + 1) * sizeof *map->units, (void **)&map->units, err));
    for (size_t k = 0; k < plan->count; k++) {
        const vise_bound *bound = &plan->model->bound[plan->order[k]];
        VISE_TRY(vise_model_class_name(plan->model, bound, bound->tensor->name, plan->arena, &names[k], err));
    }
    for (size_t k = 0; k < plan->count; k++) {
        const vise_bound *bound = &plan->model->bound[plan->order[k]];
        size_t length = unit_length(names, plan->count, names[k]);
        size_t u = find_unit(map, names[k], length);
        vise_map_unit *unit = &map->units[u];
        const bool is_new = u == map->n_units;
        if (is_new) {
            unit->is_block = block_length(names[k]) > 0;
            unit->layer = unit->is_block && bound->layer >= 0 ? bound->layer : -1;
            VISE_TRY(add_module(unit, names[k], length, plan->arena, err));
            map->n_units++;
        }
        unit->weights += vise_plan_stored_bytes(plan, plan->order[k]);
        const int64_t at = place_of(plan->model, unit, bound);
        unit->place = is_new || at < unit->place ? at : unit->place;
        unit->has_head = unit->has_head || bound->role == VISE_ROLE_HEAD;
    }
    sort_units(map);
    return VISE_OK;
}

static vise_status head_module(const vise_plan *plan, const char **out, vise_error *err)
{
    const vise_model *model = plan->model;
    *out = NULL;
    for (size_t r = 0; r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        vise_bound bound = {.role = row->role};
        if (row->role == VISE_ROLE_HEAD && vise_arch_row_applies(row, &model->config, -1))
            return vise_model_class_name(model, &bound, row->module, plan->arena, out, err);
    }
    return VISE_OK;
}

/* A tied head joins the embedding's unit: a module of its own that stores nothing, or one that has other weights. */
static vise_status join_tied(const vise_plan *plan, vise_device_map *map, vise_error *err)
{
    const char *head;
    if (!plan->model->tied)
        return VISE_OK;
    VISE_TRY(head_module(plan, &head, err));
    if (head == NULL || map->n_units == 0)
        return VISE_OK;
    size_t length = strcspn(head, "."), at = find_unit(map, head, length), embedding = 0;
    while (embedding + 1 < map->n_units && map->units[embedding].place < 0) /* a tower of images */
        embedding++;
    vise_map_unit *with = &map->units[embedding];
    with->has_head = true;
    if (at == map->n_units)
        return add_module(with, head, length, plan->arena, err);
    if (at == embedding)
        return VISE_OK;
    for (size_t m = 0; m < map->units[at].n_modules; m++) {
        const char *module = map->units[at].modules[m];
        VISE_TRY(add_module(with, module, strlen(module), plan->arena, err));
    }
    with->weights += map->units[at].weights;
    memmove(&map->units[at], &map->units[at + 1], (map->n_units - at - 1) * sizeof *map->units);
    map->n_units--;
    return VISE_OK;
}

/* GPT-NeoX's head is stored as embed_out, and called lm_head since version 5 of transformers: the map has both. */
static vise_status add_new_names(const vise_plan *plan, vise_device_map *map, vise_error *err)
{
    size_t u = find_unit(map, "embed_out", strlen("embed_out"));
    return u < map->n_units ? add_module(&map->units[u], "lm_head", strlen("lm_head"), plan->arena, err) : VISE_OK;
}

/* The table of angles is a module without weights, beside the embedding: it goes with the first block. */
static vise_status add_rotary(const vise_plan *plan, vise_device_map *map, vise_error *err)
{
    const vise_model *model = plan->model;
    const char *name;
    if (model->config.position != VISE_POSITION_ROTARY)
        return VISE_OK;
    for (size_t u = 0; u < map->n_units; u++) {
        const char *block = map->units[u].modules[0];
        size_t length = strlen(block);
        if (map->units[u].layer < 0)
            continue;
        for (int dots = 0; length > 0 && dots < 2; length--) /* in front of "layers.0" */
            dots += block[length - 1] == '.';
        VISE_TRY(vise_arena_strfmt(plan->arena, &name, err, "%.*s%srotary_emb", (int)length, block,
                                   length > 0 ? "." : ""));
        return add_module(&map->units[u], name, strlen(name), plan->arena, err);
    }
    return VISE_OK;
}

static void count_usage(const vise_plan *plan, vise_device_map *map)
{
    const vise_usage usage = {map->context, map->batch, map->element_bytes};
    for (size_t u = 0; u < map->n_units; u++) {
        vise_map_unit *unit = &map->units[u];
        if (unit->layer >= 0 && unit->layer < (int)plan->model->config.layers) {
            unit->kv_cache = vise_kv_cache_bytes(plan->model, unit->layer, &usage);
            unit->activations = vise_block_activation_bytes(plan->model, unit->layer, &usage);
        }
        if (unit->has_head)
            unit->activations = max_u64(unit->activations, vise_head_activation_bytes(plan->model, &usage));
    }
}

/* ---- placing ---------------------------------------------------------------------------------------- */

static void clear_devices(vise_device_map *map)
{
    for (size_t d = 0; d < map->n_devices; d++) {
        vise_map_device *device = &map->devices[d];
        device->first = device->count = 0;
        device->weights = device->kv_cache = device->activations = device->reserved = 0;
    }
}

static uint64_t needed(const vise_map_device *device)
{
    return device->weights + device->kv_cache + device->activations + device->reserved;
}

static bool fits(const vise_map_device *device)
{
    return device->limit == 0 || needed(device) <= device->limit;
}

/* The device runs the unit, wherever that lies. */
static void run_on(vise_map_device *device, const vise_map_unit *unit)
{
    device->kv_cache += unit->kv_cache;
    device->activations = max_u64(device->activations, unit->activations);
}

static void hold(vise_map_device *device, const vise_map_unit *unit, size_t index)
{
    device->first = device->count == 0 ? index : device->first;
    device->count++;
    device->weights += unit->weights;
}

enum { GPUS_TOO_SMALL = 1, HOST_TOO_SMALL = 2 };

/* Places units [0, on_gpus) on the GPUs, those up to on_host on the host and the others on the disk, and says what is
 * too small for that. The last two devices are the host and the disk. */
static int place(vise_device_map *map, size_t on_gpus, size_t on_host)
{
    const size_t n_gpus = map->n_devices - 2;
    vise_map_device *host = &map->devices[n_gpus], *disk = &map->devices[n_gpus + 1];
    vise_map_device *runs = n_gpus > 0 ? &map->devices[0] : host; /* what is on no GPU */
    clear_devices(map);
    for (size_t u = on_gpus; u < map->n_units; u++) {
        const vise_map_unit *unit = &map->units[u];
        hold(u < on_host ? host : disk, unit, u);
        run_on(runs, unit);
        if (n_gpus > 0)
            runs->reserved = max_u64(runs->reserved, unit->weights);
        if (u >= on_host && host->limit > 0)
            host->reserved = max_u64(host->reserved, unit->weights);
    }
    size_t d = 0;
    for (size_t u = 0; u < on_gpus && d < n_gpus; u++)
        for (; d < n_gpus; d++) {
            vise_map_device with = map->devices[d];
            hold(&with, &map->units[u], u);
            run_on(&with, &map->units[u]);
            if (!fits(&with))
                continue;
            map->devices[d] = with;
            break;
        }
    const bool gpus_fit = n_gpus == 0 || (d < n_gpus && fits(&map->devices[0]));
    const bool host_fits = host->limit > 0 ? fits(host) : host->count == 0 && n_gpus > 0;
    return (gpus_fit ? 0 : GPUS_TOO_SMALL) | (host_fits ? 0 : HOST_TOO_SMALL);
}

static vise_status too_small(vise_device_map *map, vise_error *err)
{
    const size_t n_gpus = map->n_devices - 2;
    char a[VISE_SIZE_TEXT_MAX], b[VISE_SIZE_TEXT_MAX];
    (void)place(map, 0, 0); /* all on the disk: what then is needed is the least */
    for (size_t d = 0; d <= n_gpus; d++) {
        const vise_map_device *device = &map->devices[d];
        if (!fits(device))
            return VISE_FAIL(err, VISE_ERESOURCE,
                             "--memory %s=%s is too small: it runs what lies elsewhere, and needs %s for the largest "
                             "module, for keys and values of %lld tokens, and for activations; a smaller --context "
                             "takes less",
                             device->name, vise_format_size(device->limit, a), vise_format_size(needed(device), b),
                             (long long)(map->context * map->batch));
    }
    return VISE_FAIL(err, VISE_ERESOURCE,
                     "--memory names no device that could run the model: give cpu=SIZE or gpu0=SIZE");
}

/* As much as possible on the GPUs, then as much of the rest as possible on the host. */
static vise_status place_all(vise_device_map *map, vise_error *err)
{
    const size_t n = map->n_units;
    size_t on_gpus = map->n_devices > 2 ? n : 0, on_host = n;
    int wrong = place(map, on_gpus, on_host);
    while ((wrong & GPUS_TOO_SMALL) != 0 && on_gpus > 0)
        wrong = place(map, --on_gpus, on_host);
    while ((wrong & HOST_TOO_SMALL) != 0 && on_host > on_gpus)
        wrong = place(map, on_gpus, --on_host);
    return wrong == 0 ? VISE_OK : too_small(map, err);
}

/* ---- the whole -------------------------------------------------------------------------------------- */

static vise_status name_devices(const vise_plan *plan, const vise_memory_bounds *bounds, vise_device_map *map,
                                vise_error *err)
{
    for (size_t g = 0; g < bounds->n_gpus; g++) {
        vise_map_device *device = &map->devices[map->n_devices++];
        *device = (vise_map_device){.gpu = bounds->gpus[g].index, .limit = bounds->gpus[g].bytes};
        VISE_TRY(vise_arena_strfmt(plan->arena, &device->name, err, "gpu%d", device->gpu));
    }
    map->devices[map->n_devices++] = (vise_map_device){.gpu = -1, .name = "cpu", .limit = bounds->cpu};
    map->devices[map->n_devices++] = (vise_map_device){.gpu = -1, .name = "disk"};
    return VISE_OK;
}

/* The dtype that most of the output's values decode to: what a runtime computes in. */
static vise_dtype common_dtype(const vise_plan *plan)
{
    uint64_t elements[VISE_DTYPE_COUNT] = {0};
    vise_dtype best = VISE_DTYPE_F32;
    for (size_t i = 0; i < plan->count; i++)
        if (vise_dtype_of(plan->planned[i].dtype)->is_float)
            elements[plan->planned[i].dtype] += plan->planned[i].bound->tensor->elements;
    for (int i = 0; i < VISE_DTYPE_COUNT; i++)
        best = elements[i] > elements[best] ? (vise_dtype)i : best;
    return best;
}

vise_status vise_device_map_make(const vise_plan *plan, const vise_memory_bounds *bounds, int64_t context,
                                 int64_t batch, vise_device_map *out, vise_error *err)
{
    const int64_t positions = plan->model->config.max_positions;
    *out = (vise_device_map){.batch = batch, .known = plan->model->arch != NULL};
    out->context = context != VISE_UNSET_INT ? context : positions > 0 && positions < 2048 ? positions : 2048;
    out->element_bytes = (size_t)(vise_dtype_of(common_dtype(plan))->bits + 7) / 8;
    if (plan->gguf != NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "a device map is for loaders of safetensors folders; those of GGUF place layers themselves");
    VISE_TRY(name_devices(plan, bounds, out, err));
    VISE_TRY(gather_units(plan, out, err));
    if (out->known) {
        VISE_TRY(join_tied(plan, out, err));
        VISE_TRY(add_new_names(plan, out, err));
        VISE_TRY(add_rotary(plan, out, err));
        count_usage(plan, out);
    } else {
        vise_warn("%s: no architecture table: the device map counts weights, but neither keys and values nor "
                     "activations",
                     plan->request->input);
    }
    return place_all(out, err);
}

/* ---- as text and JSON ------------------------------------------------------------------------------- */

static void put_device(const vise_map_device *device, vise_json_writer *json)
{
    if (device->gpu >= 0)
        vise_json_put_int(json, device->gpu);
    else
        vise_json_put_text(json, device->name);
}

static void put_map(const vise_device_map *map, vise_json_writer *json)
{
    vise_json_object(json);
    for (size_t d = 0; d < map->n_devices; d++) {
        const vise_map_device *device = &map->devices[d];
        if (device->count == map->n_units) { /* one entry for all */
            vise_json_key(json, "");
            put_device(device, json);
            continue;
        }
        for (size_t u = device->first; u < device->first + device->count; u++)
            for (size_t m = 0; m < map->units[u].n_modules; m++) {
                vise_json_key(json, map->units[u].modules[m]);
                put_device(device, json);
            }
    }
    vise_json_object_end(json);
}

void vise_device_map_json(const vise_device_map *map, vise_buf *out)
{
    vise_json_writer json;
    vise_json_begin(&json, out, 2);
    put_map(map, &json);
    vise_buf_add_char(out, '\n');
}

void vise_device_map_put(const vise_device_map *map, vise_json_writer *json)
{
    vise_json_key(json, "context");
    vise_json_put_int(json, map->context);
    vise_json_key(json, "batch");
    vise_json_put_int(json, map->batch);
    vise_json_key(json, "devices");
    vise_json_array(json);
    for (size_t d = 0; d < map->n_devices; d++) {
        const vise_map_device *device = &map->devices[d];
        const struct {
            const char *key;
            uint64_t bytes;
        } parts[] = {{"weights", device->weights},         {"kv_cache", device->kv_cache},
                     {"activations", device->activations}, {"reserved", device->reserved},
                     {"needed", needed(device)}};
        vise_json_object(json);
        vise_json_key(json, "device");
        vise_json_put_text(json, device->name);
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            vise_json_key(json, parts[i].key);
            vise_json_put_uint(json, parts[i].bytes);
        }
        if (device->limit > 0) {
            vise_json_key(json, "limit");
            vise_json_put_uint(json, device->limit);
        }
        vise_json_object_end(json);
    }
    vise_json_array_end(json);
    vise_json_key(json, "device_map");
    put_map(map, json);
}

/* "model.embed_tokens, model.layers.0 ... model.layers.21" */
static void print_modules(const vise_device_map *map, const vise_map_device *device, vise_buf *out)
{
    const size_t end = device->first + device->count;
    for (size_t u = device->first; u < end; u++) {
        size_t last = u;
        while (map->units[u].layer >= 0 && last + 1 < end && map->units[last + 1].layer >= 0)
            last++;
        vise_buf_addf(out, "%s%s", u > device->first ? ", " : "", map->units[u].modules[0]);
        for (size_t m = 1; map->units[u].layer < 0 && m < map->units[u].n_modules; m++)
            vise_buf_addf(out, " with %s", map->units[u].modules[m]);
        if (last > u)
            vise_buf_addf(out, " ... %s", map->units[last].modules[0]);
        u = last;
    }
}

void vise_device_map_print(const vise_device_map *map, vise_buf *out)
{
    char text[6][VISE_SIZE_TEXT_MAX];
    if (map->context > 0)
        vise_buf_addf(out, "\ndevices   for %lld sequence%s of %lld tokens\n", (long long)map->batch,
                      map->batch == 1 ? "" : "s", (long long)map->context);
    else
        vise_buf_add_text(out, "\ndevices   for weights alone\n");
    vise_buf_addf(out, "          %-6s %10s %10s %11s %10s %10s %10s  %s\n", "", "weights", "kv cache", "activations",
                  "held back", "needed", "of", "modules");
    for (size_t d = 0; d < map->n_devices; d++) {
        const vise_map_device *device = &map->devices[d];
        if (device->limit == 0 && device->count == 0)
            continue;
        vise_buf_addf(out, "          %-6s %10s %10s %11s %10s %10s %10s  ", device->name,
                      vise_format_size(device->weights, text[0]), vise_format_size(device->kv_cache, text[1]),
                      vise_format_size(device->activations, text[2]), vise_format_size(device->reserved, text[3]),
                      vise_format_size(needed(device), text[4]),
                      device->limit > 0 ? vise_format_size(device->limit, text[5]) : "");
        print_modules(map, device, out);
        vise_buf_add_char(out, '\n');
    }
}
