/* Files: exact reads, atomic writes, folders that appear whole or not at all. Paths are UTF-8 byte strings. */
#ifndef VISE_CORE_FILE_H
#define VISE_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/err.h"

typedef struct vise_file {
    int fd;         /* -1 when closed */
    uint64_t bytes; /* size when opened */
    char *path;     /* owned */
} vise_file;

/* Reading. Failures are VISE_EFORMAT and name the path (missing, a folder, no permission, shorter than asked). */
VISE_MUST_USE vise_status vise_file_open(const char *path, vise_file *file, vise_error *err);
void vise_file_close(vise_file *file);
/* Reads exactly n bytes at offset; thread-safe. */
VISE_MUST_USE vise_status vise_file_read_at(const vise_file *file, uint64_t offset, void *bytes, size_t n,
                                            vise_error *err);
/* Asks the kernel to start reading a range, or to forget it. Advice only. */
void vise_file_will_need(const vise_file *file, uint64_t offset, uint64_t n);
void vise_file_dont_need(const vise_file *file, uint64_t offset, uint64_t n);
/* The whole file, NUL-terminated, freed with vise_free; larger than max is VISE_EFORMAT. */
VISE_MUST_USE vise_status vise_file_read_all(const char *path, size_t max, char **bytes, size_t *length,
                                             vise_error *err);

/* Writing. Failures are VISE_ERESOURCE (disk full names the path and the bytes wanted) or VISE_EUSAGE (no permission,
 * no such folder). */
VISE_MUST_USE vise_status vise_file_create(const char *path, vise_file *file, vise_error *err);
VISE_MUST_USE vise_status vise_file_write_at(const vise_file *file, uint64_t offset, const void *bytes, size_t n,
                                             vise_error *err);
VISE_MUST_USE vise_status vise_file_reserve(const vise_file *file, uint64_t bytes, vise_error *err); /* fallocate */
/* Asks the kernel to start writing the file's dirty pages to the disk, so that a later sync finds little left.
 * Advice. */
void vise_file_start_sync(const vise_file *file);
VISE_MUST_USE vise_status vise_file_sync(const vise_file *file, vise_error *err);
/* Temporary sibling, fsync, rename, fsync of the folder. */
VISE_MUST_USE vise_status vise_file_write_atomic(const char *path, const void *bytes, size_t length,
                                                 vise_error *err);
VISE_MUST_USE vise_status vise_file_copy(const char *from, const char *to, vise_error *err); /* with fsync */
/* A second name for the same file; a copy where the file system has no links. */
VISE_MUST_USE vise_status vise_file_link(const char *from, const char *to, vise_error *err);
/* An unlinked temporary file in folder (NULL: $TMPDIR or /tmp), for spilled activations. */
VISE_MUST_USE vise_status vise_file_temporary(const char *folder, vise_file *file, vise_error *err);

/* Paths and folders. */
bool vise_path_exists(const char *path);
bool vise_path_is_folder(const char *path);
bool vise_path_same(const char *a, const char *b);   /* both exist and are one file */
const char *vise_path_base(const char *path);        /* after the last slash */
/* A name that stays inside its folder: not empty, no slash, not "." or "..". */
bool vise_name_is_plain(const char *name);
VISE_MUST_USE vise_status vise_path_join(const char *folder, const char *name, char **out, vise_error *err);
VISE_MUST_USE vise_status vise_folder_make(const char *path, vise_error *err);       /* parents must exist */
VISE_MUST_USE vise_status vise_folder_remove(const char *path, vise_error *err);     /* recursively; missing is fine */
VISE_MUST_USE vise_status vise_folder_sync(const char *path, vise_error *err);
/* Sorted names of regular files in the folder (not recursive); free each and the array with vise_free. */
VISE_MUST_USE vise_status vise_folder_list(const char *path, char ***names, size_t *count, vise_error *err);
/* Moves `from` (file or folder) to the final name `to`, atomically, and syncs the parent. With replace an existing
 * `to` is exchanged and then removed; without, it is VISE_EUSAGE. */
VISE_MUST_USE vise_status vise_path_publish(const char *from, const char *to, bool replace, vise_error *err);
/* Free bytes of the file system that holds path (or its nearest existing parent). */
VISE_MUST_USE vise_status vise_disk_free(const char *path, uint64_t *bytes, vise_error *err);

#endif
