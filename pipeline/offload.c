#include "pipeline/offload.h"

#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/json.h"
#include "model/footprint.h"
#include "pipeline/apart.h"
#include "pipeline/tile.h"

#define NAME_BYTES_MAX 251 /* of a file system's 255, without ".dat" */

/* ---- names ------------------------------------------------------------------------------------------ */

static vise_status partial_path(const vise_plan *plan, const char **out, vise_error *err)
{
    const char *folder = plan->output.offload_folder;
    size_t length = strlen(folder);
    while (length > 1 && folder[length - 1] == '/')
        length--;
    const char *name;
    VISE_TRY(vise_arena_strdup(plan->arena, folder, length, &name, err));
    const char *base = vise_path_base(name);
    if (!vise_name_is_plain(base))
        return VISE_FAIL(err, VISE_EUSAGE, "--offload-folder %s: is no name for a folder", folder);
    return vise_arena_strfmt(plan->arena, out, err, "%.*s.%s.vise-partial", (int)(base - name), name, base);
}

/* Part p of a weight: its name in the output, and in the class. */
static vise_status part_names(const vise_plan *plan, size_t index, int p, const char **stored, const char **name,
                              vise_error *err)
{
    const vise_bound *bound = &plan->model->bound[index];
    *stored = bound->tensor->name;
    if (plan->planned[index].scheme.type != NULL)
        VISE_TRY(vise_arena_strfmt(plan->arena, stored, err, "%s%s", bound->tensor->module,
                                   plan->parts[index].parts[p].suffix));
    VISE_TRY(vise_model_class_name(plan->model, bound, *stored, plan->arena, name, err));
    if (strchr(*name, '/') != NULL || strlen(*name) > NAME_BYTES_MAX || **name == '\0')
        return VISE_FAIL(err, VISE_EUNSUPPORTED,
                         "tensor %s: its name cannot be a file's, which accelerate's offload asks for", *stored);
    return VISE_OK;
}

/* A second name of a stored tensor: the head of a tied model, or a bias that two modules share. */
typedef struct alias {
    const char *name, *of;
} alias;

enum { ALIASES_MAX = 2 };

/* GPT-NeoX's head changed its name in transformers 5, and files kept the old one. */
static const alias renamed = {"lm_head.weight", "embed_out.weight"};

static vise_status find_aliases(const vise_plan *plan, alias aliases[ALIASES_MAX], size_t *count, vise_error *err)
{
    const vise_model *model = plan->model;
    *count = 0;
    for (size_t r = 0; model->arch != NULL && r < model->arch->n_rows; r++) {
        const vise_arch_row *row = &model->arch->rows[r];
        const size_t embedding = vise_model_role(model, VISE_ROLE_EMBEDDING, -1);
        const size_t bias = vise_model_role(model, VISE_ROLE_HEAD_BIAS, -1);
        const char *stored;
        if (row->role != VISE_ROLE_HEAD || !vise_arch_row_applies(row, &model->config, -1))
            continue;
        if (strcmp(row->module, "embed_out") == 0 && !model->tied)
            aliases[(*count)++] = renamed;
        if (model->tied && plan->planned[embedding].scheme.type == NULL) {
            const bool old = strcmp(row->module, "embed_out") == 0;
            VISE_TRY(part_names(plan, embedding, 0, &stored, &aliases[*count].of, err));
            VISE_TRY(vise_arena_strfmt(plan->arena, &aliases[*count].name, err, "%s.weight",
                                       old ? "lm_head" : row->module));
            (*count)++;
        }
        if (bias != SIZE_MAX && vise_model_bias(model, VISE_ROLE_HEAD, -1) == SIZE_MAX && *count < ALIASES_MAX) {
            VISE_TRY(part_names(plan, bias, 0, &stored, &aliases[*count].of, err));
            VISE_TRY(vise_arena_strfmt(plan->arena, &aliases[*count].name, err, "%s.bias", row->module));
            (*count)++;
        }
        break;
    }
    return VISE_OK;
}

/* ---- before work ------------------------------------------------------------------------------------ */

uint64_t vise_offload_bytes(const vise_plan *plan, size_t *files)
{
    uint64_t bytes = 0;
    *files = 0;
    for (size_t i = 0; i < plan->count; i++) {
        bytes += vise_plan_stored_bytes(plan, i);
        *files += (size_t)plan->parts[i].n_parts;
    }
    return bytes;
}

