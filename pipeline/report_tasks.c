#include "pipeline/report_tasks.h"

#include <math.h>
#include <string.h>

/* A table of more classes than this helps nobody, and its size grows with the square. */
#define CONFUSION_CLASSES_MAX 100

void vise_report_tasks_init(vise_report *report)
{
    const vise_report_pair unknown = {NAN, NAN, NAN, NAN};

    report->accuracy.labels = (vise_report_labels){
        .n = VISE_UNSET_SIZE, .accuracy = unknown, .macro_f1 = unknown, .f1 = unknown, .agreement = NAN};
    report->accuracy.choices = (vise_report_choices){
        .n = VISE_UNSET_SIZE, .accuracy = unknown, .normalized = unknown, .agreement = NAN};
    report->accuracy.embeddings = (vise_report_embeddings){
        .n = VISE_UNSET_SIZE, .worst_line = VISE_UNSET_SIZE, .mean_cosine = NAN, .min_cosine = NAN};
}

double vise_report_tasks_accuracy(const vise_report *report)
{
    const vise_report_labels *labels = &report->accuracy.labels;

    return labels->n != VISE_UNSET_SIZE ? labels->accuracy.after : report->accuracy.choices.accuracy.after;
}

/* ---- filling --------------------------------------------------------------------------------------------------- */

/* What the tasks were measured on. */
static vise_status fill_texts(vise_report *report, const char *file, uint64_t tokens, uint64_t invalid_utf8,
                              vise_error *err)
{
    report->accuracy.tokens = tokens;
    if (invalid_utf8 > 0)
        report->accuracy.invalid_utf8 = invalid_utf8;
    return vise_arena_strdup(report->arena, file, strlen(file), &report->accuracy.text, err);
}

static vise_status fill_classes(vise_report *report, const vise_labelled *of, const vise_class_scores *scores,
                                vise_error *err)
{
    vise_report_labels *labels = &report->accuracy.labels;
    size_t used = 0, *place;
    uint64_t *table = NULL;
    vise_status status = VISE_OK;
    void *memory = NULL;

    VISE_TRY(vise_calloc(of->labels, sizeof *place, &memory, err)); /* of a label in the list */
    place = memory;
    for (size_t i = 0; i < of->labels; i++)
        if (scores->classes[i].n + scores->classes[i].predicted > 0)
            place[i] = used++;
    VISE_TRY_TO(end, vise_arena_take(report->arena, used * sizeof *labels->classes, &memory, err));
    labels->classes = memory;
    labels->n_classes = used;
    for (size_t i = 0; i < of->labels; i++) {
        const vise_class *c = &scores->classes[i];
        const char *name = of->names[i];
        if (c->n + c->predicted == 0)
            continue;
        if (name)
            VISE_TRY_TO(end, vise_arena_strdup(report->arena, name, strlen(name), &name, err));
        else
            VISE_TRY_TO(end, vise_arena_strfmt(report->arena, &name, err, "%zu", i));
        labels->classes[place[i]] =
            (vise_report_class){name, c->n, c->predicted, c->precision, c->recall, c->f1};
    }
    if (used > CONFUSION_CLASSES_MAX)
        goto end;
    VISE_TRY_TO(end, vise_arena_take(report->arena, used * used * sizeof *table, &memory, err));
    table = memory;
    memset(table, 0, used * used * sizeof *table);
    for (size_t i = 0; i < of->n; i++)
        table[place[of->truth[i]] * used + place[of->after[i]]]++;
    labels->confusion = table;
end:
    vise_free(place);
    return status;
}

static vise_status fill_side(vise_report *report, const vise_labelled *of, bool after, vise_error *err)
{
    vise_report_labels *labels = &report->accuracy.labels;
    vise_class_scores scores;
    vise_status status;

    VISE_TRY(vise_class_scores_make(of->truth, after ? of->after : of->before, of->n, of->labels, &scores, err));
    *(after ? &labels->accuracy.after : &labels->accuracy.before) = scores.accuracy;
    *(after ? &labels->macro_f1.after : &labels->macro_f1.before) = scores.macro_f1;
    if (of->labels == 2)
        *(after ? &labels->f1.after : &labels->f1.before) = scores.classes[1].f1;
    if (after)
        labels->accuracy.stderr_ = scores.stderr_accuracy;
    status = after ? fill_classes(report, of, &scores, err) : VISE_OK;
    vise_class_scores_deinit(&scores);
    return status;
}

vise_status vise_report_labelled(vise_report *report, const vise_labelled *of, vise_error *err)
{
    vise_report_labels *labels = &report->accuracy.labels;

    VISE_TRY(fill_texts(report, of->file, of->tokens, of->invalid_utf8, err));
    labels->n = of->n;
    labels->truncated = of->truncated;
    VISE_TRY(fill_side(report, of, true, err));
    if (!of->before)
        return VISE_OK;
    labels->agreement = vise_share_equal(of->after, of->before, of->n);
    return fill_side(report, of, false, err);
}

