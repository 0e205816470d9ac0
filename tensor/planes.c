#include "tensor/planes.h"

#include <string.h>

#include "tensor/kernels.h"

int vise_planes_count(vise_plane_kind kind)
{
    static const int counts[VISE_PLANES_COUNT] = {
        [VISE_PLANES_BYTES] = 1, [VISE_PLANES_BF16] = 2, [VISE_PLANES_F16] = 2, [VISE_PLANES_F32] = 4};
    return counts[kind];
}

void vise_planes_split_ref(vise_plane_kind kind, const uint8_t *bytes, size_t n, uint8_t *const *planes)
{
    switch (kind) {
    case VISE_PLANES_BF16:
        for (size_t i = 0; i < n; i++) {
            uint8_t low = bytes[2 * i], high = bytes[2 * i + 1];
            planes[0][i] = (uint8_t)(high << 1 | low >> 7);
            planes[1][i] = (uint8_t)((high & 0x80) | (low & 0x7f));
        }
        break;
    case VISE_PLANES_F16:
        for (size_t i = 0; i < n; i++) {
            planes[0][i] = bytes[2 * i + 1];
            planes[1][i] = bytes[2 * i];
        }
        break;
    case VISE_PLANES_F32:
        for (size_t i = 0; i < n; i++) {
            uint8_t third = bytes[4 * i + 2], high = bytes[4 * i + 3];
            planes[0][i] = (uint8_t)(high << 1 | third >> 7);
            planes[1][i] = (uint8_t)((high & 0x80) | (third & 0x7f));
            planes[2][i] = bytes[4 * i + 1];
            planes[3][i] = bytes[4 * i];
        }
        break;
    default:
        memcpy(planes[0], bytes, n);
        break;
    }
}

void vise_planes_merge_ref(vise_plane_kind kind, const uint8_t *const *planes, size_t n, uint8_t *bytes)
{
    switch (kind) {
    case VISE_PLANES_BF16:
        for (size_t i = 0; i < n; i++) {
            uint8_t exponent = planes[0][i], rest = planes[1][i];
            bytes[2 * i] = (uint8_t)(exponent << 7 | (rest & 0x7f));
            bytes[2 * i + 1] = (uint8_t)((rest & 0x80) | exponent >> 1);
        }
        break;
    case VISE_PLANES_F16:
        for (size_t i = 0; i < n; i++) {
            bytes[2 * i] = planes[1][i];
            bytes[2 * i + 1] = planes[0][i];
        }
        break;
    case VISE_PLANES_F32:
        for (size_t i = 0; i < n; i++) {
            uint8_t exponent = planes[0][i], rest = planes[1][i];
            bytes[4 * i] = planes[3][i];
            bytes[4 * i + 1] = planes[2][i];
            bytes[4 * i + 2] = (uint8_t)(exponent << 7 | (rest & 0x7f));
            bytes[4 * i + 3] = (uint8_t)((rest & 0x80) | exponent >> 1);
        }
        break;
    default:
        memcpy(bytes, planes[0], n);
        break;
    }
}

void vise_planes_split(vise_plane_kind kind, const uint8_t *bytes, size_t n, uint8_t *const *planes)
{
    if (kind == VISE_PLANES_BYTES)
        memcpy(planes[0], bytes, n);
    else
        vise_tensor_kernels_now()->planes_split(kind, bytes, n, planes);
}

void vise_planes_merge(vise_plane_kind kind, const uint8_t *const *planes, size_t n, uint8_t *bytes)
{
    if (kind == VISE_PLANES_BYTES)
        memcpy(bytes, planes[0], n);
    else
        vise_tensor_kernels_now()->planes_merge(kind, planes, n, bytes);
}

/* ---- zero-compact -------------------------------------------------------------------------------------- */

size_t vise_count_nonzero_bytes_ref(const uint8_t *bytes, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += bytes[i] != 0;
    return count;
}

bool vise_any_behind_zero_ref(const uint8_t *gate, const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (gate[i] == 0 && bytes[i] != 0)
            return true;
    }
    return false;
}

void vise_compact_ref(const uint8_t *gate, const uint8_t *bytes, size_t n, uint8_t *compacted)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (gate[i])
            compacted[kept++] = bytes[i];
    }
}

void vise_expand_ref(const uint8_t *gate, const uint8_t *compacted, size_t kept, size_t n, uint8_t *bytes)
{
    size_t next = 0;
    for (size_t i = 0; i < n; i++)
        bytes[i] = gate[i] && next < kept ? compacted[next++] : 0;
}

size_t vise_planes_compact(const uint8_t *plane0, size_t n, int others, uint8_t *const *planes,
                           uint8_t *const *compacted)
{
    const vise_tensor_kernels *kernels = vise_tensor_kernels_now();
    for (int k = 0; k < others; k++) {
        if (kernels->any_behind_zero(plane0, planes[k], n))
            return SIZE_MAX;
    }
    for (int k = 0; k < others; k++)
        kernels->compact(plane0, planes[k], n, compacted[k]);
    return kernels->count_nonzero_bytes(plane0, n);
}

bool vise_planes_expand(const uint8_t *plane0, size_t n, size_t kept, int others,
                        const uint8_t *const *compacted, uint8_t *const *planes)
{
    const vise_tensor_kernels *kernels = vise_tensor_kernels_now();
    if (kernels->count_nonzero_bytes(plane0, n) != kept)
        return false;
    for (int k = 0; k < others; k++)
        kernels->expand(plane0, compacted[k], kept, n, planes[k]);
    return true;
}
