/* Chat templates: the bytes up to the first NUL are the template, the rest is a line with messages (without one: a
 * conversation of two). Whatever they are, reading and rendering end with a status, soon, and with UTF-8. */
#include "core/json.h"
#include "tests/fuzz/fuzz.h"
#include "text/jinja.h"
#include "text/unicode.h"

#define OUTPUT_MAX ((size_t)1 << 16)

static void check_error(vise_status status, const vise_error *err)
{
    require(status == VISE_EFORMAT || status == VISE_EUNSUPPORTED);
    require(err->status == status && err->message[0] != '\0');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char plain[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\" h\xc3\xa9llo \"},{\"role\":\"assistant\","
        "\"content\":\"x\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":{\"a\":[1.5,"
        "null]}}}]}],\"tools\":null,\"bos_token\":\"<s>\",\"add_generation_prompt\":true}";
    const uint8_t *stop = size > 0 ? memchr(data, 0, size) : NULL;
    size_t length = stop != NULL ? (size_t)(stop - data) : size;
    vise_jinja *template;
    vise_error err = {0};
    vise_status status = vise_jinja_parse("fuzz", (const char *)data, length, &template, &err);
    cJSON *context;
    vise_buf out;

    if (status != VISE_OK) {
        check_error(status, &err);
        return 0;
    }
    status = stop != NULL ? vise_json_parse("line", (const char *)stop + 1, size - length - 1, &context, NULL)
                          : vise_json_parse("line", plain, sizeof plain - 1, &context, NULL);
    if (status == VISE_OK) {
        vise_buf_init(&out, OUTPUT_MAX);
        status = vise_jinja_render(template, context, &out, &err);
        if (status != VISE_OK)
            check_error(status, &err);
        require(out.length <= OUTPUT_MAX);
        if (out.length > 0)
            require(vise_utf8_valid(out.data, out.length, NULL) == out.length);
        vise_buf_deinit(&out);
        cJSON_Delete(context);
    }
    vise_jinja_free(template);
    return 0;
}
