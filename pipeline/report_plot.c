#include "pipeline/report_plot.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "pipeline/report_view.h"

#define WIDTH 720.0

/* ---- size by role ----------------------------------------------------------------------------------- */

#define BAR_LEFT   140.0
#define BAR_RIGHT  90.0 /* room for the size behind the longest bar */
#define BAR_ROW    40.0
#define BAR_HEIGHT 13.0

static void put_bar(vise_buf *out, const char *class, double y, double bytes, double largest)
{
    double length = (WIDTH - BAR_LEFT - BAR_RIGHT) * bytes / largest;
    char text[VISE_VIEW_MAX];

    vise_buf_addf(out, "<rect class=\"%s\" x=\"%.0f\" y=\"%.1f\" width=\"%.1f\" height=\"%.0f\" rx=\"2\"/>",
                  class, BAR_LEFT, y, length < 1.0 ? 1.0 : length, BAR_HEIGHT);
    vise_buf_addf(out, "<text class=\"dim\" x=\"%.1f\" y=\"%.1f\">%s</text>\n", BAR_LEFT + length + 6.0,
                  y + 11.0, vise_view_size(bytes, text));
}

void vise_plot_sizes(const cJSON *json, vise_buf *out)
{
    const cJSON *size = vise_view(json, "size"), *shares = vise_view(size, "by_role"), *share;
    double largest = 0.0, y = 28.0;
    size_t rows = 0;

    if (!cJSON_IsArray(shares))
        return;
    cJSON_ArrayForEach(share, shares)
    {
        double before = vise_view_number(share, "before"), after = vise_view_number(share, "after");

        largest = fmax(largest, fmax(before, after)); /* fmax passes NaN by */
        rows++;
    }
    if (rows == 0 || !(largest > 0.0))
        return;
    vise_buf_addf(out,
                  "<h2>Size by role</h2>\n<figure><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
                  "aria-label=\"bytes by role, before and after\">\n",
                  WIDTH, y + BAR_ROW * (double)rows);
    vise_buf_addf(out,
                  "<rect class=\"before\" x=\"%.0f\" y=\"4\" width=\"12\" height=\"12\" rx=\"2\"/>"
                  "<text x=\"%.0f\" y=\"14\">before</text>"
                  "<rect class=\"after\" x=\"%.0f\" y=\"4\" width=\"12\" height=\"12\" rx=\"2\"/>"
                  "<text x=\"%.0f\" y=\"14\">after</text>\n",
                  BAR_LEFT, BAR_LEFT + 18.0, BAR_LEFT + 80.0, BAR_LEFT + 98.0);
    cJSON_ArrayForEach(share, shares)
    {
        const char *name = vise_view_text(share, "name");
        double before = vise_view_number(share, "before"), after = vise_view_number(share, "after");

        vise_buf_addf(out, "<text x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">", BAR_LEFT - 10.0, y + 20.0);
        vise_view_xml(out, name ? name : "");
        vise_buf_add_text(out, "</text>");
        if (before >= 0.0)
            put_bar(out, "before", y + 2.0, before, largest);
        if (after >= 0.0)
            put_bar(out, "after", y + 17.0, after, largest);
        y += BAR_ROW;
    }
    vise_buf_add_text(out, "</svg></figure>\n");
}

/* ---- error by weight -------------------------------------------------------------------------------- */

#define PLOT_LEFT   52.0
#define PLOT_RIGHT  12.0
#define PLOT_TOP    34.0
#define PLOT_HEIGHT 240.0
#define COLOURS     8

/* Roles in order of appearance; their place chooses the colour. */
typedef struct legend {
    const char *names[COLOURS];
    size_t count;
} legend;

static size_t colour_of(legend *roles, const char *role)
{
    for (size_t i = 0; i < roles->count; i++)
        if (strcmp(roles->names[i], role) == 0)
            return i;
    if (roles->count == COLOURS)
        return COLOURS - 1;
    roles->names[roles->count] = role;
    return roles->count++;
}

static void put_axis(vise_buf *out, double low, double high)
{
    double step = high - low > 40.0 ? 10.0 : 5.0;

    for (double value = low; value <= high + 0.1; value += step) {
        double y = PLOT_TOP + PLOT_HEIGHT * (high - value) / (high - low);

        vise_buf_addf(out, "<line class=\"grid\" x1=\"%.0f\" x2=\"%.0f\" y1=\"%.1f\" y2=\"%.1f\"/>",
                      PLOT_LEFT, WIDTH - PLOT_RIGHT, y, y);
        vise_buf_addf(out, "<text class=\"dim\" x=\"%.0f\" y=\"%.1f\" text-anchor=\"end\">%.0f dB</text>\n",
                      PLOT_LEFT - 6.0, y + 4.0, value);
    }
}

static void put_point(vise_buf *out, const cJSON *weight, size_t colour, double x, double y, double radius)
{
    const char *name = vise_view_text(weight, "name"), *scheme = vise_view_text(weight, "scheme");

    vise_buf_addf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" style=\"fill:var(--c%zu)\"><title>", x, y,
                  radius, colour);
    vise_view_xml(out, name ? name : "");
    vise_buf_add_text(out, " ");
    vise_view_xml(out, scheme ? scheme : "");
    vise_buf_addf(out, " %.2f dB</title></circle>\n", vise_view_number(weight, "sqnr_db"));
}

