/* vise size: holds a model's size against a baseline, for continuous integration. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/sizes.h"
#include "core/file.h"
#include "core/json.h"

#define TEXT_BYTES_MAX ((size_t)16 << 20)

/* ---- limits ------------------------------------------------------------------------------------------ */

/* What the total may grow by: percent of the baseline, or bytes. */
typedef struct growth {
    bool relative;
    double percent;
    uint64_t bytes;
} growth;

static vise_status parse_growth(const char *text, growth *limit, vise_error *err)
{
    size_t length = strlen(text);
    char *end = NULL;

    limit->relative = length > 1 && text[length - 1] == '%';
    if (!limit->relative)
        return vise_parse_size(text, &limit->bytes, err);
    limit->percent = strtod(text, &end);
    if (end != text + length - 1 || !isfinite(limit->percent) || limit->percent < 0.0)
        return VISE_FAIL(err, VISE_EUSAGE, "--max-growth: '%s' is no share; write 2%% or 10MB", text);
    return VISE_OK;
}

static bool grew_too_much(const growth *limit, uint64_t before, uint64_t after)
{
    if (after <= before)
        return false;
    if (!limit->relative)
        return after - before > limit->bytes;
    return (double)(after - before) > (double)before * limit->percent / 100.0;
}

/* ---- the table --------------------------------------------------------------------------------------- */

typedef enum style { STYLE_TEXT, STYLE_MD } style;

/* "+1.2 %", "new", "gone", "" for no change. */
static const char *change_text(uint64_t before, uint64_t after, char text[32])
{
    if (before == after)
        snprintf(text, 32, "=");
    else if (before == 0)
        snprintf(text, 32, "new");
    else if (after == 0)
        snprintf(text, 32, "gone");
    else
        snprintf(text, 32, "%+.2f %%", 100.0 * ((double)after / (double)before - 1.0));
    return text;
}

static void put_row(style how, const char *name, uint64_t before, uint64_t after, vise_buf *out)
{
    char from[VISE_SIZE_TEXT_MAX], to[VISE_SIZE_TEXT_MAX], change[32];

    vise_format_size(before, from);
    vise_format_size(after, to);
    change_text(before, after, change);
    if (how == STYLE_TEXT)
        vise_buf_addf(out, "  %-32s %10s %10s %12s\n", name, from, to, change);
    else
        vise_buf_addf(out, "| `%s` | %s | %s | %s |\n", name, from, to, change);
}

static void put_section(style how, const char *title, const vise_named_sizes *before,
                        const vise_named_sizes *after, vise_buf *out)
{
    if (how == STYLE_TEXT)
        vise_buf_addf(out, "%s\n", title);
    else
        vise_buf_addf(out, "| **%s** | | | |\n", title);
    for (size_t i = 0; i < after->count; i++)
        put_row(how, after->items[i].name, vise_named_size_find(before, after->items[i].name),
                after->items[i].bytes, out);
    for (size_t i = 0; i < before->count; i++)
        if (vise_named_size_find(after, before->items[i].name) == 0 && before->items[i].bytes > 0)
            put_row(how, before->items[i].name, before->items[i].bytes, 0, out);
}

static void put_table(style how, const vise_sizes *before, const vise_sizes *after, vise_buf *out)
{
    if (how == STYLE_TEXT) {
        vise_buf_addf(out, "%s -> %s\n\n", before->model, after->model);
        vise_buf_addf(out, "%-34s %10s %10s %12s\n", "", "before", "after", "change");
    } else {
        vise_buf_addf(out, "### Size of %s\n\n| | before | after | change |\n| --- | ---: | ---: | ---: |\n",
                      after->model);
    }
    put_row(how, "total", before->total, after->total, out);
    for (size_t i = 0; i < VISE_SIZES_SECTIONS; i++)
        put_section(how, vise_sizes_sections[i], &before->sections[i], &after->sections[i], out);
}

static void put_json_row(vise_json_writer *to, const char *name, uint64_t before, uint64_t after)
{
    vise_json_object(to);
    vise_json_key(to, "name");
    vise_json_put_text(to, name);
    vise_json_key(to, "before");
    vise_json_put_uint(to, before);
    vise_json_key(to, "after");
    vise_json_put_uint(to, after);
    vise_json_object_end(to);
}

static void put_json(const vise_sizes *before, const vise_sizes *after, const char *missed, vise_buf *out)
{
    vise_json_writer to;

    vise_json_begin(&to, out, 2);
    vise_json_object(&to);
    vise_json_key(&to, "before");
    vise_json_put_uint(&to, before->total);
    vise_json_key(&to, "after");
    vise_json_put_uint(&to, after->total);
    for (size_t s = 0; s < VISE_SIZES_SECTIONS; s++) {
        const vise_named_sizes *a = &before->sections[s], *b = &after->sections[s];

        vise_json_key(&to, vise_sizes_sections[s]);
        vise_json_array(&to);
        for (size_t i = 0; i < b->count; i++)
            put_json_row(&to, b->items[i].name, vise_named_size_find(a, b->items[i].name), b->items[i].bytes);
        for (size_t i = 0; i < a->count; i++)
            if (vise_named_size_find(b, a->items[i].name) == 0 && a->items[i].bytes > 0)
                put_json_row(&to, a->items[i].name, a->items[i].bytes, 0);
        vise_json_array_end(&to);
    }
    vise_json_key(&to, "met");
    vise_json_put_bool(&to, missed[0] == '\0');
    vise_json_object_end(&to);
    vise_buf_add_char(out, '\n');
}

