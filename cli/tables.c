/* The options that several commands share, and what follows from them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const vise_option calibration_rows[] = {
    {.name = "calibration",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_text_values, path),
     .value = "FILE",
     .help = "text that the network is run on to see its activations: .txt, or .jsonl (text, input_ids, messages)"},
};

static const vise_option output_rows[] = {
    {.name = "output",
     .letter = 'o',
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_cli_output, path),
     .value = "OUT",
     .help = "where the model goes: a folder, or one file when it ends in .safetensors or .gguf"},
    {.name = "layout",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_cli_output, layout),
     .value = "LAYOUT",
     .help = "how quantized weights are spelled (vise inspect --layouts; default: the scheme's own, else the input's)"},
    {.name = "leave-out",
     .type = VISE_OPTION_LIST,
     .offset = offsetof(vise_cli_output, leave_out),
     .value = "SELECTOR",
     .help = "layout gguf: do without these modules, which llama.cpp has no name for; may be given again"},
    {.name = "pack",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_cli_output, pack),
     .help = "write shards in the packed form: lossless, smaller, restored by convert --unpack"},
    {.name = "max-shard-size",
     .type = VISE_OPTION_SIZE,
     .offset = offsetof(vise_cli_output, max_shard_size),
     .value = "SIZE",
     .help = "bytes of a shard before packing; 0 gives one file (default: 5GB)"},
    {.name = "force",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_cli_output, force),
     .help = "replace OUT when it exists"},
    {.name = "resume",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_cli_output, resume),
     .help = "continue an interrupted run"},
    {.name = "report",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_cli_output, report),
     .value = "FILE",
     .help = "where the report goes (default: OUT/report.json)"},
    {.name = "dry-run",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_cli_output, dry_run),
     .help = "print the plan and stop"},
};

static const vise_option common_rows[] = {
    {.name = "device",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_cli_common, device),
     .initial = "auto",
     .value = "DEVICE",
     .help = "auto, cpu, cuda or cuda:N"},
    {.name = "threads",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_cli_common, threads),
     .min = 1,
     .max = 4096,
     .value = "N",
     .help = "threads to work with (default: one per usable core)"},
    {.name = "memory",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_cli_common, memory),
     .value = "SIZE",
     .help = "bound of the process's resident memory: 300MB, or cpu=16GiB,gpu0=8GiB"},
    {.name = "seed",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_cli_common, seed),
     .min = 0,
     .max = 9e15,
     .value = "N",
     .help = "of everything that is drawn (default: 0)"},
    {.name = "quiet",
     .letter = 'q',
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_cli_common, quiet),
     .help = "no progress, notes or summary; warnings and errors stay"},
    {.name = "progress",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_cli_common, progress),
     .choices = "auto|bar|lines|json|none",
     .initial = "auto",
     .help = "how progress is told on stderr"},
};

size_t vise_cli_tables(vise_cli *cli, vise_options tables[VISE_CLI_TABLES_MAX])
{
    const vise_command *command = cli->command;
    size_t count = 0;

    if (command->n_rows > 0)
        tables[count++] = (vise_options){command->rows, command->n_rows, "Options", cli->own};
    if (command->calibrates)
        tables[count++] =
            (vise_options){calibration_rows, COUNT(calibration_rows), "Calibration", &cli->windows};
    if (command->window_rows)
        tables[count++] = (vise_options){command->window_rows, command->n_window_rows,
                                         command->calibrates ? NULL : "Windows", &cli->windows};
    if (command->writes)
        tables[count++] = (vise_options){output_rows, COUNT(output_rows), "Output", &cli->output};
    if (cli->plan && command->pass)
        tables[count++] = (vise_options){vise_plan_rows, vise_plan_row_count, "Plan", (void *)&cli->planning};
    tables[count++] = (vise_options){common_rows, COUNT(common_rows), "Common", &cli->common};
    return count;
}

/* ---- --memory --------------------------------------------------------------------------------------- */

