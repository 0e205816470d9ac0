#include "pipeline/text_options.h"

#include <string.h>

#define AT(member) offsetof(vise_text_values, member)
#define COUNT_MAX  1e15 /* more tokens than any text has */

const vise_option vise_calibration_rows[VISE_TEXT_ROWS] = {
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

const vise_option vise_evaluation_rows[VISE_TEXT_ROWS] = {
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
    };

    return source;
}
