/* Paths and folders. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"

enum { WALK_OPEN_FOLDERS = 16 };

bool vise_path_exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0;
}

bool vise_path_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

bool vise_path_same(const char *a, const char *b)
{
    struct stat first, second;
    return stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev &&
           first.st_ino == second.st_ino;
}

const char *vise_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool vise_name_is_plain(const char *name)
{
    return *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

vise_status vise_path_join(const char *folder, const char *name, char **out, vise_error *err)
{
    size_t length = strlen(folder);
    const char *between = length == 0 || folder[length - 1] == '/' ? "" : "/";
    return vise_strfmt(out, err, "%s%s%s", folder, between, name);
}

/* The folder that holds path: "." for a plain name. Slashes at the end of path do not count. */
static vise_status parent_of(const char *path, char **out, vise_error *err)
{
    size_t length = strlen(path);
    while (length > 1 && path[length - 1] == '/')
        length--;
    while (length > 0 && path[length - 1] != '/')
        length--;
    while (length > 1 && path[length - 1] == '/')
        length--;
    return length == 0 ? vise_strdup(".", out, err) : vise_strfmt(out, err, "%.*s", (int)length, path);
}

static vise_status path_failed(const char *path, const char *what, int code, vise_error *err)
{
    vise_status status = VISE_EUSAGE;
    if (code == ENOSPC || code == EDQUOT || code == EIO || code == ENOMEM || code == EMFILE || code == ENFILE)
        status = VISE_ERESOURCE;
    return VISE_FAIL(err, status, "%s: %s: %s", path, what, strerror(code));
}

vise_status vise_folder_make(const char *path, vise_error *err)
{
    if (mkdir(path, 0777) != 0)
        return path_failed(path, "the folder cannot be made", errno, err);
    return VISE_OK;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

vise_status vise_folder_remove(const char *path, vise_error *err)
{
    /* Links are removed, never followed; other file systems mounted inside are left alone. */
    if (nftw(path, remove_one, WALK_OPEN_FOLDERS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0 && errno != ENOENT)
        return path_failed(path, "cannot be removed", errno, err);
    return VISE_OK;
}

vise_status vise_folder_sync(const char *path, vise_error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return path_failed(path, "the folder cannot be opened", errno, err);
    int failed = fsync(fd) != 0 ? errno : 0;
    close(fd);
    /* Some file systems know no fsync for folders: nothing to bring to the disk there. */
    if (failed && failed != EINVAL && failed != EROFS)
        return path_failed(path, "the folder cannot be brought to the disk", failed, err);
    return VISE_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

vise_status vise_folder_list(const char *path, char ***names, size_t *count, vise_error *err)
{
    DIR *folder = opendir(path);
    if (!folder)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: the folder cannot be read: %s", path, strerror(errno));
    void *list = NULL;
    size_t n = 0, capacity = 0;
    vise_status status = VISE_OK;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(folder);
        if (!entry) {
            if (errno != 0)
                status = VISE_FAIL(err, VISE_EFORMAT, "%s: the folder cannot be read: %s", path, strerror(errno));
            break;
        }
        /* stat follows links: a download cache holds nothing else. */
        struct stat info;
        if (fstatat(dirfd(folder), entry->d_name, &info, 0) != 0 || !S_ISREG(info.st_mode))
            continue;
        VISE_TRY_TO(done, vise_grow(&list, &capacity, n + 1, sizeof(char *), err));
        VISE_TRY_TO(done, vise_strdup(entry->d_name, (char **)list + n, err));
        n++;
    }
done:
    closedir(folder);
    if (status != VISE_OK) {
        for (size_t i = 0; i < n; i++)
            vise_free(((char **)list)[i]);
        vise_free(list);
        return status;
    }
    if (n > 0)
        qsort(list, n, sizeof(char *), compare_names);
    *names = list;
    *count = n;
    return VISE_OK;
}

static vise_status exists_already(const char *path, vise_error *err)
{
    return VISE_FAIL(err, VISE_EUSAGE, "%s: exists already; --force replaces it", path);
}

/* Not every file system knows the flags of renameat2. */
static bool flags_unknown(int code)
{
    return code == EINVAL || code == ENOSYS || code == EOPNOTSUPP;
}

static vise_status move_to_free_name(const char *from, const char *to, vise_error *err)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return VISE_OK;
    int code = errno;
    if (flags_unknown(code)) {
        /* Between the look and the rename another process may take the name: rename then replaces a file, but never a
         * folder with something in it. */
        if (vise_path_exists(to))
            return exists_already(to, err);
        if (rename(from, to) == 0)
            return VISE_OK;
        code = errno;
    }
    return code == EEXIST ? exists_already(to, err) : path_failed(to, "cannot be published", code, err);
}

/* Puts `from` at `to` and leaves what was there at `from`. */
static vise_status exchange(const char *from, const char *to, vise_error *err)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_EXCHANGE) == 0)
        return VISE_OK;
    if (!flags_unknown(errno))
        return path_failed(to, "cannot be replaced", errno, err);
    /* Three renames by way of a third name; for a moment there is nothing at `to`. */
    char *old = NULL;
    VISE_TRY(vise_strfmt(&old, err, "%s.%ld.old", to, (long)getpid()));
    vise_status status = VISE_OK;
    if (rename(to, old) != 0)
        status = path_failed(to, "cannot be replaced", errno, err);
    else if (rename(from, to) != 0) {
        int code = errno;
        if (rename(old, to) != 0)
            status = VISE_FAIL(err, VISE_ERESOURCE, "%s: cannot be replaced: %s; what was there is now %s", to,
                               strerror(code), old);
        else
            status = path_failed(to, "cannot be replaced", code, err);
    } else if (rename(old, from) != 0) {
        status = path_failed(old, "the replaced output cannot be removed", errno, err);
    }
    vise_free(old);
    return status;
}

vise_status vise_path_publish(const char *from, const char *to, bool replace, vise_error *err)
{
    char *parent = NULL;
    bool replaced = replace && vise_path_exists(to);
    VISE_TRY(parent_of(to, &parent, err));
    vise_status status = replaced ? exchange(from, to, err) : move_to_free_name(from, to, err);
    if (status == VISE_OK)
        status = vise_folder_sync(parent, err);
    if (status == VISE_OK && replaced)
        status = vise_folder_remove(from, err);
    vise_free(parent);
    return status;
}

vise_status vise_disk_free(const char *path, uint64_t *bytes, vise_error *err)
{
    struct statvfs info;
    char *at = NULL;
    VISE_TRY(vise_strdup(path, &at, err));
    vise_status status = VISE_OK;
    while (statvfs(at, &info) != 0) {
        int code = errno;
        char *parent = NULL;
        status = parent_of(at, &parent, err);
        if (status == VISE_OK && ((code != ENOENT && code != ENOTDIR) || strcmp(parent, at) == 0))
            status = path_failed(path, "the free disk space cannot be told", code, err);
        vise_free(at);
        at = parent;
        if (status != VISE_OK)
            break;
    }
    vise_free(at);
    if (status == VISE_OK)
        *bytes = (uint64_t)info.f_bavail * info.f_frsize;
    return status;
}