static vise_status check_room(const vise_plan *plan, const char *path, uint64_t beside, vise_error *err)
{
    size_t files;
    uint64_t wanted = vise_offload_bytes(plan, &files) + beside, free_bytes;
    char a[VISE_SIZE_TEXT_MAX], b[VISE_SIZE_TEXT_MAX];
    VISE_TRY(vise_disk_free(path, &free_bytes, err));
    if (wanted <= free_bytes)
        return VISE_OK;
    return VISE_FAIL(err, VISE_ERESOURCE, "--offload-folder %s: not enough disk space: %s are needed, %s are free",
                     plan->output.offload_folder, vise_format_size(wanted, a), vise_format_size(free_bytes, b));
}

/* True if `inner` is `outer` or lies below it, as they are written. */
static bool lies_below(const char *inner, const char *outer)
{
    size_t length = strlen(outer);
    while (length > 1 && outer[length - 1] == '/')
        length--;
    return strncmp(inner, outer, length) == 0 && (inner[length] == '\0' || inner[length] == '/');
}

static vise_status check_place(const vise_plan *plan, vise_error *err)
{
    const char *folder = plan->output.offload_folder, *out = plan->output.path;
    char *index = NULL;
    if (lies_below(folder, out) || lies_below(out, folder) || vise_path_same(folder, out))
        return VISE_FAIL(err, VISE_EUSAGE, "--offload-folder %s: choose a folder beside the output %s", folder, out);
    VISE_TRY(vise_check_apart_from_model(folder, plan->model, err));
    if (!vise_path_exists(folder))
        return VISE_OK;
    if (!plan->output.replace && !plan->output.resume)
        return VISE_FAIL(err, VISE_EUSAGE, "%s exists; choose another folder, or give --force to replace it", folder);
    VISE_TRY(vise_path_join(folder, "index.json", &index, err));
    const bool older = vise_path_exists(index);
    vise_free(index);
    return older ? VISE_OK
                 : VISE_FAIL(err, VISE_EUSAGE, "%s exists and holds no offloaded weights: it is not replaced", folder);
}

vise_status vise_offload_begin(const vise_plan *plan, vise_error *err)
{
    const char *partial, *stored, *name;
    if (plan->gguf != NULL)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "--offload-folder is for folders of safetensors, not for GGUF");
    VISE_TRY(partial_path(plan, &partial, err));
    VISE_TRY(check_place(plan, err));
    for (size_t i = 0; i < plan->count; i++)
        for (int p = 0; p < plan->parts[i].n_parts; p++) {
            VISE_TRY(part_names(plan, i, p, &stored, &name, err));
            if (vise_dtype_of(plan->parts[i].parts[p].dtype)->torch_name == NULL)
                return VISE_FAIL(err, VISE_EUNSUPPORTED, "tensor %s: accelerate's offload knows no %s", stored,
                                 vise_dtype_of(plan->parts[i].parts[p].dtype)->name);
        }
    VISE_TRY(vise_folder_remove(partial, err));
    VISE_TRY(vise_folder_make(partial, err));
    return check_room(plan, partial, plan->packed ? 0 : plan->bytes_after, err);
}

/* ---- writing ---------------------------------------------------------------------------------------- */

typedef struct writer {
    const vise_plan *plan;
    const char *partial;
    const vise_source *source;
    vise_pool *pool;
    void *buffer; /* VISE_COPY_BYTES */
    vise_json_writer json;
} writer;

static vise_status file_path(const writer *w, const char *name, char **out, vise_error *err)
{
    return vise_strfmt(out, err, "%s/%s.dat", w->partial, name);
}

static vise_status copy_tensor(const writer *w, size_t index, vise_file *file, vise_error *err)
{
    const vise_tensor_info *info = vise_source_tensor(w->source, index);
    for (uint64_t at = 0; at < info->bytes;) {
        const uint64_t n = info->bytes - at < VISE_COPY_BYTES ? info->bytes - at : VISE_COPY_BYTES;
        VISE_TRY(vise_check_interrupt(err));
        VISE_TRY(vise_source_read(w->source, index, at, n, w->buffer, w->pool, err));
        VISE_TRY(vise_file_write_at(file, at, w->buffer, (size_t)n, err));
        at += n;
    }
    vise_source_done_with(w->source, index);
    return vise_file_sync(file, err);
}

static vise_status write_file(const writer *w, size_t index, const char *name, vise_error *err)
{
    char *path;
    vise_file file;
    VISE_TRY(file_path(w, name, &path, err));
    vise_status status = vise_file_create(path, &file, err);
    vise_free(path);
    VISE_TRY(status);
    status = copy_tensor(w, index, &file, err);
    vise_file_close(&file);
    return status;
}

