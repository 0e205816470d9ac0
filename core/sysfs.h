/* Inside core: small text files of the kernel (/proc, /sys), where absence is an answer and not an error. */
#ifndef VISE_CORE_SYSFS_H
#define VISE_CORE_SYSFS_H

#include <stdbool.h>
#include <stddef.h>

/* Reads at most size - 1 bytes and NUL-terminates them. False when the file cannot be read or is empty. */
bool vise_sysfs_read(const char *path, char *text, size_t size);

#endif
