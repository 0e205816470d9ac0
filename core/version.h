/* Which vise this is. */
#ifndef VISE_CORE_VERSION_H
#define VISE_CORE_VERSION_H

const char *vise_version(void); /* "0.1.0" */
const char *vise_commit(void);  /* the abbreviated commit it was built from, "-dirty" with changes, or "unknown" */

#endif
