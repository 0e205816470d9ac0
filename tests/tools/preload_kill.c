/* Preloaded into vise: kills the process (SIGKILL) just before its VISE_KILL_AT-th call that changes the file system.
 * Walking that number from 1 upwards kills a run at every point where what is on the disk differs. VISE_KILL_COUNT
 * names a file that gets the number of calls when the process ends by itself. */
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static atomic_long calls;
static long kill_at;

__attribute__((constructor)) static void start(void)
{
    const char *text = getenv("VISE_KILL_AT");
    kill_at = text != NULL ? strtol(text, NULL, 10) : 0;
}

__attribute__((destructor)) static void stop(void)
{
    const char *path = getenv("VISE_KILL_COUNT");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "%ld\n", atomic_load(&calls));
    fclose(file);
}

static void count(void)
{
    if (atomic_fetch_add(&calls, 1) + 1 == kill_at)
        kill(getpid(), SIGKILL);
}

/* The next definition of the function that has this name. */
#define NEXT(name)                   \
    static __typeof__(name) *next;   \
    if (next == NULL)                \
        *(void **)&next = dlsym(RTLD_NEXT, #name)

ssize_t pwrite(int fd, const void *bytes, size_t n, off_t offset)
{
    NEXT(pwrite);
    count();
    return next(fd, bytes, n, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t n, off64_t offset)
{
    NEXT(pwrite64);
    count();
    return next(fd, bytes, n, offset);
}

int fsync(int fd)
{
    NEXT(fsync);
    count();
    return next(fd);
}

int rename(const char *from, const char *to)
{
    NEXT(rename);
    count();
    return next(from, to);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    NEXT(renameat2);
    count();
    return next(from_fd, from, to_fd, to, flags);
}

int unlink(const char *path)
{
    NEXT(unlink);
    count();
    return next(path);
}

int unlinkat(int fd, const char *path, int flags)
{
    NEXT(unlinkat);
    count();
    return next(fd, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
    NEXT(mkdir);
    count();
    return next(path, mode);
}

int open(const char *path, int flags, ...)
{
    NEXT(open);
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if ((flags & O_CREAT) != 0)
        count();
    return next(path, flags, mode);
}
