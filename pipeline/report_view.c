#include "pipeline/report_view.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "pipeline/report.h"
#include "text/protocol.h"

const cJSON *vise_view(const cJSON *object, const char *key)
{
    return cJSON_IsObject(object) ? cJSON_GetObjectItemCaseSensitive(object, key) : NULL;
}

double vise_view_number(const cJSON *object, const char *key)
{
    const cJSON *item = vise_view(object, key);

    return cJSON_IsNumber(item) && isfinite(item->valuedouble) ? item->valuedouble : NAN;
}

const char *vise_view_text(const cJSON *object, const char *key)
{
    const cJSON *item = vise_view(object, key);

    return cJSON_IsString(item) ? item->valuestring : NULL;
}

bool vise_view_true(const cJSON *object, const char *key)
{
    return cJSON_IsTrue(vise_view(object, key));
}

size_t vise_view_count(const cJSON *object, const char *key)
{
    const cJSON *list = vise_view(object, key);
    const cJSON *item;
    size_t count = 0;

    if (cJSON_IsArray(list))
        cJSON_ArrayForEach(item, list) count++;
    return count;
}

/* ---- words for numbers ------------------------------------------------------------------------------ */

const char *vise_view_size(double bytes, char text[VISE_VIEW_MAX])
{
    char size[VISE_SIZE_TEXT_MAX];

    text[0] = '\0';
    if (bytes >= 0.0 && bytes < 1.8e19)
        snprintf(text, VISE_VIEW_MAX, "%s", vise_format_size((uint64_t)bytes, size));
    return text;
}

const char *vise_view_short(double value, char text[VISE_VIEW_MAX])
{
    text[0] = '\0';
    if (isfinite(value))
        snprintf(text, VISE_VIEW_MAX, "%.4g", value);
    return text;
}

const char *vise_view_fixed(double value, int decimals, char text[VISE_VIEW_MAX])
{
    text[0] = '\0';
    if (isfinite(value) && fabs(value) < 1e18)
        snprintf(text, VISE_VIEW_MAX, "%.*f", decimals, value);
    return text;
}

const char *vise_view_goal(const char *name, double value, char text[VISE_VIEW_MAX])
{
    size_t length = strlen(name), suffix = strlen("_bytes");

    if (length > suffix && strcmp(name + length - suffix, "_bytes") == 0)
        return vise_view_size(value, text);
    return vise_view_short(value, text);
}

const char *vise_view_relation(const char *name)
{
    return strncmp(name, "min_", 4) == 0 ? ">=" : "<=";
}

const char *vise_view_base(const char *path)
{
    const char *base = path ? vise_path_base(path) : NULL;

    return base && base[0] ? base : path;
}

#define DIGITS "0123456789"

const char *vise_view_protocol(const cJSON *accuracy, char *text, size_t size)
{
    const char *name = vise_view_text(accuracy, "protocol");
    double stride = vise_view_number(accuracy, "stride");
    char number[VISE_VIEW_MAX];
    vise_protocol protocol;

    text[0] = '\0';
    if (!name || vise_protocol_find(name, &protocol, NULL) != VISE_OK)
        return text;
    snprintf(text, size, " by protocol %s%s%s", name, isnan(stride) ? "" : " ",
             isnan(stride) ? "" : vise_view_fixed(stride, 0, number));
    return text;
}

bool vise_view_alike(const char *a, const char *b)
{
    while (*a && *b) {
        size_t n = strspn(a, DIGITS), m = strspn(b, DIGITS);

        if (n > 0 && m > 0) {
            a += n;
            b += m;
        } else if (*a++ != *b++) {
            return false;
        }
    }
    return *a == *b;
}

void vise_view_pattern(vise_buf *out, const char *text)
{
    const char *colon = strstr(text, ": ");

    while (*text) {
        size_t digits = colon && text < colon ? strspn(text, DIGITS) : 0;

        if (digits > 0) {
            vise_buf_add_char(out, '*');
            text += digits;
        } else {
            vise_buf_add_char(out, *text++);
        }
    }
}

/* ---- escapes ---------------------------------------------------------------------------------------- */

