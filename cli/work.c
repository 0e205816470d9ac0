/* What the commands that write a model do with their request. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/progress.h"
#include "core/file.h"
#include "core/json.h"
#include "pipeline/apart.h"
#include "pipeline/recipe.h"
#include "pipeline/run.h"
#include "pipeline/run_report.h"

#define TEXT_BYTES_MAX ((size_t)256 << 20)

void vise_cli_fill_request(const vise_cli *cli, vise_request *request)
{
    const vise_cli_output *output = &cli->output;

    request->output.path = output->path;
    request->output.replace = output->force;
    request->output.resume = output->resume;
    request->report_path = output->report;
    if (output->layout)
        request->output.layout = output->layout;
    if (output->leave_out.count > 0)
        request->output.leave_out = output->leave_out;
    if (output->pack)
        request->output.pack = true;
    if (cli->command->writes && output->max_shard_size != VISE_UNSET_SIZE)
        request->output.max_shard_bytes = output->max_shard_size;
    request->device = cli->common.device;
    request->threads = cli->common.threads == VISE_UNSET_INT ? 0 : (int)cli->common.threads;
    request->memory_bytes = cli->memory.cpu;
    if (cli->common.seed != VISE_UNSET_INT) {
        request->seed = vise_cli_seed(cli);
        request->calibration.seed = request->seed;
        request->evaluation.seed = request->seed;
    }
}

/* Places the modules when devices are named or a map is asked for; *found false: neither. */
static vise_status map_devices(const vise_cli *cli, const vise_plan *plan, vise_device_map *map, bool *found,
                               vise_error *err)
{
    const vise_plan_options *own = &cli->planning;
    const char *file = own->device_map;
    vise_status status;
    vise_buf text;

    *found = file || cli->memory.n_gpus > 0;
    if (!*found)
        return VISE_OK;
    if (cli->memory.n_gpus == 0 && cli->memory.cpu == 0)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--device-map needs --memory with what each device has: gpu0=8GiB,cpu=16GiB");
    VISE_TRY(vise_device_map_make(plan, &cli->memory, own->context, own->batch, map, err));
    if (!file)
        return VISE_OK;
    VISE_TRY(vise_check_apart_from_model(file, plan->model, err));
    vise_buf_init(&text, TEXT_BYTES_MAX);
    vise_device_map_json(map, &text);
    status = vise_buf_check(&text, "the device map", err);
    if (status == VISE_OK)
        status = vise_file_write_atomic(file, text.data, text.length, err);
    vise_buf_deinit(&text);
    return status;
}

static vise_status print_plan(const vise_cli *cli, const vise_request *request, vise_error *err)
{
    vise_plan *plan = NULL;
    vise_device_map map;
    bool mapped = false;
    vise_status status;
    vise_buf text;

    VISE_TRY(vise_plan_make(request, &plan, err));
    vise_buf_init(&text, TEXT_BYTES_MAX);
    VISE_TRY_TO(cleanup, map_devices(cli, plan, &map, &mapped, err));
    VISE_TRY_TO(cleanup, vise_plan_print(plan, mapped ? &map : NULL, cli->planning.json, &text, err));
    status = vise_cli_print(&text, err);
cleanup:
    vise_buf_deinit(&text);
    vise_plan_free(plan);
    return status;
}

static vise_status print_summary(const vise_request *request, const vise_report *report, vise_error *err)
{
    vise_status status = VISE_OK;
    cJSON *document = NULL;
    char *path = NULL;
    vise_buf json, text;

    vise_buf_init(&json, TEXT_BYTES_MAX);
    vise_buf_init(&text, TEXT_BYTES_MAX);
    if (report->finished) { /* by an earlier run: what it wrote */
        VISE_TRY_TO(cleanup, vise_strdup(report->finished, &path, err));
        VISE_TRY_TO(cleanup, vise_json_load(path, TEXT_BYTES_MAX, &document, err));
    } else {
        VISE_TRY_TO(cleanup, vise_report_path(request, &path, err));
        VISE_TRY_TO(cleanup, vise_report_json(report, false, &json, err));
        VISE_TRY_TO(cleanup, vise_json_parse(path, json.data, json.length, &document, err));
    }
    VISE_TRY_TO(cleanup, vise_report_render(document, path, VISE_REPORT_TEXT, &text, err));
    status = vise_cli_print(&text, err);
cleanup:
    cJSON_Delete(document);
    vise_buf_deinit(&text);
    vise_buf_deinit(&json);
    vise_free(path);
    return status;
}

vise_status vise_cli_work(const vise_cli *cli, vise_request *request, vise_error *err)
{
    vise_report report;
    vise_status status;

    VISE_TRY(vise_request_describe(request, cli->arena, err));
    if (cli->plan || cli->output.dry_run)
        return print_plan(cli, request, err);
    if (!request->output.path)
        return VISE_FAIL(err, VISE_EUSAGE, "no output: give -o OUT");
    status = vise_run(request, &report, err);
    vise_progress_stop();
    if ((status == VISE_OK || status == VISE_EGOAL) && !cli->common.quiet) {
        vise_status printed = print_summary(request, &report, status == VISE_OK ? err : NULL);

        if (status == VISE_OK)
            status = printed;
    }
    vise_report_deinit(&report);
    return status;
}
