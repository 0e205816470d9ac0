/* vise run, vise plan and the commands made from passes: all of them fill one request. */
#include <string.h>

#include "cli/cli.h"
#include "core/file.h"
#include "pipeline/recipe.h"

vise_status vise_cmd_run(vise_cli *cli, vise_error *err)
{
    vise_request request;

    VISE_TRY(vise_cli_expect(cli, 1, "RECIPE", err));
    VISE_TRY(vise_recipe_load(cli->arguments.items[0], vise_passes, cli->arena, &request, err));
    vise_cli_fill_request(cli, &request);
    return vise_cli_work(cli, &request, err);
}

vise_status vise_cmd_pass(vise_cli *cli, vise_error *err)
{
    vise_request request;

    VISE_TRY(vise_cli_expect(cli, 1, "MODEL", err));
    vise_request_init(&request);
    request.input = cli->arguments.items[0];
    request.passes[0].pass = cli->command->pass;
    request.passes[0].config = cli->own;
    request.n_passes = 1;
    request.calibration = vise_text_source_of(&cli->windows, vise_cli_seed(cli));
    vise_cli_fill_request(cli, &request);
    return vise_cli_work(cli, &request, err);
}

/* A recipe is a file that ends in .json; a model never does. */
static bool is_recipe(const char *path)
{
    size_t length = strlen(path);

    return length > 5 && strcmp(path + length - 5, ".json") == 0 && !vise_path_is_folder(path);
}

vise_status vise_cmd_plan(vise_cli *cli, vise_error *err)
{
    vise_request request;

    VISE_TRY(vise_cli_expect(cli, 1, "RECIPE, MODEL or PASS", err));
    cli->plan = true;
    cli->planning = *(const vise_plan_options *)cli->own;
    if (is_recipe(cli->arguments.items[0])) {
        VISE_TRY(vise_recipe_load(cli->arguments.items[0], vise_passes, cli->arena, &request, err));
    } else {
        vise_request_init(&request);
        request.input = cli->arguments.items[0];
    }
    vise_cli_fill_request(cli, &request);
    return vise_cli_work(cli, &request, err);
}