#define PART_MAX 64

static vise_status take_gpu(const char *part, const char *equals, uint64_t bytes, vise_memory_bounds *bounds,
                            vise_error *err)
{
    char *end = NULL;
    long index = strtol(part + 3, &end, 10);
    size_t at = bounds->n_gpus;

    if (end != equals || end == part + 3 || index < 0 || index > 999)
        return VISE_FAIL(err, VISE_EUSAGE, "--memory %s: write gpu0=SIZE", part);
    if (bounds->n_gpus == VISE_GPUS_MAX)
        return VISE_FAIL(err, VISE_EUSAGE, "--memory: more than %d GPUs", VISE_GPUS_MAX);
    for (; at > 0 && bounds->gpus[at - 1].index >= index; at--) {
        if (bounds->gpus[at - 1].index == index)
            return VISE_FAIL(err, VISE_EUSAGE, "--memory: gpu%ld is given twice", index);
        bounds->gpus[at] = bounds->gpus[at - 1];
    }
    bounds->gpus[at].index = (int)index;
    bounds->gpus[at].bytes = bytes;
    bounds->n_gpus++;
    return VISE_OK;
}

static vise_status take_part(const char *part, bool elsewhere, vise_memory_bounds *bounds, vise_error *err)
{
    const char *equals = strchr(part, '=');
    bool gpu = equals && strncmp(part, "gpu", 3) == 0;
    vise_error inner = {0};
    uint64_t bytes = 0;

    if (gpu && !elsewhere)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "--memory %s: there is no such device here", part);
    if (equals && !gpu && strncmp(part, "cpu=", 4) != 0)
        return VISE_FAIL(err, VISE_EUSAGE, "--memory %s: write cpu=SIZE or gpuN=SIZE", part);
    if (vise_parse_size(equals ? equals + 1 : part, &bytes, &inner) != VISE_OK)
        return VISE_FAIL(err, VISE_EUSAGE, "--memory: %s", inner.message);
    if (bytes == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "--memory: the bound must be more than nothing");
    if (gpu)
        return take_gpu(part, equals, bytes, bounds, err);
    bounds->cpu = bytes;
    return VISE_OK;
}

vise_status vise_cli_memory(const char *text, bool elsewhere, vise_memory_bounds *bounds, vise_error *err)
{
    memset(bounds, 0, sizeof *bounds);
    while (text && *text) {
        size_t length = strcspn(text, ",");
        char part[PART_MAX];

        if (length >= sizeof part)
            return VISE_FAIL(err, VISE_EUSAGE, "--memory: '%.60s' is no size", text);
        memcpy(part, text, length);
        part[length] = '\0';
        VISE_TRY(take_part(part, elsewhere, bounds, err));
        text += length + (text[length] == ',');
    }
    return VISE_OK;
}

/* ---- small helps ------------------------------------------------------------------------------------ */

uint64_t vise_cli_seed(const vise_cli *cli)
{
    return cli->common.seed == VISE_UNSET_INT ? 0 : (uint64_t)cli->common.seed;
}

vise_status vise_cli_expect(const vise_cli *cli, size_t n, const char *what, vise_error *err)
{
    if (cli->arguments.count < n)
        return VISE_FAIL(err, VISE_EUSAGE, "%s is missing", what);
    if (cli->arguments.count > n)
        return VISE_FAIL(err, VISE_EUSAGE, "'%s' is one argument too many", cli->arguments.items[n]);
    return VISE_OK;
}

vise_status vise_cli_print(const vise_buf *text, vise_error *err)
{
    if (text->length > 0 && fwrite(text->data, 1, text->length, stdout) != text->length)
        return VISE_FAIL(err, VISE_ERESOURCE, "cannot write to stdout");
    if (fflush(stdout) != 0)
        return VISE_FAIL(err, VISE_ERESOURCE, "cannot write to stdout");
    return VISE_OK;
}
