#include "cli/sizes.h"

#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "model/model.h"

#define BASELINE_BYTES_MAX ((size_t)16 << 20)
#define BYTES_MAX          ((int64_t)1 << 53)

const char *const vise_sizes_sections[VISE_SIZES_SECTIONS] = {"files", "roles", "schemes"};

uint64_t vise_named_size_find(const vise_named_sizes *sizes, const char *name)
{
    for (size_t i = 0; i < sizes->count; i++)
        if (strcmp(sizes->items[i].name, name) == 0)
            return sizes->items[i].bytes;
    return 0;
}

vise_status vise_named_size_add(vise_named_sizes *sizes, const char *name, uint64_t bytes, vise_arena *arena,
                                vise_error *err)
{
    for (size_t i = 0; i < sizes->count; i++)
        if (strcmp(sizes->items[i].name, name) == 0) {
            sizes->items[i].bytes += bytes;
            return VISE_OK;
        }
    if (sizes->count == sizes->capacity) {
        size_t capacity = sizes->capacity ? 2 * sizes->capacity : 16, needed;
        void *grown;

        if (!vise_mul_size(capacity, sizeof *sizes->items, &needed))
            return VISE_FAIL(err, VISE_ERESOURCE, "too many sizes");
        VISE_TRY(vise_arena_take(arena, needed, &grown, err));
        if (sizes->count > 0)
            memcpy(grown, sizes->items, sizes->count * sizeof *sizes->items);
        sizes->items = grown;
        sizes->capacity = capacity;
    }
    sizes->items[sizes->count].bytes = bytes;
    VISE_TRY(vise_arena_strdup(arena, name, strlen(name), &sizes->items[sizes->count].name, err));
    sizes->count++;
    return VISE_OK;
}

/* ---- of a model -------------------------------------------------------------------------------------- */

static vise_status add_tensor(const vise_bound *bound, vise_arena *arena, vise_sizes *sizes, vise_error *err)
{
    const vise_logical *tensor = bound->tensor;
    const vise_dtype_traits *traits = vise_dtype_of(tensor->dtype);
    const char *role = bound->role == VISE_ROLE_UNKNOWN ? "other" : vise_role_name(bound->role);
    const char *scheme = traits->cli_name ? traits->cli_name : traits->name;
    char text[VISE_SCHEME_TEXT_MAX];

    if (tensor->scheme.type)
        scheme = vise_scheme_text(&tensor->scheme, text);
    VISE_TRY(vise_named_size_add(&sizes->sections[VISE_SIZES_ROLES], role, tensor->stored_bytes, arena, err));
    return vise_named_size_add(&sizes->sections[VISE_SIZES_SCHEMES], scheme, tensor->stored_bytes, arena,
                               err);
}

static vise_status add_model(const vise_model *model, vise_arena *arena, vise_sizes *sizes, vise_error *err)
{
    const vise_source *source = vise_store_source(model->store);

    for (size_t i = 0; i < vise_source_files(source); i++) {
        const vise_source_file *file = vise_source_file_at(source, i);

        sizes->total += file->bytes;
        VISE_TRY(
            vise_named_size_add(&sizes->sections[VISE_SIZES_FILES], file->name, file->bytes, arena, err));
    }
    for (size_t i = 0; i < model->count; i++)
        VISE_TRY(add_tensor(&model->bound[i], arena, sizes, err));
    return VISE_OK;
}

vise_status vise_sizes_of_model(const char *path, vise_arena *arena, vise_sizes *sizes, vise_error *err)
{
    vise_model *model = NULL;
    vise_status status;

    memset(sizes, 0, sizeof *sizes);
    sizes->model = vise_path_base(path);
    VISE_TRY(vise_model_open(path, &model, err));
    status = add_model(model, arena, sizes, err);
    vise_model_close(model);
    return status;
}

/* ---- the baseline file ------------------------------------------------------------------------------- */

static vise_status read_section(const char *path, const cJSON *object, vise_arena *arena,
                                vise_named_sizes *sizes, vise_error *err)
{
    const cJSON *member;

    if (!object)
        return VISE_OK;
    if (!cJSON_IsObject(object))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: \"%s\" must be an object of sizes", path, object->string);
    cJSON_ArrayForEach(member, object)
    {
        int64_t bytes = 0;

        VISE_TRY(vise_json_int(path, object, member->string, true, 0, BYTES_MAX, &bytes, err));
        VISE_TRY(vise_named_size_add(sizes, member->string, (uint64_t)bytes, arena, err));
    }
    return VISE_OK;
}

static vise_status read_baseline(const char *path, const cJSON *json, vise_arena *arena, vise_sizes *sizes,
                                 vise_error *err)
{
    const char *model = vise_path_base(path);
    int64_t schema = 0, total = 0;

    VISE_TRY(vise_json_int(path, json, "schema", true, 1, 1, &schema, err));
    VISE_TRY(vise_json_int(path, json, "total", true, 0, BYTES_MAX, &total, err));
    VISE_TRY(vise_json_text(path, json, "model", false, &model, err));
    VISE_TRY(vise_arena_strdup(arena, model, strlen(model), &sizes->model, err));
    sizes->total = (uint64_t)total;
    for (size_t i = 0; i < VISE_SIZES_SECTIONS; i++)
        VISE_TRY(read_section(path, cJSON_GetObjectItemCaseSensitive(json, vise_sizes_sections[i]), arena,
                              &sizes->sections[i], err));
    return VISE_OK;
}

vise_status vise_sizes_load(const char *path, vise_arena *arena, vise_sizes *sizes, vise_error *err)
{
    cJSON *json = NULL;
    vise_status status;

    memset(sizes, 0, sizeof *sizes);
    VISE_TRY(vise_json_load(path, BASELINE_BYTES_MAX, &json, err));
    status = read_baseline(path, json, arena, sizes, err);
    cJSON_Delete(json);
    return status;
}

void vise_sizes_json(const vise_sizes *sizes, vise_buf *out)
{
    vise_json_writer to;

    vise_json_begin(&to, out, 2);
    vise_json_object(&to);
    vise_json_key(&to, "schema");
    vise_json_put_int(&to, 1);
    vise_json_key(&to, "model");
    vise_json_put_text(&to, sizes->model);
    vise_json_key(&to, "total");
    vise_json_put_uint(&to, sizes->total);
    for (size_t i = 0; i < VISE_SIZES_SECTIONS; i++) {
        vise_json_key(&to, vise_sizes_sections[i]);
        vise_json_object(&to);
        for (size_t j = 0; j < sizes->sections[i].count; j++) {
            vise_json_key(&to, sizes->sections[i].items[j].name);
            vise_json_put_uint(&to, sizes->sections[i].items[j].bytes);
        }
        vise_json_object_end(&to);
    }
    vise_json_object_end(&to);
    vise_buf_add_char(out, '\n');
}
