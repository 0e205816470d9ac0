#include "compute/blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "compute/backend.h"
#include "core/event.h"

/* The values of cblas.h that are used here. */
enum { ROW_MAJOR = 101, NO_TRANS = 111, TRANS = 112, UPPER = 121, NON_UNIT = 131, LEFT = 141, RIGHT = 142 };

/* Debian and Ubuntu: libopenblas.so.0 is one of several builds, by the administrator's choice; the one for
 * threads has a folder of its own. Fedora: its name has a p. */
static const char *const library_names[] = {
    "libopenblas.so.0",
    "libopenblasp.so.0",
    "/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
    "libopenblas.so",
};

/* OpenBLAS kernels without AVX: never right on a processor that has it. */
static const char *const sse_cores[] = {
    "Prescott",  "Core2",  "Penryn", "Dunnington", "Nehalem",      "Atom",      "Katmai", "Coppermine",
    "Northwood", "Banias", "Athlon", "Opteron",    "Opteron_SSE3", "Barcelona", "Nano",   "Bobcat"};

static struct {
    void *handle;
    void (*sgemm)(int order, int trans_a, int trans_b, int m, int n, int k, float alpha, const float *a,
                  int lda, const float *b, int ldb, float beta, float *c, int ldc);
    void (*ssyrk)(int order, int uplo, int trans, int n, int k, float alpha, const float *a, int lda,
                  float beta, float *c, int ldc);
    void (*strmm)(int order, int side, int uplo, int trans, int diag, int m, int n, float alpha,
                  const float *a, int lda, float *b, int ldb);
    void (*set_num_threads)(int n);
    int (*get_parallel)(void);
    char *(*get_corename)(void);
    char *(*get_config)(void);
} lib;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static const vise_blas *current; /* what vise_blas_text tells; under the lock */
static vise_blas openblas;
static char openblas_text[96];

/* cblas takes int: a backend's matrices are tiles, and their leading dimensions are widths of layers. */
static void openblas_gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha,
                          const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                          int64_t ldc)
{
    lib.sgemm(ROW_MAJOR, trans_a ? TRANS : NO_TRANS, trans_b ? TRANS : NO_TRANS, (int)m, (int)n, (int)k,
              alpha, a, (int)lda, b, (int)ldb, beta, c, (int)ldc);
}

static void openblas_syrk(bool trans, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                          float *c, int64_t ldc)
{
    lib.ssyrk(ROW_MAJOR, UPPER, trans ? TRANS : NO_TRANS, (int)n, (int)k, alpha, a, (int)lda, 1.0f, c,
              (int)ldc);
}

static void openblas_trmm_right(bool trans, int64_t m, int64_t n, float alpha, const float *t, int64_t ldt,
                                float *b, int64_t ldb)
{
    lib.strmm(ROW_MAJOR, RIGHT, UPPER, trans ? TRANS : NO_TRANS, NON_UNIT, (int)m, (int)n, alpha, t, (int)ldt,
              b, (int)ldb);
}

static void openblas_trmm_left(int64_t m, int64_t n, const float *t, int64_t ldt, float *b, int64_t ldb)
{
    lib.strmm(ROW_MAJOR, LEFT, UPPER, NO_TRANS, NON_UNIT, (int)m, (int)n, 1.0f, t, (int)ldt, b, (int)ldb);
}

/* Takes the functions out of an open library; false when one is missing. */
static bool bind_functions(void *handle)
{
    const struct {
        const char *name;
        void *slot;
    } symbols[] = {
        {"cblas_sgemm", &lib.sgemm},
        {"cblas_ssyrk", &lib.ssyrk},
        {"cblas_strmm", &lib.strmm},
        {"openblas_set_num_threads", &lib.set_num_threads},
        {"openblas_get_parallel", &lib.get_parallel},
        {"openblas_get_corename", &lib.get_corename},
        {"openblas_get_config", &lib.get_config},
    };
    for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
        void *address = dlsym(handle, symbols[i].name);
        if (address == NULL)
            return false;
        /* ISO C has no cast from object to function pointer. */
        memcpy(symbols[i].slot, &address, sizeof address);
    }
    lib.handle = handle;
    return true;
}

/* The kernels for this processor. Zen 4 (AMD family 25 with AVX-512) executes 512-bit operations in two
 * halves, and there the AVX2 kernels of OpenBLAS are the faster ones: measured 108 against 94 GF/s for a
 * x b^T, 84 against 26 for trsm. */
