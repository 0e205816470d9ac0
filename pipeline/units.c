#include "pipeline/units.h"

#include <math.h>

#include "core/event.h"

/* The input that tells which unit of its layer a weight is in. */
static int shared_input(const vise_bound *bound)
{
    return bound->input >= VISE_INPUT_EXPERT && bound->input < VISE_INPUT_COUNT ? VISE_INPUT_EXPERT : (int)bound->input;
}

static bool are_one(const vise_plan *plan, const vise_bound *a, const vise_bound *b)
{
    if (a->layer != b->layer)
        return false;
    const bool splits = plan->gguf != NULL || plan->budgeted->budget.split;
    return splits ? a->role == b->role : shared_input(a) == shared_input(b);
}

/* A budget of bits counts codes, scales and zero points; one of bytes all that is stored. */
static vise_status bytes_as(const vise_plan *plan, size_t index, const vise_scheme *scheme, uint64_t *bytes,
                            vise_error *err)
{
    const vise_planned *planned = &plan->planned[index];
    const vise_logical *tensor = planned->bound->tensor;
    VISE_TRY(vise_plan_bytes_as(plan, index, scheme, bytes, err)); /* which refuses what the layout does not hold */
    if (plan->budgeted->budget.bytes == VISE_UNSET_SIZE)
        *bytes = (uint64_t)ceil(vise_scheme_bits(scheme, tensor->rows, tensor->cols, planned->scale_dtype) *
                                (double)tensor->elements / 8.0);
    return VISE_OK;
}

static vise_status add_bytes(const vise_plan *plan, size_t index, size_t unit, vise_error *err)
{
    const vise_budget *budget = &plan->budgeted->budget;
    uint64_t *bytes = plan->units->bytes + unit * budget->count;
    for (size_t c = 0; c < budget->count; c++) {
        uint64_t own = 0;
        if (bytes[c] == VISE_UNSET_SIZE)
            continue;
        if (vise_scheme_groups(&budget->candidates[c], plan->model->bound[index].tensor->cols) == 0) {
            bytes[c] = VISE_UNSET_SIZE;
            continue;
        }
        vise_error why = {0};
        const vise_status status = bytes_as(plan, index, &budget->candidates[c], &own, &why);
        if (status != VISE_OK && status != VISE_EUSAGE) /* which says that its shape does not suit the layout */
            return VISE_FAIL(err, status, "%s", why.message);
        bytes[c] = status == VISE_OK ? bytes[c] + own : VISE_UNSET_SIZE;
    }
    return VISE_OK;
}

static vise_status gather(vise_plan *plan, vise_error *err)
{
    struct vise_units *units = plan->units;
    const vise_pass_run *run = plan->budgeted;
    for (size_t i = 0; i < plan->count; i++) {
        const bool worked = (plan->planned[i].passes >> run->index & 1) != 0;
        units->of[i] = SIZE_MAX;
        if (worked || run->measured[i])
            units->budgeted += (double)plan->model->bound[i].tensor->elements;
        if (worked && !run->measured[i]) {
            uint64_t bytes;
            VISE_TRY(bytes_as(plan, i, &plan->planned[i].scheme, &bytes, err));
            units->given += bytes;
        }
        if (!run->measured[i])
            continue;
        for (size_t j = i; j > 0 && units->of[i] == SIZE_MAX; j--) /* those of a layer lie close together */
            if (units->of[j - 1] != SIZE_MAX && are_one(plan, &plan->model->bound[j - 1], &plan->model->bound[i]))
                units->of[i] = units->of[j - 1];
        if (units->of[i] == SIZE_MAX)
            units->of[i] = units->count++;
        units->elements[units->of[i]] += (double)plan->model->bound[i].tensor->elements;
        VISE_TRY(add_bytes(plan, i, units->of[i], err));
    }
    return VISE_OK;
}

static vise_status find_limits(vise_plan *plan, vise_error *err)
{
    struct vise_units *units = plan->units;
    for (size_t u = 0; u < units->count; u++) {
        uint64_t least = VISE_UNSET_SIZE, most = 0;
        for (size_t c = 0; c < units->candidates; c++) {
            const uint64_t bytes = units->bytes[u * units->candidates + c];
            if (bytes == VISE_UNSET_SIZE)
                continue;
            least = bytes < least ? bytes : least;
            most = bytes > most ? bytes : most;
        }
        for (size_t i = 0; least == VISE_UNSET_SIZE && i < plan->count; i++)
            if (units->of[i] == u)
                return VISE_FAIL(err, VISE_EUSAGE,
                                 "%s: no candidate holds it and what is fused with it; name one that does with "
                                 "--candidates (such as int8-channel), or exclude it",
                                 plan->model->bound[i].tensor->module);
        units->least += least;
        units->most += most;
    }
    return VISE_OK;
}

/* Bytes that the budget counts beside the units. */
static uint64_t taken(const vise_plan *plan)
{
    uint64_t bytes = plan->bytes_after; /* headers and all that is not chosen */
    if (plan->budgeted->budget.bytes == VISE_UNSET_SIZE)
        return plan->units->given;
    for (size_t i = 0; i < plan->count; i++)
        if (plan->units->of[i] != SIZE_MAX)
            bytes -= vise_plan_stored_bytes(plan, i);
    return bytes;
}