/* missed says which limit was; "" when none was. */
static vise_status print_table(const vise_size_options *own, const vise_sizes *before,
                               const vise_sizes *after, const char *missed, vise_error *err)
{
    bool markdown = strcmp(own->format, "md") == 0;
    vise_status status;
    vise_buf text;

    vise_buf_init(&text, TEXT_BYTES_MAX);
    if (strcmp(own->format, "json") == 0) {
        put_json(before, after, missed, &text);
    } else {
        put_table(markdown ? STYLE_MD : STYLE_TEXT, before, after, &text);
        if (markdown && missed[0])
            vise_buf_addf(&text, "\n**Too large:** %s\n", missed);
    }
    status = vise_buf_check(&text, "the table", err);
    if (status == VISE_OK)
        status = vise_cli_print(&text, err);
    vise_buf_deinit(&text);
    return status;
}

/* ---- check, update, diff ----------------------------------------------------------------------------- */

static vise_status check(const vise_cli *cli, const vise_size_options *own, const char *path, vise_error *err)
{
    vise_sizes before, after;
    growth limit = {0};
    char missed[256] = "", a[VISE_SIZE_TEXT_MAX], b[VISE_SIZE_TEXT_MAX];

    VISE_TRY(parse_growth(own->max_growth, &limit, err));
    VISE_TRY(vise_sizes_load(own->baseline, cli->arena, &before, err));
    VISE_TRY(vise_sizes_of_model(path, cli->arena, &after, err));
    if (own->max_total != VISE_UNSET_SIZE && after.total > own->max_total)
        snprintf(missed, sizeof missed, "%s in all, %s allowed", vise_format_size(after.total, a),
                 vise_format_size(own->max_total, b));
    else if (grew_too_much(&limit, before.total, after.total))
        snprintf(missed, sizeof missed, "grew by %s (%.2f %%), %s allowed",
                 vise_format_size(after.total - before.total, a),
                 before.total ? 100.0 * ((double)after.total / (double)before.total - 1.0) : 100.0,
                 own->max_growth);
    VISE_TRY(print_table(own, &before, &after, missed, err));
    if (missed[0])
        return VISE_FAIL(err, VISE_EGOAL, "%s: too large: %s", path, missed);
    return VISE_OK;
}

static vise_status update(const vise_cli *cli, const vise_size_options *own, const char *path,
                          vise_error *err)
{
    vise_sizes sizes;
    vise_status status;
    vise_buf text;

    VISE_TRY(vise_sizes_of_model(path, cli->arena, &sizes, err));
    vise_buf_init(&text, TEXT_BYTES_MAX);
    vise_sizes_json(&sizes, &text);
    status = vise_buf_check(&text, "the baseline", err);
    if (status == VISE_OK)
        status = vise_file_write_atomic(own->baseline, text.data, text.length, err);
    vise_buf_deinit(&text);
    return status;
}

/* A model, or a baseline file. */
static vise_status load_side(const vise_cli *cli, const char *path, vise_sizes *sizes, vise_error *err)
{
    size_t length = strlen(path);

    if (length > 5 && strcmp(path + length - 5, ".json") == 0 && !vise_path_is_folder(path))
        return vise_sizes_load(path, cli->arena, sizes, err);
    return vise_sizes_of_model(path, cli->arena, sizes, err);
}

static vise_status diff(const vise_cli *cli, const vise_size_options *own, vise_error *err)
{
    vise_sizes before, after;

    VISE_TRY(load_side(cli, cli->arguments.items[1], &before, err));
    VISE_TRY(load_side(cli, cli->arguments.items[2], &after, err));
    return print_table(own, &before, &after, "", err);
}

vise_status vise_cmd_size(vise_cli *cli, vise_error *err)
{
    static const char *const verbs[] = {"check", "update", "diff"};
    const vise_size_options *own = cli->own;
    const char *verb = cli->arguments.count > 0 ? cli->arguments.items[0] : NULL;
    const char *nearest;

    if (!verb)
        return VISE_FAIL(err, VISE_EUSAGE, "check, update or diff is missing");
    if (strcmp(verb, "diff") == 0) {
        VISE_TRY(vise_cli_expect(cli, 3, "size diff takes two models or baselines; one", err));
        return diff(cli, own, err);
    }
    if (strcmp(verb, "check") != 0 && strcmp(verb, "update") != 0) {
        nearest = vise_nearest(verb, verbs, sizeof verbs / sizeof *verbs);
        return VISE_FAIL(err, VISE_EUSAGE, "unknown '%s'; %s%s", verb,
                         nearest ? "did you mean " : "it is check, update or diff", nearest ? nearest : "");
    }
    VISE_TRY(vise_cli_expect(cli, 2, "MODEL", err));
    if (!own->baseline)
        return VISE_FAIL(err, VISE_EUSAGE, "--baseline FILE is missing");
    return verb[0] == 'c' ? check(cli, own, cli->arguments.items[1], err)
                          : update(cli, own, cli->arguments.items[1], err);
}
