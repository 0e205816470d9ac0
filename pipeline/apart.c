#include "pipeline/apart.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "formats/store.h"

vise_status vise_check_apart(const char *out, const char *path, vise_error *err)
{
    char written[PATH_MAX], read[PATH_MAX];
    if (!realpath(out, written) || !realpath(path, read))
        return VISE_OK;
    const size_t length = strlen(written);
    const bool same = vise_path_same(out, path);
    const bool holds = strncmp(written, read, length) == 0 && (read[length] == '/' || length == 1);
    if (!same && !holds)
        return VISE_OK;
    return VISE_FAIL(err, VISE_EUSAGE, "%s %s the input %s; vise never writes over what it reads", out,
                     same ? "is" : "holds", path);
}

vise_status vise_check_apart_from_model(const char *out, const vise_model *model, vise_error *err)
{
    const vise_source *source = vise_store_source(model->store);
    VISE_TRY(vise_check_apart(out, vise_source_path(source), err));
    for (size_t i = 0; i < vise_source_files(source); i++)
        VISE_TRY(vise_check_apart(out, vise_source_file_at(source, i)->path, err));
    return VISE_OK;
}
