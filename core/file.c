#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"

/* One system call moves at most this much: Linux cuts at 2 GiB - 4 KiB. */
#define TRANSFER_MAX ((size_t)1 << 30)
enum { COPY_CHUNK = 1 << 20, TEMPORARY_TRIES = 100 };

/* off_t is signed: no file has a byte beyond this. */
#define OFFSET_MAX ((uint64_t)INT64_MAX)

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static vise_status open_failed(const char *path, int code, vise_error *err)
{
    switch (code) {
    case ENOENT:
        return VISE_FAIL(err, VISE_EFORMAT, "%s: no such file", path);
    case EACCES:
    case EPERM:
        return VISE_FAIL(err, VISE_EFORMAT, "%s: no permission to read it", path);
    case EMFILE:
    case ENFILE:
    case ENOMEM:
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: cannot be opened: %s", path, strerror(code));
    default:
        return VISE_FAIL(err, VISE_EFORMAT, "%s: cannot be opened: %s", path, strerror(code));
    }
}

/* Takes over fd. */
static vise_status init_file(int fd, const char *path, uint64_t bytes, vise_file *file, vise_error *err)
{
    *file = (vise_file){.fd = -1};
    vise_status status = vise_strdup(path, &file->path, err);
    if (status != VISE_OK) {
        close(fd);
        return status;
    }
    file->fd = fd;
    file->bytes = bytes;
    return VISE_OK;
}

