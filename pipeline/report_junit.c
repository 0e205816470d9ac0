/* Goals as test cases, for the systems that show JUnit XML: a goal that is not met is a failure. */
#include "pipeline/report_view.h"

static size_t count_missed(const cJSON *goals)
{
    const cJSON *goal;
    size_t missed = 0;

    if (cJSON_IsArray(goals))
        cJSON_ArrayForEach(goal, goals) missed += !vise_view_true(goal, "met");
    return missed;
}

static void put_case(const cJSON *goal, const char *model, vise_buf *out)
{
    const char *name = vise_view_text(goal, "name");
    char value[VISE_VIEW_MAX], limit[VISE_VIEW_MAX];

    if (!name)
        name = "goal";
    vise_buf_add_text(out, "    <testcase classname=\"");
    vise_view_xml(out, model);
    vise_buf_add_text(out, "\" name=\"");
    vise_view_xml(out, name);
    if (vise_view_true(goal, "met")) {
        vise_buf_add_text(out, "\"/>\n");
        return;
    }
    vise_buf_add_text(out, "\">\n      <failure message=\"");
    vise_view_xml(out, name);
    vise_buf_addf(out, " is %s, ", vise_view_goal(name, vise_view_number(goal, "value"), value));
    vise_buf_addf(out, "the goal is %s %s\"/>\n    </testcase>\n",
                  vise_view_relation(name)[0] == '>' ? "at least" : "at most",
                  vise_view_goal(name, vise_view_number(goal, "limit"), limit));
}

void vise_report_junit(const cJSON *json, const char *name, vise_buf *out)
{
    const cJSON *goals = vise_view(json, "goals"), *goal;
    const char *model = vise_view_text(vise_view(json, "output"), "path");
    size_t tests = vise_view_count(json, "goals"), missed = count_missed(goals);

    if (!model)
        model = name ? name : "model";
    vise_buf_add_text(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    vise_buf_addf(out, "<testsuites tests=\"%zu\" failures=\"%zu\">\n", tests, missed);
    vise_buf_addf(out, "  <testsuite name=\"vise goals\" tests=\"%zu\" failures=\"%zu\" errors=\"0\">\n",
                  tests, missed);
    if (cJSON_IsArray(goals))
        cJSON_ArrayForEach(goal, goals) put_case(goal, model, out);
    vise_buf_add_text(out, "  </testsuite>\n</testsuites>\n");
}