void vise_view_xml(vise_buf *out, const char *text)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;

        switch (c) {
        case '&':
            vise_buf_add_text(out, "&amp;");
            break;
        case '<':
            vise_buf_add_text(out, "&lt;");
            break;
        case '>':
            vise_buf_add_text(out, "&gt;");
            break;
        case '"':
            vise_buf_add_text(out, "&quot;");
            break;
        case '\'':
            vise_buf_add_text(out, "&#39;");
            break;
        default:
            if (c < 0x20 && c != '\t' && c != '\n')
                vise_buf_add_text(out, "\xEF\xBF\xBD");
            else
                vise_buf_add_char(out, (char)c);
        }
    }
}

void vise_view_md(vise_buf *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '<')
            vise_buf_add_text(out, "&lt;");
        else if (*text == '&')
            vise_buf_add_text(out, "&amp;");
        else if ((unsigned char)*text < 0x20)
            vise_buf_add_char(out, ' ');
        else {
            if (strchr("\\`*_[]|~#", *text))
                vise_buf_add_char(out, '\\');
            vise_buf_add_char(out, *text);
        }
    }
}

/* ---- the choice of renderer ------------------------------------------------------------------------- */

vise_status vise_report_render(const cJSON *json, const char *name, vise_report_format format, vise_buf *out,
                               vise_error *err)
{
    static void (*const renderers[])(const cJSON *, const char *, vise_buf *) = {
        [VISE_REPORT_TEXT] = vise_report_text,
        [VISE_REPORT_MD] = vise_report_md,
        [VISE_REPORT_HTML] = vise_report_html,
        [VISE_REPORT_JUNIT] = vise_report_junit,
    };
    double schema = vise_view_number(json, "schema");
    const char *called = name ? name : "the report";

    if (isnan(schema))
        return VISE_FAIL(err, VISE_EFORMAT, "%s: no report of vise: the key \"schema\" is missing", called);
    if (schema != 1.0)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: a report of schema %g; this vise reads schema 1", name,
                         schema);
    renderers[format](json, name, out);
    return vise_buf_check(out, "the rendered report", err);
}

const char *vise_view_target(const cJSON *json, char *text, size_t size)
{
    const cJSON *target = vise_view(json, "target");
    const double bits = vise_view_number(target, "bits"), kl = vise_view_number(target, "expected_kl");
    const double measured = vise_view_number(vise_view(vise_view(json, "accuracy"), "kl"), "mean");
    char a[VISE_VIEW_MAX], b[VISE_VIEW_MAX];
    if (isnan(kl))
        return NULL;
    int used = isnan(bits) ? snprintf(text, size, "%s of %s", vise_view_size(vise_view_number(target, "reached"), a),
                                      vise_view_size(vise_view_number(target, "bytes"), b))
                           : snprintf(text, size, "%.4g of %.4g bits a weight",
                                      vise_view_number(target, "reached"), bits);
    used += snprintf(text + used, size - (size_t)used, "; expected KL %s", vise_view_short(kl, a));
    if (!isnan(measured))
        snprintf(text + used, size - (size_t)used, ", measured %s", vise_view_short(measured, a));
    return text;
}

const char *vise_view_outliers(const cJSON *json, char *text, size_t size)
{
    const cJSON *outliers = vise_view(json, "outliers");
    const double linears = vise_view_number(outliers, "linears"), measured = vise_view_number(outliers, "measured");
    const char *name = vise_view_text(outliers, "largest_name");
    char a[VISE_VIEW_MAX], b[VISE_VIEW_MAX], c[VISE_VIEW_MAX], d[VISE_VIEW_MAX], e[VISE_VIEW_MAX];
    if (isnan(linears))
        return NULL;
    if (!(measured > 0.0)) {
        snprintf(text, size, "not measured: calibration text shows which input columns need more than int8");
        return text;
    }
    const int used = snprintf(text, size, "%s of %s input columns reach %s, in %s of %s linears",
                              vise_view_fixed(vise_view_number(outliers, "outlier_columns"), 0, a),
                              vise_view_fixed(vise_view_number(outliers, "columns"), 0, b),
                              vise_view_short(vise_view_number(outliers, "threshold"), c),
                              vise_view_fixed(vise_view_number(outliers, "with_outliers"), 0, d),
                              vise_view_fixed(measured, 0, e));
    const size_t at = (size_t)used < size ? (size_t)used : size - 1;
    snprintf(text + at, size - at, "; the largest is %s, in %.200s%s%s%s",
             vise_view_short(vise_view_number(outliers, "largest"), a), name ? name : "?",
             measured < linears ? " (" : "", measured < linears ? vise_view_fixed(linears - measured, 0, b) : "",
             measured < linears ? " not measured)" : "");
    return text;
}
