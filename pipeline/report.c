#include "pipeline/report.h"

#include <math.h>
#include <string.h>

#include "core/event.h"
#include "pipeline/report_tasks.h"

vise_status vise_report_init(vise_report *report, vise_error *err)
{
    const vise_report_pair unknown = {NAN, NAN, NAN, NAN};
    const vise_spread no_spread = {NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};

    memset(report, 0, sizeof *report);
    VISE_TRY(vise_arena_new(&report->arena, err));
    report->input.parameters = report->input.bytes = VISE_UNSET_SIZE;
    report->output.parameters = report->output.bytes = VISE_UNSET_SIZE;
    report->size.before = report->size.after = report->size.packed_after = VISE_UNSET_SIZE;
    report->size.bits_per_weight = NAN;
    report->target.bits = report->target.bytes = report->target.reached = report->target.expected_kl = NAN;
    report->memory.budget = report->memory.peak_rss = report->memory.peak_pool = VISE_UNSET_SIZE;
    report->memory.load_before = report->memory.load_after = VISE_UNSET_SIZE;
    report->memory.kv_cache_per_token = VISE_UNSET_SIZE;
    report->accuracy.tokens = report->accuracy.length = VISE_UNSET_SIZE;
    report->accuracy.perplexity = unknown;
    report->accuracy.bits_per_byte_before = report->accuracy.bits_per_byte_after = NAN;
    report->accuracy.stride = report->accuracy.invalid_utf8 = VISE_UNSET_SIZE;
    report->accuracy.stderr_before = report->accuracy.stderr_after = report->accuracy.stderr_tokens = NAN;
    report->accuracy.low = report->accuracy.high = NAN;
    report->accuracy.kl = report->accuracy.delta_p = no_spread;
    report->accuracy.top1_agreement = report->accuracy.top1_stderr = NAN;
    vise_report_tasks_init(report);
    report->seconds = NAN;
    return VISE_OK;
}

void vise_report_deinit(vise_report *report)
{
    vise_arena_free(report->arena);
    memset(report, 0, sizeof *report);
}

vise_status vise_report_warn(vise_report *report, const char *text, vise_error *err)
{
    if (report->n_warnings == report->warnings_capacity) {
        size_t capacity = report->warnings_capacity ? 2 * report->warnings_capacity : 8, bytes;
        void *grown;

        if (!vise_mul_size(capacity, sizeof *report->warnings, &bytes))
            return VISE_FAIL(err, VISE_ERESOURCE, "too many warnings");
        VISE_TRY(vise_arena_take(report->arena, bytes, &grown, err));
        if (report->n_warnings > 0)
            memcpy(grown, report->warnings, report->n_warnings * sizeof *report->warnings);
        report->warnings = grown;
        report->warnings_capacity = capacity;
    }
    VISE_TRY(
        vise_arena_strdup(report->arena, text, strlen(text), &report->warnings[report->n_warnings], err));
    report->n_warnings++;
    return VISE_OK;
}

/* Called under the lock of the events: one at a time. A warning that there is no memory for was heard all the same. */
static void keep_warning(void *context, const vise_event *event)
{
    vise_error ignored = {0};

    if (vise_report_warn(context, event->text, &ignored) != VISE_OK)
        return;
}

void vise_report_collect(vise_report *report)
{
    vise_keep_warnings(report ? keep_warning : NULL, report);
}
