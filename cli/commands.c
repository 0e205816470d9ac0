/* The table of commands and their own options. */
#include <string.h>

#include "cli/cli.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const vise_option inspect_rows[] = {
    {.name = "json",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_inspect_options, json),
     .help = "one JSON document on stdout"},
    {.name = "context",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_inspect_options, context),
     .min = 0,
     .max = 1e9,
     .value = "N",
     .help = "tokens of a sequence in the table of memory (default: the model's positions, at most 2048)"},
    {.name = "batch",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_inspect_options, batch),
     .min = 1,
     .max = 1e6,
     .initial = "1",
     .value = "N",
     .help = "sequences at a time in the table of memory"},
    {.name = "architectures",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_inspect_options, architectures),
     .help = "list the model families with a forward pass"},
    {.name = "schemes",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_inspect_options, schemes),
     .help = "list the weight types of quantization schemes"},
    {.name = "layouts",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_inspect_options, layouts),
     .help = "list the layouts that quantized weights are stored in"},
    {.name = "roles",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_inspect_options, roles),
     .help = "list the roles that role:NAME selects"},
    {.name = "devices",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_inspect_options, devices),
     .help = "list the devices of this machine"},
};

const vise_option vise_plan_rows[] = {
    {.name = "device-map",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_plan_options, device_map),
     .value = "FILE",
     .help = "write where accelerate and transformers should put each module, within --memory gpu0=8GiB,cpu=16GiB"},
    {.name = "context",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_plan_options, context),
     .min = 0,
     .max = 1e9,
     .value = "N",
     .help = "tokens of a sequence that devices keep room for (default: the model's positions, at most 2048); 0 "
             "counts weights alone"},
    {.name = "batch",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_plan_options, batch),
     .min = 1,
     .max = 1e6,
     .initial = "1",
     .value = "N",
     .help = "sequences at a time that devices keep room for"},
    {.name = "json",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_plan_options, json),
     .help = "one JSON document on stdout"},
};
const size_t vise_plan_row_count = COUNT(vise_plan_rows);

static const vise_option eval_rows[] = {
    {.name = "text",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_eval_command_options, text),
     .value = "FILE",
     .help = "text to measure perplexity on: .txt, or .jsonl with text, input_ids or messages in each line"},
    {.name = "ids",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_eval_command_options, ids),
     .value = "FILE",
     .help = "a JSON list of rows of token ids, in place of a text"},
    {.name = "labels",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_eval_command_options, labels),
     .value = "FILE",
     .help = "labelled texts for a classifier: .tsv with a header, or .jsonl (label; text, sentence or content)"},
    {.name = "choices",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_eval_command_options, choices),
     .value = "FILE",
     .help = "multiple choice: .jsonl with ctx, endings and label, as HellaSwag; the likeliest ending is chosen"},
    {.name = "embeddings",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_eval_command_options, embeddings),
     .value = "FILE",
     .help = "texts for a sentence encoder: .txt, one to a line, or .jsonl with text; cosines to the reference's"},
    {.name = "reference",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_eval_command_options, reference),
     .value = "MODEL",
     .help = "the model to compare with: perplexity ratio, KL divergence, probabilities, agreement, cosine; for "
             "--embeddings also vectors in a .npy or .safetensors"},
    {.name = "save-logits",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_eval_command_options, save_logits),
     .value = "OUT",
     .help = "write logits [rows, length, vocab] as float32 into this .safetensors"},
    {.name = "max-perplexity-ratio",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_eval_command_options, max_perplexity_ratio),
     .min = 0,
     .max = 1e16,
     .value = "R",
     .help = "exit 1 when the perplexity grows by more than this factor over the reference's"},
    {.name = "min-accuracy",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_eval_command_options, min_accuracy),
     .min = 0,
     .max = 1,
     .value = "A",
     .help = "exit 1 when the share of right labels or choices is less"},
    {.name = "min-cosine",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_eval_command_options, min_cosine),
     .min = -1,
     .max = 1,
     .value = "C",
     .help = "exit 1 when the mean cosine to the reference's embeddings is less"},
    {.name = "weights-only",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_eval_command_options, weights_only),
     .help = "leave out what the model's file says of quantized activations"},
    {.name = "json",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_eval_command_options, json),
     .help = "one JSON document on stdout"},
};

static const vise_option imatrix_rows[] = {
    {.name = "text",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_imatrix_options, text),
     .value = "FILE",
     .help = "text that the model is run on: .txt, or .jsonl with text, input_ids or messages in each line"},
    {.name = "output",
     .letter = 'o',
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_imatrix_options, output),
     .value = "OUT",
     .help = "where the matrix goes: a GGUF file for quant --imatrix, and for llama-quantize"},
    {.name = "force",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_imatrix_options, force),
     .help = "replace OUT when it exists"},
};

