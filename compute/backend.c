#include "compute/backend.h"

#include <stdio.h>
#include <string.h>

#include "compute/cpu_backend.h"
#include "core/event.h"
#include "core/file.h"

static const struct {
    const vise_network_kernels *network;
    const vise_value_kernels *values;
    const vise_solve_kernels *solve;
} kernels[VISE_CPU_LEVELS] = {
    [VISE_CPU_REF] = {&vise_network_kernels_ref, &vise_value_kernels_ref, &vise_solve_kernels_ref},
    [VISE_CPU_AVX2] = {&vise_network_kernels_avx2, &vise_value_kernels_avx2, &vise_solve_kernels_avx2},
    [VISE_CPU_AVX512] = {&vise_network_kernels_avx512, &vise_value_kernels_avx512, &vise_solve_kernels_avx512},
};

static vise_status open_cpu(vise_workers *workers, vise_backend **out, vise_error *err)
{
    vise_cpu_level level = vise_cpu();
    const vise_blas *blas;
    void *block;
    VISE_TRY(vise_blas_get(level, &blas, err));
    VISE_TRY(vise_calloc(1, sizeof(vise_cpu_backend), &block, err));
    vise_cpu_backend *cpu = block;
    *cpu = (vise_cpu_backend){
        .base = {.abi = VISE_BACKEND_ABI,
                 .name = "cpu",
                 .matrix = &vise_cpu_matrix_ops,
                 .factor = &vise_cpu_factor_ops,
                 .network = &vise_cpu_network_ops,
                 .workers = workers,
                 .state = cpu},
        .level = level,
        .blas = blas,
        .network = kernels[level].network,
        .values = kernels[level].values,
        .solve = kernels[level].solve,
    };
    snprintf(cpu->base.detail, sizeof cpu->base.detail, "%s, %s", blas->text, vise_cpu_level_name(level));
    *out = &cpu->base;
    return VISE_OK;
}

/* "cuda" or "cuda:N". */
static bool names_cuda(const char *device)
{
    if (strncmp(device, "cuda", 4) != 0)
        return false;
    const char *rest = device + 4;
    if (*rest == '\0')
        return true;
    return *rest == ':' && rest[1] != '\0' && strspn(rest + 1, "0123456789") == strlen(rest + 1);
}

vise_status vise_backend_open(const char *device, vise_workers *workers, vise_backend **out, vise_error *err)
{
    *out = NULL;
    if (names_cuda(device))
        return VISE_FAIL(
            err, VISE_EUNSUPPORTED,
            "device \"%s\" cannot be used: this build of vise has no CUDA plugin; use --device cpu", device);
    bool automatic = strcmp(device, "auto") == 0;
    if (!automatic && strcmp(device, "cpu") != 0)
        return VISE_FAIL(err, VISE_EUSAGE, "unknown device \"%s\": expected auto, cpu, cuda or cuda:N",
                         device);
    if (automatic && vise_path_exists("/dev/nvidiactl"))
        vise_info("running on the CPU: this machine has a GPU, but this build of vise has no CUDA plugin");
    return open_cpu(workers, out, err);
}

void vise_backend_close(vise_backend *backend)
{
    if (backend != NULL)
        vise_free(backend->state);
}
