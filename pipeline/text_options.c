#include "pipeline/text_options.h"

#include <string.h>

#define AT(member) offsetof(vise_text_values, member)
#define COUNT_MAX  1e15 /* more tokens than any text has */

const vise_option vise_calibration_rows[VISE_CALIBRATION_ROWS] = {
    {.name = "length",
     .type = VISE_OPTION_INT,
     .offset = AT(length),
     .min = 2,
     .max = 1 << 20,
     .value = "N",
     .help = "tokens of a calibration window (default: the smaller of the model's positions and 2048)"},
    {.name = "samples",
     .type = VISE_OPTION_INT,
     .offset = AT(samples),
     .min = 1,
     .max = COUNT_MAX,
     .value = "N",
     .help = "calibration windows (default: 128)"},
    {.name = "windows",
     .type = VISE_OPTION_CHOICE,
     .offset = AT(windows),
     .choices = "first|random",
     .initial = "random",
     .help = "take calibration windows from the front, or draw them by --seed"},
    {.name = "skip",
     .type = VISE_OPTION_INT,
     .offset = AT(skip),
     .min = 0,
     .max = COUNT_MAX,
     .initial = "0",
     .value = "N",
     .help = "calibration windows left out at the front of the text"},
};

const vise_option vise_evaluation_rows[VISE_EVALUATION_ROWS] = {
    {.name = "length",
     .type = VISE_OPTION_INT,
     .offset = AT(length),
     .min = 2,
     .max = 1 << 20,
     .value = "N",
     .help = "tokens of a window (default: the smaller of the model's positions and 2048)"},
    {.name = "samples",
     .type = VISE_OPTION_INT,
     .offset = AT(samples),
     .min = 1,
     .max = COUNT_MAX,
     .value = "N",
     .help = "windows to evaluate (default: all)"},
    {.name = "windows",
     .type = VISE_OPTION_CHOICE,
     .offset = AT(windows),
     .choices = "first|random",
     .initial = "first",
     .help = "take windows from the front, or draw them by --seed"},
    {.name = "skip",
     .type = VISE_OPTION_INT,
     .offset = AT(skip),
     .min = 0,
     .max = COUNT_MAX,
     .initial = "0",
     .value = "N",
     .help = "windows left out at the front of the text"},
    {.name = "protocol",
     .type = VISE_OPTION_CHOICE,
     .offset = AT(protocol),
     .choices = VISE_PROTOCOL_CHOICES,
     .initial = "windows",
     .help = "how windows lie and what counts: each with BOS; one after another without BOS, as papers do; "
             "overlapping by a stride; llama.cpp's second halves"},
    {.name = "stride",
     .type = VISE_OPTION_INT,
     .offset = AT(stride),
     .min = 1,
     .max = 1 << 20,
     .value = "N",
     .help = "tokens from one window to the next, with --protocol stride (default: half of --length)"},
    {.name = "bos",
     .type = VISE_OPTION_FLAG,
     .offset = AT(bos),
     .help = "put the tokenizer's BOS once in front of the text, with --protocol papers or stride"},
};

vise_text_source vise_text_source_of(const vise_text_values *values, uint64_t seed)
{
    vise_text_source source = {
        .path = values->path,
        .length = values->length,
        .samples = values->samples,
        .skip = values->skip,
        .random = values->windows && strcmp(values->windows, "random") == 0,
        .seed = values->seed == VISE_UNSET_INT ? seed : (uint64_t)values->seed,
        .protocol = values->protocol,
        .stride = values->stride,
        .bos = values->bos,
    };

    return source;
}

vise_status vise_text_windows(const vise_text_source *source, int64_t max_positions, size_t samples,
                              vise_window_options *options, vise_error *err)
{
    *options = (vise_window_options){.skip = (size_t)source->skip, .random = source->random, .seed = source->seed};
    VISE_TRY(vise_protocol_find(source->protocol, &options->protocol, err));
    options->length = source->length != VISE_UNSET_INT ? (size_t)source->length
                                                       : vise_protocol_length(options->protocol, max_positions);
    options->samples = source->samples != VISE_UNSET_INT ? (size_t)source->samples : samples;
    options->stride = source->stride > 0 ? (size_t)source->stride : 0;
    options->bos_in_front = source->bos;
    if (options->stride > 0 && options->protocol != VISE_PROTOCOL_STRIDE)
        return VISE_FAIL(err, VISE_EUSAGE, "a stride needs the protocol \"stride\", this is \"%s\"",
                         vise_protocol_name(options->protocol));
    if (options->bos_in_front && options->protocol != VISE_PROTOCOL_PAPERS && options->protocol != VISE_PROTOCOL_STRIDE)
        return VISE_FAIL(err, VISE_EUSAGE, "bos is for the protocols \"papers\" and \"stride\"; \"%s\" has its own way",
                         vise_protocol_name(options->protocol));
    return VISE_OK;
}