static void put_legend(vise_buf *out, const legend *roles)
{
    double x = PLOT_LEFT;

    for (size_t i = 0; i < roles->count; i++) {
        vise_buf_addf(
            out,
            "<circle cx=\"%.1f\" cy=\"12\" r=\"5\" style=\"fill:var(--c%zu)\"/><text x=\"%.1f\" y=\"16\">",
            x + 5.0, i, x + 14.0);
        vise_view_xml(out, i + 1 == COLOURS ? "other" : roles->names[i]);
        vise_buf_add_text(out, "</text>\n");
        x += 88.0;
    }
}

void vise_plot_errors(const cJSON *json, vise_buf *out)
{
    const cJSON *weights = vise_view(json, "weights"), *weight;
    double low = INFINITY, high = -INFINITY, x = 0.0, step;
    legend roles = {{NULL}, 0};
    size_t count = 0;

    if (!cJSON_IsArray(weights))
        return;
    cJSON_ArrayForEach(weight, weights)
    {
        double value = vise_view_number(weight, "sqnr_db");

        if (isnan(value) || fabs(value) > 1000.0)
            continue;
        low = fmin(low, value);
        high = fmax(high, value);
        count++;
    }
    if (count == 0)
        return;
    low = 5.0 * floor(low / 5.0);
    high = 5.0 * ceil(high / 5.0);
    if (high - low > 40.0) {
        low = 10.0 * floor(low / 10.0);
        high = 10.0 * ceil(high / 10.0);
    }
    if (high - low < 5.0)
        high = low + 5.0;
    step = (WIDTH - PLOT_LEFT - PLOT_RIGHT) / (double)count;
    vise_buf_addf(out,
                  "<h2>Error by weight</h2>\n<figure><svg viewBox=\"0 0 %.0f %.0f\" role=\"img\" "
                  "aria-label=\"signal-to-noise ratio of each weight\">\n",
                  WIDTH, PLOT_TOP + PLOT_HEIGHT + 30.0);
    put_axis(out, low, high);
    cJSON_ArrayForEach(weight, weights)
    {
        const char *role = vise_view_text(weight, "role");
        double value = vise_view_number(weight, "sqnr_db");

        if (isnan(value) || fabs(value) > 1000.0)
            continue;
        put_point(out, weight, colour_of(&roles, role ? role : "other"), PLOT_LEFT + step * (x + 0.5),
                  PLOT_TOP + PLOT_HEIGHT * (high - value) / (high - low), fmax(1.5, fmin(5.0, 0.4 * step)));
        x += 1.0;
    }
    put_legend(out, &roles);
    vise_buf_addf(out,
                  "<text class=\"dim\" x=\"%.0f\" y=\"%.0f\">weights in model order; higher is closer to the "
                  "original</text>\n</svg></figure>\n",
                  PLOT_LEFT, PLOT_TOP + PLOT_HEIGHT + 22.0);
}
