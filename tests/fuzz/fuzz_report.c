/* Reports: whatever JSON is rendered, every format ends with a status, and no text of it becomes markup in XML and
 * HTML. */
#include "core/json.h"
#include "pipeline/report.h"
#include "tests/fuzz/fuzz.h"

/* Tags open and close: nothing of the report's texts reaches the markup unescaped. */
static void check_brackets(const char *text)
{
    int open = 0;

    for (; *text; text++) {
        open += *text == '<';
        open -= *text == '>';
        require(open == 0 || open == 1);
    }
    require(open == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const vise_report_format formats[] = {VISE_REPORT_TEXT, VISE_REPORT_MD, VISE_REPORT_HTML,
                                                 VISE_REPORT_JUNIT};
    cJSON *json = NULL;

    if (vise_json_parse("fuzz.json", (const char *)data, size, &json, NULL) != VISE_OK)
        return 0;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        vise_error err = {0};
        vise_buf text;
        vise_status status;

        vise_buf_init(&text, (size_t)64 << 20);
        status = vise_report_render(json, "fuzz.json", formats[i], &text, &err);
        require(status == VISE_OK || (status == VISE_EFORMAT && err.message[0]));
        if (status == VISE_OK && (formats[i] == VISE_REPORT_HTML || formats[i] == VISE_REPORT_JUNIT))
            check_brackets(text.data);
        vise_buf_deinit(&text);
    }
    cJSON_Delete(json);
    return 0;
}