vise_status vise_file_open(const char *path, vise_file *file, vise_error *err)
{
    *file = (vise_file){.fd = -1};
    /* Without O_NONBLOCK a named pipe would make open wait for a writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return open_failed(path, errno, err);
    struct stat info;
    if (fstat(fd, &info) != 0) {
        int code = errno;
        close(fd);
        return open_failed(path, code, err);
    }
    if (!S_ISREG(info.st_mode)) {
        close(fd);
        return VISE_FAIL(err, VISE_EFORMAT, S_ISDIR(info.st_mode) ? "%s: is a folder, not a file"
                                                                  : "%s: is not a regular file", path);
    }
    return init_file(fd, path, (uint64_t)info.st_size, file, err);
}

void vise_file_close(vise_file *file)
{
    if (file->fd >= 0)
        close(file->fd);
    vise_free(file->path);
    *file = (vise_file){.fd = -1};
}

vise_status vise_file_read_at(const vise_file *file, uint64_t offset, void *bytes, size_t n, vise_error *err)
{
    if (n > OFFSET_MAX || offset > OFFSET_MAX - n)
        return VISE_FAIL(err, VISE_EFORMAT, "%s: %zu bytes at offset %llu are beyond any file", file->path, n,
                         (unsigned long long)offset);
    unsigned char *to = bytes;
    for (size_t done = 0; done < n;) {
        size_t part = n - done < TRANSFER_MAX ? n - done : TRANSFER_MAX;
        ssize_t got = pread(file->fd, to + done, part, (off_t)(offset + done));
        if (got < 0) {
            if (errno == EINTR)
                continue;
            return VISE_FAIL(err, VISE_EFORMAT, "%s: reading failed at byte %llu: %s", file->path,
                             (unsigned long long)(offset + done), strerror(errno));
        }
        if (got == 0)
            return VISE_FAIL(err, VISE_EFORMAT, "%s: ends at byte %llu, but %zu bytes from byte %llu on are needed; "
                             "is the file cut short?", file->path, (unsigned long long)(offset + done), n,
                             (unsigned long long)offset);
        done += (size_t)got;
    }
    return VISE_OK;
}

static void advise(const vise_file *file, uint64_t offset, uint64_t n, int advice)
{
    if (n <= OFFSET_MAX && offset <= OFFSET_MAX - n)
        posix_fadvise(file->fd, (off_t)offset, (off_t)n, advice);
}

void vise_file_will_need(const vise_file *file, uint64_t offset, uint64_t n)
{
    advise(file, offset, n, POSIX_FADV_WILLNEED);
}

void vise_file_dont_need(const vise_file *file, uint64_t offset, uint64_t n)
{
    advise(file, offset, n, POSIX_FADV_DONTNEED);
}

vise_status vise_file_read_all(const char *path, size_t max, char **bytes, size_t *length, vise_error *err)
{
    vise_file file;
    void *text = NULL;
    VISE_TRY(vise_file_open(path, &file, err));
    vise_status status;
    if (file.bytes > max || file.bytes >= SIZE_MAX) {
        status = VISE_FAIL(err, VISE_EFORMAT, "%s: has %llu bytes, more than the %zu that are expected here", path,
                           (unsigned long long)file.bytes, max);
        goto done;
    }
    size_t n = (size_t)file.bytes;
    VISE_TRY_TO(done, vise_alloc(n + 1, &text, err));
    VISE_TRY_TO(done, vise_file_read_at(&file, 0, text, n, err));
    ((char *)text)[n] = '\0';
    *bytes = text;
    *length = n;
    text = NULL;
done:
    vise_free(text);
    vise_file_close(&file);
    return status;
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

/* Why something could not be created, written or renamed. */
static vise_status write_failed(const char *path, const char *what, int code, vise_error *err)
{
    switch (code) {
    case EACCES:
    case EPERM:
    case EROFS:
    case ENOENT:
    case ENOTDIR:
    case EISDIR:
    case EEXIST:
    case ENAMETOOLONG:
        return VISE_FAIL(err, VISE_EUSAGE, "%s: %s: %s", path, what, strerror(code));
    default:
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: %s: %s", path, what, strerror(code));
    }
}

static vise_status no_space(const char *path, uint64_t wanted, vise_error *err)
{
    char text[VISE_SIZE_TEXT_MAX];
    return VISE_FAIL(err, VISE_ERESOURCE, "%s: the disk is full: %s (%llu bytes) more were wanted", path,
                     vise_format_size(wanted, text), (unsigned long long)wanted);
}

vise_status vise_file_create(const char *path, vise_file *file, vise_error *err)
{
    *file = (vise_file){.fd = -1};
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return write_failed(path, "cannot be created", errno, err);
    return init_file(fd, path, 0, file, err);
}

vise_status vise_file_write_at(const vise_file *file, uint64_t offset, const void *bytes, size_t n, vise_error *err)
{
    if (n > OFFSET_MAX || offset > OFFSET_MAX - n)
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: %zu bytes at offset %llu are beyond any file", file->path, n,
                         (unsigned long long)offset);
    const unsigned char *from = bytes;
    for (size_t done = 0; done < n;) {
        size_t part = n - done < TRANSFER_MAX ? n - done : TRANSFER_MAX;
        ssize_t put = pwrite(file->fd, from + done, part, (off_t)(offset + done));
        if (put < 0) {
            if (errno == EINTR)
                continue;
            if (errno == ENOSPC || errno == EDQUOT)
                return no_space(file->path, n - done, err);
            return write_failed(file->path, "cannot be written", errno, err);
        }
        done += (size_t)put;
    }
    return VISE_OK;
}

vise_status vise_file_reserve(const vise_file *file, uint64_t bytes, vise_error *err)
{
    if (bytes == 0)
        return VISE_OK;
    if (bytes > OFFSET_MAX)
        return no_space(file->path, bytes, err);
    int failed;
    do
        failed = fallocate(file->fd, 0, 0, (off_t)bytes) != 0 ? errno : 0;
    while (failed == EINTR);
    switch (failed) {
    case 0:
    case EOPNOTSUPP: /* the file system cannot reserve; writing will tell */
    case ENOSYS:
        return VISE_OK;
    case ENOSPC:
    case EDQUOT:
        return no_space(file->path, bytes, err);
    default:
        return write_failed(file->path, "room cannot be reserved", failed, err);
    }
}

