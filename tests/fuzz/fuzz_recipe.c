/* Recipes: whatever the bytes, parsing ends with a status and a message; the canonical text of a recipe that parses
 * is a recipe, with itself as its canonical text. */
#include "convert/convert.h"
#include "core/mem.h"
#include "pipeline/recipe.h"
#include "prune/prune.h"
#include "quant/quant.h"
#include "tests/fuzz/fuzz.h"

static const vise_pass *const passes[] = {&vise_pass_convert, &vise_pass_quant, &vise_pass_prune, NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vise_request request, again;
    vise_arena *arena = NULL;
    vise_error err = {0};
    vise_status status;

    require(vise_arena_new(&arena, NULL) == VISE_OK);
    status = vise_recipe_parse("fuzz.json", (const char *)data, size, passes, arena, &request, &err);
    if (status != VISE_OK) {
        require(status == VISE_EUSAGE || status == VISE_EFORMAT);
        require(err.status == status && strncmp(err.message, "fuzz.json: ", 11) == 0);
    } else {
        const char *text = request.recipe_text;

        require(request.n_passes > 0 && request.input != NULL);
        require(vise_recipe_parse("again.json", text, strlen(text), passes, arena, &again, &err) == VISE_OK);
        require(strcmp(again.recipe_text, text) == 0);
    }
    vise_arena_free(arena);
    return 0;
}
