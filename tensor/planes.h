/* Byte planes of floating-point weights, the transform in front of lossless coding: the exponent byte and the
 * sign+mantissa byte(s) of each element go to planes of their own, because exponents of weights carry under 3
 * bits of information and mantissas nearly 8. bf16 s|eeeeeeee|mmmmmmm becomes plane 0 = eeeeeeee, plane 1 =
 * s|mmmmmmm; f32 likewise with two low mantissa planes (2: bits 8 to 15, 3: bits 0 to 7); f16 splits into its
 * high byte (plane 0) and low byte.
 *
 * Zero-compact: elements that are +0.0 are told by their exponent byte (0 and all other planes 0), so the
 * other planes keep only the elements whose exponent byte is not zero - provided that no element with a zero
 * exponent byte has other bits set.
 */
#ifndef VISE_TENSOR_PLANES_H
#define VISE_TENSOR_PLANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* element_bytes: 2 with exponent split (bf16), 4 (f32), 2 without (f16), 1 (everything else: one plane, a
 * copy). */
typedef enum vise_plane_kind {
    VISE_PLANES_BYTES, /* one plane: the bytes as they are */
    VISE_PLANES_BF16,
    VISE_PLANES_F16,
    VISE_PLANES_F32,
    VISE_PLANES_COUNT
} vise_plane_kind;

int vise_planes_count(vise_plane_kind kind);

/* n elements from bytes into planes[0..count), each of n bytes; and back. Reference and fast give equal bits.
 */
void vise_planes_split_ref(vise_plane_kind kind, const uint8_t *bytes, size_t n, uint8_t *const *planes);
void vise_planes_split(vise_plane_kind kind, const uint8_t *bytes, size_t n, uint8_t *const *planes);
void vise_planes_merge_ref(vise_plane_kind kind, const uint8_t *const *planes, size_t n, uint8_t *bytes);
void vise_planes_merge(vise_plane_kind kind, const uint8_t *const *planes, size_t n, uint8_t *bytes);

/* Zero-compact of the planes behind plane 0. compact: returns the number of kept elements, or SIZE_MAX if an
 * element with a zero exponent byte has other bits (then nothing is changed); each compacted plane has room
 * for n bytes, whatever is kept. expand: `kept` elements are spread to n by plane 0; false if plane 0 has not
 * exactly `kept` non-zero bytes. In place is not allowed. */
size_t vise_planes_compact(const uint8_t *plane0, size_t n, int others, uint8_t *const *planes,
                           uint8_t *const *compacted);
bool vise_planes_expand(const uint8_t *plane0, size_t n, size_t kept, int others,
                        const uint8_t *const *compacted, uint8_t *const *planes);

#endif
