/* Preloaded into vise: the main thread sleeps VISE_STALL_MS milliseconds in every 16th of its reads, as a thread does
 * that the machine has no core for. What the others do meanwhile must stay within the memory bound. */
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

ssize_t pread(int fd, void *bytes, size_t n, off_t offset)
{
    static __typeof__(pread) *next;
    static long stall_ms;
    static unsigned reads;
    if (next == NULL) {
        const char *text = getenv("VISE_STALL_MS");
        stall_ms = text != NULL ? strtol(text, NULL, 10) : 0;
        *(void **)&next = dlsym(RTLD_NEXT, "pread");
    }
    if (gettid() == getpid() && ++reads % 16 == 0)
        nanosleep(&(struct timespec){stall_ms / 1000, stall_ms % 1000 * 1000000}, NULL);
    return next(fd, bytes, n, offset);
}