static const char *core_for_level(vise_cpu_level level)
{
    if (level == VISE_CPU_AVX512 && !__builtin_cpu_is("amdfam19h"))
        return "SkylakeX";
    return "Haswell";
}

/* Sets an environment variable for the time of the load. previous must hold 128 bytes and is "" when it
 * was unset. */
static void borrow_variable(const char *name, const char *value, char *previous, size_t size)
{
    const char *old = getenv(name);
    snprintf(previous, size, "%s", old != NULL ? old : "");
    setenv(name, value, 1);
}

static void restore_variable(const char *name, const char *previous)
{
    if (previous[0] != '\0')
        setenv(name, previous, 1);
    else
        unsetenv(name);
}

/* Opens the first library that may be called from several threads: a build for POSIX threads. Others keep their
 * packing buffers without locks, and results come out wrong. *unsafe: such a one was found. */
static bool open_library(bool *unsafe)
{
    enum { POSIX_THREADS = 1 }; /* of openblas_get_parallel; 0 is a serial build, 2 one for OpenMP */
    for (size_t i = 0; i < sizeof library_names / sizeof library_names[0]; i++) {
        void *handle = dlopen(library_names[i], RTLD_NOW | RTLD_LOCAL);
        if (handle == NULL)
            continue;
        if (bind_functions(handle)) {
            if (lib.get_parallel() == POSIX_THREADS)
                return true;
            *unsafe = true;
        }
        dlclose(handle);
        lib.handle = NULL;
    }
    return false;
}

static void describe_library(vise_cpu_level level)
{
    /* "OpenBLAS 0.3.21 DYNAMIC_ARCH ..." */
    char version[24] = "";
    if (sscanf(lib.get_config(), "OpenBLAS %23s", version) != 1)
        version[0] = '\0';
    const char *core = lib.get_corename();
    snprintf(openblas_text, sizeof openblas_text, "OpenBLAS %s%s%s", version, version[0] != '\0' ? " " : "",
             core);
    for (size_t i = 0; i < sizeof sse_cores / sizeof sse_cores[0]; i++)
        if (strcasecmp(core, sse_cores[i]) == 0)
            vise_warn("OpenBLAS uses its %s kernels, which are several times slower than this processor (%s) "
                      "allows; unset OPENBLAS_CORETYPE or set it to %s",
                      core, vise_cpu_level_name(level), core_for_level(level));
}

static vise_status load(vise_cpu_level level, vise_error *err)
{
    char threads_before[128];
    char core_before[128];
    const char *core_set = getenv("OPENBLAS_CORETYPE");
    bool choose_core = core_set == NULL || core_set[0] == '\0';
    bool unsafe = false;

    borrow_variable("OPENBLAS_NUM_THREADS", "1", threads_before, sizeof threads_before);
    if (choose_core)
        borrow_variable("OPENBLAS_CORETYPE", core_for_level(level), core_before, sizeof core_before);
    bool found = open_library(&unsafe);
    if (choose_core)
        restore_variable("OPENBLAS_CORETYPE", core_before);
    restore_variable("OPENBLAS_NUM_THREADS", threads_before);

    if (!found && unsafe)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "the only OpenBLAS found is a serial or OpenMP build, which several threads cannot call at "
            "once: install libopenblas0-pthread, or run with VISE_CPU=ref, which needs none and is slow");
    if (!found)
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "OpenBLAS (libopenblas.so.0) was not found: install libopenblas0-pthread (Debian, Ubuntu) or "
            "openblas-threads (Fedora), or run with VISE_CPU=ref, which needs none and is slow");
    lib.set_num_threads(1);
    describe_library(level);
    openblas =
        (vise_blas){openblas_gemm, openblas_syrk, openblas_trmm_right, openblas_trmm_left, openblas_text};
    return VISE_OK;
}

vise_status vise_blas_get(vise_cpu_level level, const vise_blas **out, vise_error *err)
{
    vise_status status = VISE_OK;
    pthread_mutex_lock(&lock);
    if (level != VISE_CPU_REF && lib.handle == NULL)
        status = load(level, err);
    if (status == VISE_OK) {
        current = level == VISE_CPU_REF ? &vise_blas_reference : &openblas;
        *out = current;
    }
    pthread_mutex_unlock(&lock);
    return status;
}

const char *vise_blas_text(void)
{
    pthread_mutex_lock(&lock);
    const char *text = current != NULL ? current->text : "none";
    pthread_mutex_unlock(&lock);
    return text;
}
