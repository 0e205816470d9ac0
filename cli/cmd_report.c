/* vise report: renders a report that a run left. */
#include <string.h>

#include "cli/cli.h"
#include "core/file.h"
#include "core/json.h"
#include "pipeline/report.h"

#define REPORT_BYTES_MAX ((size_t)256 << 20)

static vise_report_format format_of(const char *name)
{
    if (strcmp(name, "md") == 0)
        return VISE_REPORT_MD;
    if (strcmp(name, "html") == 0)
        return VISE_REPORT_HTML;
    return strcmp(name, "junit") == 0 ? VISE_REPORT_JUNIT : VISE_REPORT_TEXT;
}

vise_status vise_cmd_report(vise_cli *cli, vise_error *err)
{
    const vise_report_options *own = cli->own;
    cJSON *document = NULL;
    char *inside = NULL;
    const char *path;
    vise_status status;
    vise_buf text;

    VISE_TRY(vise_cli_expect(cli, 1, "REPORT.json", err));
    path = cli->arguments.items[0];
    vise_buf_init(&text, REPORT_BYTES_MAX);
    if (vise_path_is_folder(path)) { /* a run's output */
        VISE_TRY_TO(cleanup, vise_path_join(path, "report.json", &inside, err));
        path = inside;
    }
    VISE_TRY_TO(cleanup, vise_json_load(path, REPORT_BYTES_MAX, &document, err));
    VISE_TRY_TO(cleanup, vise_report_render(document, path, format_of(own->format), &text, err));
    status = vise_cli_print(&text, err);
cleanup:
    cJSON_Delete(document);
    vise_buf_deinit(&text);
    vise_free(inside);
    return status;
}