void vise_file_start_sync(const vise_file *file)
{
    (void)sync_file_range(file->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
}

vise_status vise_file_sync(const vise_file *file, vise_error *err)
{
    int failed;
    do
        failed = fsync(file->fd) != 0 ? errno : 0;
    while (failed == EINTR);
    if (failed == ENOSPC || failed == EDQUOT)
        return VISE_FAIL(err, VISE_ERESOURCE, "%s: the disk is full", file->path);
    if (failed)
        return write_failed(file->path, "cannot be brought to the disk", failed, err);
    return VISE_OK;
}

/* Creates a file beside path under a name that nobody else has, with the permissions any new file gets (mkstemp's
 * are for the owner alone). */
static vise_status create_sibling(const char *path, vise_file *file, vise_error *err)
{
    static _Atomic unsigned counter;
    for (int i = 0; i < TEMPORARY_TRIES; i++) {
        char *name = NULL;
        VISE_TRY(vise_strfmt(&name, err, "%s.%ld-%u.tmp", path, (long)getpid(), atomic_fetch_add(&counter, 1)));
        int fd = open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        int code = errno;
        vise_status status = VISE_OK;
        if (fd >= 0)
            status = init_file(fd, name, 0, file, err);
        else if (code != EEXIST)
            status = write_failed(name, "cannot be created", code, err);
        vise_free(name);
        if (fd >= 0 || status != VISE_OK)
            return status;
    }
    return VISE_FAIL(err, VISE_EUSAGE, "%s: no free name for a temporary file beside it", path);
}

vise_status vise_file_write_atomic(const char *path, const void *bytes, size_t length, vise_error *err)
{
    vise_file file;
    VISE_TRY(create_sibling(path, &file, err));
    vise_status status;
    char *parent = NULL;
    VISE_TRY_TO(fail, vise_file_write_at(&file, 0, bytes, length, err));
    VISE_TRY_TO(fail, vise_file_sync(&file, err));
    const char *base = vise_path_base(path);
    VISE_TRY_TO(fail, vise_strfmt(&parent, err, "%.*s", (int)(base - path), path));
    if (rename(file.path, path) != 0) {
        status = write_failed(path, "cannot be replaced", errno, err);
        goto fail;
    }
    status = vise_folder_sync(*parent ? parent : ".", err);
    vise_free(parent);
    vise_file_close(&file);
    return status;

fail:
    unlink(file.path);
    vise_free(parent);
    vise_file_close(&file);
    return status;
}

vise_status vise_file_copy(const char *from, const char *to, vise_error *err)
{
    if (vise_path_same(from, to))
        return VISE_FAIL(err, VISE_EUSAGE, "%s: cannot be copied onto itself", from);
    vise_file in, out = {.fd = -1};
    void *chunk = NULL;
    VISE_TRY(vise_file_open(from, &in, err));
    vise_status status;
    VISE_TRY_TO(done, vise_file_create(to, &out, err));
    VISE_TRY_TO(done, vise_alloc(COPY_CHUNK, &chunk, err));
    for (uint64_t at = 0; at < in.bytes;) {
        size_t n = in.bytes - at < COPY_CHUNK ? (size_t)(in.bytes - at) : COPY_CHUNK;
        VISE_TRY_TO(done, vise_file_read_at(&in, at, chunk, n, err));
        VISE_TRY_TO(done, vise_file_write_at(&out, at, chunk, n, err));
        at += n;
    }
    status = vise_file_sync(&out, err);
done:
    vise_free(chunk);
    vise_file_close(&out);
    vise_file_close(&in);
    return status;
}

vise_status vise_file_link(const char *from, const char *to, vise_error *err)
{
    return link(from, to) == 0 ? VISE_OK : vise_file_copy(from, to, err);
}

vise_status vise_file_temporary(const char *folder, vise_file *file, vise_error *err)
{
    *file = (vise_file){.fd = -1};
    if (!folder)
        folder = getenv("TMPDIR");
    if (!folder || !*folder)
        folder = "/tmp";
    char *name = NULL;
    VISE_TRY(vise_strfmt(&name, err, "%s/vise-XXXXXX", folder));
    /* A nameless file where the file system has them; else one whose name goes at once. */
    vise_status status = VISE_OK;
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) {
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0)
            unlink(name);
    }
    if (fd < 0)
        status = write_failed(folder, "no temporary file can be created there", errno, err);
    else
        status = init_file(fd, name, 0, file, err);
    vise_free(name);
    return status;
}
