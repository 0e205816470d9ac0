/* Who listens to progress and notes: a bar on a terminal, plain lines otherwise, JSON lines for programs. All of it
 * goes to stderr. */
#ifndef VISE_CLI_PROGRESS_H
#define VISE_CLI_PROGRESS_H

#include <stdbool.h>

/* mode: "auto", "bar", "lines", "json" or "none". quiet leaves warnings alone. */
void vise_progress_start(const char *mode, bool quiet);
/* Ends the listening and leaves the cursor at the start of a clean line. */
void vise_progress_stop(void);

#endif