vise_status vise_report_chosen(vise_report *report, const vise_chosen *of, vise_error *err)
{
    vise_report_choices *choices = &report->accuracy.choices;
    vise_report_pair *pairs[2] = {&choices->accuracy, &choices->normalized};

    VISE_TRY(fill_texts(report, of->file, of->tokens, 0, err));
    choices->n = of->n;
    choices->truncated = of->truncated;
    for (int by_length = 0; by_length < 2; by_length++) {
        pairs[by_length]->after = vise_share_equal(of->after[by_length], of->truth, of->n);
        pairs[by_length]->stderr_ = vise_share_stderr(pairs[by_length]->after, of->n);
        if (of->before[0])
            pairs[by_length]->before = vise_share_equal(of->before[by_length], of->truth, of->n);
    }
    if (of->before[0])
        choices->agreement = vise_share_equal(of->after[0], of->before[0], of->n);
    return VISE_OK;
}

vise_status vise_report_embedded(vise_report *report, const vise_embedded *of, vise_error *err)
{
    vise_report_embeddings *embeddings = &report->accuracy.embeddings;

    VISE_TRY(fill_texts(report, of->file, of->tokens, of->invalid_utf8, err));
    embeddings->n = of->n;
    embeddings->truncated = of->truncated;
    embeddings->width = (uint64_t)of->width;
    if (!of->cosines)
        return VISE_OK;
    embeddings->mean_cosine = of->cosines->mean;
    embeddings->min_cosine = of->cosines->min;
    embeddings->worst_line = of->worst_line;
    return VISE_OK;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static void put_number(vise_json_writer *to, const char *key, double value)
{
    if (!isfinite(value))
        return;
    vise_json_key(to, key);
    vise_json_put_double(to, value);
}

static void put_count(vise_json_writer *to, const char *key, uint64_t value)
{
    vise_json_key(to, key);
    vise_json_put_uint(to, value);
}

static void put_pair(vise_json_writer *to, const char *key, const vise_report_pair *pair)
{
    if (!isfinite(pair->after))
        return;
    vise_json_key(to, key);
    vise_json_object(to);
    put_number(to, "before", pair->before);
    put_number(to, "after", pair->after);
    put_number(to, "stderr", pair->stderr_);
    vise_json_object_end(to);
}

static void put_classes(vise_json_writer *to, const vise_report_labels *labels)
{
    vise_json_key(to, "classes");
    vise_json_array(to);
    for (size_t i = 0; i < labels->n_classes; i++) {
        const vise_report_class *c = &labels->classes[i];

        vise_json_object(to);
        vise_json_key(to, "name");
        vise_json_put_text(to, c->name);
        put_count(to, "n", c->n);
        put_count(to, "predicted", c->predicted);
        put_number(to, "precision", c->precision);
        put_number(to, "recall", c->recall);
        put_number(to, "f1", c->f1);
        vise_json_object_end(to);
    }
    vise_json_array_end(to);
    if (!labels->confusion)
        return;
    vise_json_key(to, "confusion");
    vise_json_array(to);
    for (size_t i = 0; i < labels->n_classes; i++) {
        vise_json_array(to);
        for (size_t j = 0; j < labels->n_classes; j++)
            vise_json_put_uint(to, labels->confusion[i * labels->n_classes + j]);
        vise_json_array_end(to);
    }
    vise_json_array_end(to);
}

static void put_labels(vise_json_writer *to, const vise_report_labels *labels)
{
    vise_json_key(to, "labels");
    vise_json_object(to);
    put_pair(to, "accuracy", &labels->accuracy);
    put_count(to, "n", labels->n);
    put_pair(to, "macro_f1", &labels->macro_f1);
    put_pair(to, "f1", &labels->f1);
    put_number(to, "agreement", labels->agreement);
    put_count(to, "truncated", labels->truncated);
    put_classes(to, labels);
    vise_json_object_end(to);
}

static void put_choices(vise_json_writer *to, const vise_report_choices *choices)
{
    vise_json_key(to, "choices");
    vise_json_object(to);
    put_pair(to, "accuracy", &choices->accuracy);
    put_pair(to, "normalized_accuracy", &choices->normalized);
    put_count(to, "n", choices->n);
    put_number(to, "agreement", choices->agreement);
    put_count(to, "truncated", choices->truncated);
    vise_json_object_end(to);
}

static void put_embeddings(vise_json_writer *to, const vise_report_embeddings *embeddings)
{
    vise_json_key(to, "embeddings");
    vise_json_object(to);
    if (isfinite(embeddings->mean_cosine)) {
        vise_json_key(to, "cosine");
        vise_json_object(to);
        put_number(to, "mean", embeddings->mean_cosine);
        put_number(to, "min", embeddings->min_cosine);
        put_count(to, "min_line", embeddings->worst_line);
        vise_json_object_end(to);
    }
    put_count(to, "n", embeddings->n);
    put_count(to, "width", embeddings->width);
    put_count(to, "truncated", embeddings->truncated);
    vise_json_object_end(to);
}

void vise_report_put_tasks(vise_json_writer *to, const vise_report *report)
{
    if (report->accuracy.choices.n != VISE_UNSET_SIZE)
        put_choices(to, &report->accuracy.choices);
    if (report->accuracy.embeddings.n != VISE_UNSET_SIZE)
        put_embeddings(to, &report->accuracy.embeddings);
    if (report->accuracy.labels.n != VISE_UNSET_SIZE)
        put_labels(to, &report->accuracy.labels);
}
