#include "pipeline/finished.h"

#include <string.h>

#include "core/event.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/mem.h"
#include "pipeline/run_report.h"

#define REPORT_BYTES_MAX ((size_t)256 << 20)

void vise_run_identity(const char *text, vise_report *report)
{
    vise_sha256 hash;

    vise_sha256_init(&hash);
    vise_sha256_add(&hash, text, strlen(text));
    vise_sha256_hex(&hash, report->identity);
}

/* Of one weight file: there, and as long as the report says. */
static bool is_there(const char *out, bool single, const char *path, const cJSON *entry)
{
    const char *name;
    char *joined = NULL;
    int64_t bytes;
    vise_file file;
    bool there = vise_json_text(path, entry, "name", true, &name, NULL) == VISE_OK &&
                 vise_json_int(path, entry, "bytes", true, 0, (int64_t)1 << 53, &bytes, NULL) == VISE_OK &&
                 (single || vise_path_join(out, name, &joined, NULL) == VISE_OK) &&
                 vise_file_open(single ? out : joined, &file, NULL) == VISE_OK;

    vise_free(joined);
    if (!there)
        return false;
    there = file.bytes == (uint64_t)bytes;
    vise_file_close(&file);
    return there;
}

static bool is_whole(const vise_request *request, const char *path, const cJSON *json)
{
    const cJSON *output = cJSON_GetObjectItemCaseSensitive(json, "output");
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(output, "files"), *entry;
    bool whole = cJSON_IsArray(files) && files->child != NULL;

    cJSON_ArrayForEach(entry, files) whole =
        whole && is_there(request->output.path, vise_output_is_file(&request->output), path, entry);
    return whole;
}

static bool missed_a_goal(const cJSON *json)
{
    const cJSON *goal;

    cJSON_ArrayForEach(goal, cJSON_GetObjectItemCaseSensitive(json, "goals"))
    {
        if (cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(goal, "met")))
            return true;
    }
    return false;
}

vise_status vise_run_finished(const vise_request *request, vise_report *report, bool *finished,
                              vise_error *err)
{
    const char *identity;
    cJSON *json = NULL;
    char *path = NULL;
    bool missed;
    vise_status status;

    *finished = false;
    if (!vise_path_exists(request->output.path))
        return VISE_OK;
    if (vise_output_is_file(&request->output))
        VISE_TRY(vise_report_path(request, &path, err));
    else
        VISE_TRY(vise_path_join(request->output.path, "report.json", &path, err));
    if (vise_path_exists(path) && vise_json_load(path, REPORT_BYTES_MAX, &json, NULL) == VISE_OK)
        *finished = vise_json_text(path, json, "identity", true, &identity, NULL) == VISE_OK &&
                    strcmp(identity, report->identity) == 0 && is_whole(request, path, json);
    missed = *finished && missed_a_goal(json);
    status =
        *finished ? vise_arena_strdup(report->arena, path, strlen(path), &report->finished, err) : VISE_OK;
    if (status == VISE_OK && missed)
        status = VISE_FAIL(err, VISE_EGOAL, "%s: was finished already, and a goal was not met",
                           request->output.path);
    else if (status == VISE_OK && *finished)
        vise_info("%s: was finished already; there is nothing to continue", request->output.path);
    cJSON_Delete(json);
    vise_free(path);
    return status;
}
