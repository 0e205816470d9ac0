/* THE list of passes: a pass that is added here has a command, help, recipe keys and a place in plan and
 * report. */
#include "cli/cli.h"
#include "convert/convert.h"
#include "prune/prune.h"
#include "quant/quant.h"

const vise_pass *const vise_passes[] = {&vise_pass_convert, &vise_pass_quant, &vise_pass_prune, NULL};