static const vise_option generate_rows[] = {
    {.name = "prompt",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_generate_options, prompt),
     .value = "TEXT",
     .help = "the text to go on from"},
    {.name = "prompt-file",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_generate_options, prompt_file),
     .value = "FILE",
     .help = "a file with that text, every byte of it; - for stdin"},
    {.name = "ids",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_generate_options, ids),
     .value = "FILE",
     .help = "a JSON list of one row of token ids, in place of a text"},
    {.name = "tokens",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_generate_options, tokens),
     .initial = "128",
     .min = 1,
     .max = 1e7,
     .value = "N",
     .help = "stop after so many tokens, if no token ends the text before"},
    {.name = "temperature",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_generate_options, temperature),
     .initial = "0",
     .min = 0,
     .max = 1000,
     .value = "T",
     .help = "draw tokens with their logits divided by this; 0 takes the likeliest"},
    {.name = "top-k",
     .type = VISE_OPTION_INT,
     .offset = offsetof(vise_generate_options, top_k),
     .initial = "0",
     .min = 0,
     .max = 1e8,
     .value = "N",
     .help = "draw among the N likeliest; 0: all"},
    {.name = "top-p",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_generate_options, top_p),
     .initial = "1",
     .min = 1e-9,
     .max = 1,
     .value = "P",
     .help = "draw among the likeliest that together have this probability"},
    {.name = "min-p",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_generate_options, min_p),
     .initial = "0",
     .min = 0,
     .max = 1,
     .value = "P",
     .help = "draw among those at least this likely, as a fraction of the likeliest"},
    {.name = "repetition-penalty",
     .type = VISE_OPTION_NUMBER,
     .offset = offsetof(vise_generate_options, repetition_penalty),
     .initial = "1",
     .min = 0.01,
     .max = 100,
     .value = "F",
     .help = "make tokens that the text has already less likely by this factor"},
    {.name = "ignore-eos",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_generate_options, ignore_eos),
     .help = "go on behind a token that ends the text"},
    {.name = "weights-only",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_generate_options, weights_only),
     .help = "leave out what the model's file says of quantized activations"},
    {.name = "json",
     .type = VISE_OPTION_FLAG,
     .offset = offsetof(vise_generate_options, json),
     .help = "one JSON document on stdout: ids, text, seconds, tokens per second"},
};

static const vise_option size_rows[] = {
    {.name = "baseline",
     .type = VISE_OPTION_PATH,
     .offset = offsetof(vise_size_options, baseline),
     .value = "FILE",
     .help = "the sizes that check compares with and update writes"},
    {.name = "max-growth",
     .type = VISE_OPTION_TEXT,
     .offset = offsetof(vise_size_options, max_growth),
     .initial = "0%",
     .value = "GROWTH",
     .help = "what all files together may grow by, as 2% or 10MB"},
    {.name = "max-total",
     .type = VISE_OPTION_SIZE,
     .offset = offsetof(vise_size_options, max_total),
     .value = "SIZE",
     .help = "what all files together may take"},
    {.name = "format",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_size_options, format),
     .choices = "text|md|json",
     .initial = "text",
     .help = "of the table; md suits a pull request"},
};

static const vise_option report_rows[] = {
    {.name = "format",
     .type = VISE_OPTION_CHOICE,
     .offset = offsetof(vise_report_options, format),
     .choices = "text|md|html|junit",
     .initial = "text",
     .help = "of the output"},
};

#define LOOK     "Look"
#define COMPRESS "Compress"
#define MEASURE  "Measure"

