#include "core/version.h"

/* Set by the build for this file alone, so that a new commit rebuilds one object. */
#ifndef VISE_COMMIT
#define VISE_COMMIT "unknown"
#endif

const char *vise_version(void)
{
    return "0.1.0";
}

const char *vise_commit(void)
{
    return VISE_COMMIT;
}