static void put_entry(writer *w, size_t index, const char *name)
{
    const vise_tensor_info *info = vise_source_tensor(w->source, index);
    vise_json_key(&w->json, name);
    vise_json_object(&w->json);
    vise_json_key(&w->json, "dtype");
    vise_json_put_text(&w->json, vise_dtype_of(info->dtype)->torch_name);
    vise_json_key(&w->json, "shape");
    vise_json_array(&w->json);
    for (int d = 0; d < info->ndim; d++)
        vise_json_put_int(&w->json, info->shape[d]);
    vise_json_array_end(&w->json);
    vise_json_object_end(&w->json);
}

static vise_status put_alias(writer *w, const alias *second, size_t index, vise_error *err)
{
    char *from = NULL, *to = NULL;
    vise_status status = file_path(w, second->of, &from, err);
    if (status == VISE_OK)
        status = file_path(w, second->name, &to, err);
    if (status == VISE_OK)
        status = vise_file_link(from, to, err);
    if (status == VISE_OK)
        put_entry(w, index, second->name);
    vise_free(from);
    vise_free(to);
    return status;
}

static vise_status write_all(writer *w, vise_error *err)
{
    const vise_plan *plan = w->plan;
    alias aliases[ALIASES_MAX];
    size_t n_aliases, files;
    const double total = (double)vise_offload_bytes(plan, &files);
    double done = 0.0;
    VISE_TRY(find_aliases(plan, aliases, &n_aliases, err));
    for (size_t k = 0; k < plan->count; k++) {
        const size_t i = plan->order[k];
        for (int p = 0; p < plan->parts[i].n_parts; p++) {
            const char *stored, *name;
            VISE_TRY(part_names(plan, i, p, &stored, &name, err));
            const size_t index = vise_source_find(w->source, stored);
            if (index == SIZE_MAX)
                return VISE_FAIL(err, VISE_EINTERNAL, "%s: tensor %s is missing", vise_source_path(w->source), stored);
            vise_progress("offload", name, done, total);
            VISE_TRY(write_file(w, index, name, err));
            put_entry(w, index, name);
            for (size_t a = 0; a < n_aliases; a++)
                if (strcmp(aliases[a].of, name) == 0)
                    VISE_TRY(put_alias(w, &aliases[a], index, err));
        }
        done += (double)vise_plan_stored_bytes(plan, i);
    }
    vise_progress("offload", NULL, total, total);
    return VISE_OK;
}

/* index.json last: a folder without one holds nothing. */
static vise_status write_folder(writer *w, vise_error *err)
{
    vise_buf text;
    char *path = NULL;
    vise_buf_init(&text, (size_t)256 << 20);
    vise_json_begin(&w->json, &text, 2);
    vise_json_object(&w->json);
    vise_status status = write_all(w, err);
    vise_json_object_end(&w->json);
    if (status == VISE_OK)
        status = vise_buf_check(&text, "index.json", err);
    if (status == VISE_OK)
        status = vise_path_join(w->partial, "index.json", &path, err);
    if (status == VISE_OK)
        status = vise_file_write_atomic(path, text.data, text.length, err);
    if (status == VISE_OK)
        status = vise_folder_sync(w->partial, err);
    vise_free(path);
    vise_buf_deinit(&text);
    return status;
}

vise_status vise_offload_write(const vise_plan *plan, const char *model, vise_pool *pool, vise_error *err)
{
    writer w = {.plan = plan, .pool = pool};
    vise_source *source;
    VISE_TRY(partial_path(plan, &w.partial, err));
    VISE_TRY(check_room(plan, w.partial, 0, err));
    VISE_TRY(vise_source_open(model, &source, err));
    w.source = source;
    vise_status status = vise_pool_take(pool, VISE_COPY_BYTES, "bytes to offload", &w.buffer, err);
    if (status == VISE_OK)
        status = write_folder(&w, err);
    vise_pool_give(pool, w.buffer);
    vise_source_close(source);
    return status;
}

vise_status vise_offload_publish(const vise_plan *plan, vise_error *err)
{
    const char *partial;
    VISE_TRY(partial_path(plan, &partial, err));
    return vise_path_publish(partial, plan->output.offload_folder, plan->output.replace || plan->output.resume, err);
}

void vise_offload_drop(const vise_plan *plan)
{
    const char *partial;
    vise_error ignored = {0};
    if (partial_path(plan, &partial, &ignored) == VISE_OK && vise_folder_remove(partial, &ignored) != VISE_OK)
        vise_warn("%s", ignored.message);
}