static const vise_command commands[] = {
    {.name = "inspect",
     .group = LOOK,
     .summary = "show what a model is made of",
     .usage = "inspect MODEL [--context N] [--batch N] [--json]\n"
              "inspect --architectures | --schemes | --layouts | --roles | --devices",
     .example = "vise inspect examples/stories260K",
     .rows = inspect_rows,
     .n_rows = COUNT(inspect_rows),
     .own_size = sizeof(vise_inspect_options),
     .run = vise_cmd_inspect},
    {.name = "plan",
     .group = LOOK,
     .summary = "show what a run would do, to the byte; reads no weights",
     .usage = "plan RECIPE | MODEL | PASS ARGUMENTS... [--json]\n"
              "plan RECIPE | MODEL | PASS ARGUMENTS... --memory gpu0=8GiB,cpu=16GiB --device-map FILE",
     .example = "vise plan quant MODEL --scheme int4-g128",
     .rows = vise_plan_rows,
     .n_rows = COUNT(vise_plan_rows),
     .own_size = sizeof(vise_plan_options),
     .run = vise_cmd_plan},
    {.name = "run",
     .group = COMPRESS,
     .summary = "do every pass of a recipe in one walk over the model",
     .usage = "run RECIPE -o OUT [options]",
     .example = "vise run examples/demo.json -o build/demo --force",
     .writes = true,
     .run = vise_cmd_run},
    {.name = "eval",
     .group = MEASURE,
     .summary = "measure perplexity or accuracy, and the distance to a reference model",
     .usage = "eval MODEL --text FILE | --ids FILE [options]\n"
              "eval MODEL --labels FILE | --choices FILE | --embeddings FILE [options]",
     .example = "vise eval OUT --text test.txt --reference MODEL --max-perplexity-ratio 1.05",
     .rows = eval_rows,
     .n_rows = COUNT(eval_rows),
     .own_size = sizeof(vise_eval_command_options),
     .window_rows = vise_evaluation_rows,
     .n_window_rows = VISE_EVALUATION_ROWS,
     .run = vise_cmd_eval},
    {.name = "imatrix",
     .group = MEASURE,
     .summary = "measure how much each input of each weight matters, for GGUF's types",
     .usage = "imatrix MODEL --text FILE -o OUT.gguf [options]",
     .example = "vise imatrix MODEL --text calib.txt --length 512 -o imatrix.gguf",
     .rows = imatrix_rows,
     .n_rows = COUNT(imatrix_rows),
     .own_size = sizeof(vise_imatrix_options),
     .window_rows = vise_evaluation_rows,
     .n_window_rows = VISE_EVALUATION_ROWS,
     .run = vise_cmd_imatrix},
    {.name = "generate",
     .group = MEASURE,
     .summary = "go on with a text, to see what a model has become",
     .usage = "generate MODEL --prompt TEXT | --prompt-file FILE | --ids FILE [options]",
     .example = "vise generate examples/stories260K --prompt 'Once upon a time' --temperature 0.8",
     .rows = generate_rows,
     .n_rows = COUNT(generate_rows),
     .own_size = sizeof(vise_generate_options),
     .run = vise_cmd_generate},
    {.name = "size",
     .group = MEASURE,
     .summary = "hold a model's size against a baseline",
     .usage = "size check MODEL --baseline FILE [--max-growth 2%] [--max-total 350MB]\n"
              "size update MODEL --baseline FILE\n"
              "size diff A B",
     .example = "vise size check OUT --baseline sizes.json --max-growth 2%",
     .rows = size_rows,
     .n_rows = COUNT(size_rows),
     .own_size = sizeof(vise_size_options),
     .run = vise_cmd_size},
    {.name = "report",
     .group = MEASURE,
     .summary = "render the report of a run",
     .usage = "report REPORT.json [--format text|md|html|junit]",
     .example = "vise report OUT/report.json --format md",
     .rows = report_rows,
     .n_rows = COUNT(report_rows),
     .own_size = sizeof(vise_report_options),
     .run = vise_cmd_report},
};

/* Passes stand behind `run`. */
#define FIRST_PASS 3

static size_t pass_count(void)
{
    size_t count = 0;

    while (vise_passes[count])
        count++;
    return count;
}

static bool calibrates(const vise_pass *pass)
{
    for (size_t i = 0; pass->methods[i]; i++)
        if (pass->methods[i]->needs != 0)
            return true;
    return false;
}

static vise_command command_of(const vise_pass *pass)
{
    const bool calibrated = calibrates(pass);
    return (vise_command){
        .name = pass->name,
        .group = COMPRESS,
        .summary = pass->summary,
        .example = pass->example,
        .rows = pass->options,
        .n_rows = pass->n_options,
        .own_size = pass->config_size,
        .window_rows = calibrated ? vise_calibration_rows : NULL,
        .n_window_rows = calibrated ? VISE_CALIBRATION_ROWS : 0,
        .calibrates = calibrated,
        .writes = true,
        .pass = pass,
        .run = vise_cmd_pass,
    };
}

size_t vise_command_count(void)
{
    return COUNT(commands) + pass_count();
}

vise_command vise_command_at(size_t index)
{
    size_t passes = pass_count();

    if (index < FIRST_PASS)
        return commands[index];
    return index < FIRST_PASS + passes ? command_of(vise_passes[index - FIRST_PASS])
                                       : commands[index - passes];
}

bool vise_command_find(const char *name, vise_command *command)
{
    for (size_t i = 0; i < vise_command_count(); i++) {
        *command = vise_command_at(i);
        if (strcmp(command->name, name) == 0)
            return true;
    }
    return false;
}

/* ---- what the contract names and this version has not ----------------------------------------------- */

static const struct later {
    const char *command; /* NULL: name is a command */
    const char *name;
} later[] = {
    {NULL, "distill"},
    {"prune", "layers"},      {"prune", "width"},
};

bool vise_is_later(const char *command, const char *name)
{
    for (size_t i = 0; i < COUNT(later); i++)
        if ((command == NULL) == (later[i].command == NULL) && strcmp(name, later[i].name) == 0 &&
            (!command || strcmp(command, later[i].command) == 0))
            return true;
    return false;
}
