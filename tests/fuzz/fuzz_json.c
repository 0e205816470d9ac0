/* JSON: whatever the bytes, parsing ends with a status; what parses survives edits, and an edit does what it says. */
#include "core/json.h"
#include "core/mem.h"
#include "tests/fuzz/fuzz.h"

static cJSON *parse(const char *text)
{
    cJSON *json = NULL;
    require(vise_json_parse("edited", text, strlen(text), &json, NULL) == VISE_OK);
    return json;
}

static void edit_and_back(const char *text, const cJSON *before)
{
    char *with = NULL, *without = NULL;
    int64_t value = 0;
    require(vise_json_edit("fuzz", text, "vise", "42", &with, NULL) == VISE_OK);
    cJSON *json = parse(with);
    require(vise_json_int("edited", json, "vise", true, 42, 42, &value, NULL) == VISE_OK);
    cJSON_Delete(json);
    require(vise_json_edit("fuzz", with, "vise", NULL, &without, NULL) == VISE_OK);
    json = parse(without);
    if (!cJSON_HasObjectItem(before, "vise"))
        require(cJSON_Compare(before, json, true));
    cJSON_Delete(json);
    vise_free(with);
    vise_free(without);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    cJSON *json = NULL;
    vise_error err = {0};
    vise_status status = vise_json_parse("fuzz", (const char *)data, size, &json, &err);
    if (status != VISE_OK) {
        require(status == VISE_EFORMAT && err.status == status && err.message[0] && !json);
        return 0;
    }
    if (cJSON_IsObject(json)) {
        char *text = malloc(size + 1);
        require(text != NULL);
        memcpy(text, data, size);
        text[size] = '\0';
        edit_and_back(text, json);
        free(text);
    }
    cJSON_Delete(json);
    return 0;
}