uint64_t vise_units_budget(const vise_plan *plan, uint64_t excess)
{
    const vise_budget *budget = &plan->budgeted->budget;
    const uint64_t total = budget->bytes != VISE_UNSET_SIZE
                               ? budget->bytes
                               : (uint64_t)floor(budget->bits * plan->units->budgeted / 8.0);
    const uint64_t spent = taken(plan) + excess;
    return total > spent ? total - spent : 0;
}

static vise_status check(const vise_plan *plan, vise_error *err)
{
    const vise_budget *budget = &plan->budgeted->budget;
    const struct vise_units *units = plan->units;
    const uint64_t room = vise_units_budget(plan, 0);
    char a[VISE_SIZE_TEXT_MAX], b[VISE_SIZE_TEXT_MAX];
    const bool of_bits = budget->bytes == VISE_UNSET_SIZE;
    if (units->count == 0)
        return VISE_FAIL(err, VISE_EUSAGE, "there is no weight to choose a scheme for: all are given one with --set");
    if (units->least > room && of_bits)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--target-bits %g: the smallest candidates take %.4g bits a weight; ask for that or more, or "
                         "name smaller ones with --candidates",
                         budget->bits,
                         ceil((double)(units->least + units->given) * 8e3 / units->budgeted) / 1e3);
    if (units->least > room)
        return VISE_FAIL(err, VISE_EUSAGE,
                         "--target-size %s: with the smallest candidates the files take %llu bytes (%s); ask for that "
                         "or more, or name smaller ones with --candidates",
                         vise_format_size(budget->bytes, a),
                         (unsigned long long)(units->least + taken(plan)),
                         vise_format_size(units->least + taken(plan), b));
    if (units->most <= room)
        vise_warn("the target leaves %s unused: every weight gets its largest candidate; name larger ones with "
                  "--candidates, or ask for less",
                  vise_format_size(room - units->most, a));
    return VISE_OK;
}

/* A layout whose configuration knows one scheme for all has nothing to choose. */
static vise_status check_mixes(const vise_plan *plan, vise_error *err)
{
    const vise_budget *budget = &plan->budgeted->budget;
    for (size_t c = 1; plan->gguf == NULL && c < budget->count; c++) {
        const vise_spelling pair[2] = {
            {.module = "a", .name = "a.weight", .scheme = budget->candidates[0], .is_linear = true},
            {.module = "b", .name = "b.weight", .scheme = budget->candidates[c], .is_linear = true}};
        vise_error why = {0};
        vise_buf text;
        vise_buf_init(&text, (size_t)1 << 20);
        const vise_status status = plan->layout->config(pair, 2, &text, &why);
        vise_buf_deinit(&text);
        if (status != VISE_OK)
            return VISE_FAIL(err, status,
                             "a target mixes schemes, and layout %s has one for all weights; use layout gptq or "
                             "compressed-tensors",
                             plan->layout->name);
    }
    return VISE_OK;
}

void vise_units_even(const vise_plan *plan, size_t *choice)
{
    const struct vise_units *units = plan->units;
    const uint64_t room = vise_units_budget(plan, 0);
    const size_t n = units->candidates;
    uint64_t most = 0;
    size_t even = n;
    for (size_t c = 0; c < n; c++) {
        uint64_t total = 0;
        for (size_t u = 0; u < units->count && total != VISE_UNSET_SIZE; u++)
            total = units->bytes[u * n + c] == VISE_UNSET_SIZE ? VISE_UNSET_SIZE : total + units->bytes[u * n + c];
        if (total <= room && total > most) {
            most = total;
            even = c;
        }
    }
    for (size_t u = 0; u < units->count; u++) {
        choice[u] = even;
        for (size_t c = 0; even == n && c < n; c++)
            if (units->bytes[u * n + c] != VISE_UNSET_SIZE &&
                (choice[u] == n || units->bytes[u * n + c] < units->bytes[u * n + choice[u]]))
                choice[u] = c;
    }
}

vise_status vise_units_make(vise_plan *plan, vise_error *err)
{
    const size_t tensors = plan->count, n = plan->budgeted->budget.count;
    struct vise_units *units;
    VISE_TRY(vise_arena_take(plan->arena, sizeof *units, (void **)&units, err));
    *units = (struct vise_units){.candidates = n};
    plan->units = units;
    VISE_TRY(vise_arena_take(plan->arena, (tensors + 1) * sizeof *units->of, (void **)&units->of, err));
    VISE_TRY(vise_arena_take(plan->arena, (tensors + 1) * sizeof *units->elements, (void **)&units->elements, err));
    VISE_TRY(vise_arena_take(plan->arena, (tensors + 1) * n * sizeof *units->bytes, (void **)&units->bytes, err));
    VISE_TRY(check_mixes(plan, err));
    VISE_TRY(gather(plan, err));
    VISE_TRY(find_limits(plan, err));
    return check(plan, err);
}
