/* Byte planes with AVX2 and AVX-512. Remainders go through the references. Compaction and expansion take
 * eight elements at a time through pext and pdep (BMI2), or 64 through AVX-512 VBMI2 where the processor has
 * it: it is no part of the AVX-512 level, so it is asked for. */
#include <immintrin.h>
#include <string.h>

#include "tensor/kernels.h"

#define VISE_TARGET_VBMI2                                                                                    \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,avx2,bmi,bmi2,"         \
                          "popcnt")))

/* The planes from element i on, for the remainder. */
VISE_INLINE void split_rest(vise_plane_kind kind, const uint8_t *bytes, size_t i, size_t n,
                            uint8_t *const *planes)
{
    uint8_t *rest[4];
    int count = vise_planes_count(kind);
    size_t element_bytes = kind == VISE_PLANES_F32 ? 4 : 2;
    for (int k = 0; k < count; k++)
        rest[k] = planes[k] + i;
    vise_planes_split_ref(kind, bytes + element_bytes * i, n - i, rest);
}

VISE_INLINE void merge_rest(vise_plane_kind kind, const uint8_t *const *planes, size_t i, size_t n,
                            uint8_t *bytes)
{
    const uint8_t *rest[4];
    int count = vise_planes_count(kind);
    size_t element_bytes = kind == VISE_PLANES_F32 ? 4 : 2;
    for (int k = 0; k < count; k++)
        rest[k] = planes[k] + i;
    vise_planes_merge_ref(kind, rest, n - i, bytes + element_bytes * i);
}

/* ---- AVX2 ---------------------------------------------------------------------------------------------- */

VISE_INLINE VISE_TARGET_AVX2 __m256i load256(const uint8_t *bytes)
{
    return _mm256_loadu_si256((const __m256i *)bytes);
}

VISE_INLINE VISE_TARGET_AVX2 void store256(uint8_t *bytes, __m256i v)
{
    _mm256_storeu_si256((__m256i *)bytes, v);
}

/* 16-bit lanes with values below 256, in order. */
VISE_INLINE VISE_TARGET_AVX2 __m256i narrow256(__m256i a, __m256i b)
{
    return _mm256_permute4x64_epi64(_mm256_packus_epi16(a, b), 0xd8);
}

/* s|eeeeeeee|mmmmmmm in 16-bit lanes: the exponent; sign and mantissa. */
VISE_INLINE VISE_TARGET_AVX2 __m256i exponents256(__m256i v)
{
    return _mm256_and_si256(_mm256_srli_epi16(v, 7), _mm256_set1_epi16(0xff));
}

VISE_INLINE VISE_TARGET_AVX2 __m256i rests256(__m256i v)
{
    return _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi16(v, 8), _mm256_set1_epi16(0x80)),
                           _mm256_and_si256(v, _mm256_set1_epi16(0x7f)));
}

VISE_INLINE VISE_TARGET_AVX2 __m256i join256(__m256i exponents, __m256i rests)
{
    __m256i sign = _mm256_slli_epi16(_mm256_and_si256(rests, _mm256_set1_epi16(0x80)), 8);
    __m256i mantissa = _mm256_and_si256(rests, _mm256_set1_epi16(0x7f));
    return _mm256_or_si256(_mm256_or_si256(sign, mantissa), _mm256_slli_epi16(exponents, 7));
}

VISE_INLINE VISE_TARGET_AVX2 __m256i widen256(const uint8_t *bytes)
{
    return _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)bytes));
}

VISE_TARGET_AVX2 void vise_planes_split_avx2(vise_plane_kind kind, const uint8_t *bytes, size_t n,
                                             uint8_t *const *planes)
{
    const __m256i low_bytes = _mm256_set1_epi16(0xff), low_words = _mm256_set1_epi32(0xffff);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        if (kind == VISE_PLANES_BF16) {
            __m256i a = load256(bytes + 2 * i), b = load256(bytes + 2 * i + 32);
            store256(planes[0] + i, narrow256(exponents256(a), exponents256(b)));
            store256(planes[1] + i, narrow256(rests256(a), rests256(b)));
        } else if (kind == VISE_PLANES_F16) {
            __m256i a = load256(bytes + 2 * i), b = load256(bytes + 2 * i + 32);
            store256(planes[0] + i, narrow256(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8)));
            store256(planes[1] + i,
                     narrow256(_mm256_and_si256(a, low_bytes), _mm256_and_si256(b, low_bytes)));
        } else {
            __m256i top[2], bottom[2]; /* halves of the 32-bit words, 16 each, in order */
            for (int k = 0; k < 2; k++) {
                __m256i a = load256(bytes + 4 * i + 64 * (size_t)k),
                        b = load256(bytes + 4 * i + 64 * (size_t)k + 32);
                __m256i t = _mm256_packus_epi32(_mm256_srli_epi32(a, 16), _mm256_srli_epi32(b, 16));
                __m256i l =
                    _mm256_packus_epi32(_mm256_and_si256(a, low_words), _mm256_and_si256(b, low_words));
                top[k] = _mm256_permute4x64_epi64(t, 0xd8);
                bottom[k] = _mm256_permute4x64_epi64(l, 0xd8);
            }
            store256(planes[0] + i, narrow256(exponents256(top[0]), exponents256(top[1])));
            store256(planes[1] + i, narrow256(rests256(top[0]), rests256(top[1])));
            store256(planes[2] + i,
                     narrow256(_mm256_srli_epi16(bottom[0], 8), _mm256_srli_epi16(bottom[1], 8)));
            store256(planes[3] + i, narrow256(_mm256_and_si256(bottom[0], low_bytes),
                                              _mm256_and_si256(bottom[1], low_bytes)));
        }
    }
    split_rest(kind, bytes, i, n, planes);
}

VISE_TARGET_AVX2 void vise_planes_merge_avx2(vise_plane_kind kind, const uint8_t *const *planes, size_t n,
                                             uint8_t *bytes)
{
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i first = widen256(planes[0] + i), second = widen256(planes[1] + i);
        if (kind == VISE_PLANES_BF16) {
            store256(bytes + 2 * i, join256(first, second));
        } else if (kind == VISE_PLANES_F16) {
            store256(bytes + 2 * i, _mm256_or_si256(_mm256_slli_epi16(first, 8), second));
        } else {
            __m256i top = join256(first, second);
            __m256i bottom =
                _mm256_or_si256(_mm256_slli_epi16(widen256(planes[2] + i), 8), widen256(planes[3] + i));
            __m256i a = _mm256_unpacklo_epi16(bottom, top), b = _mm256_unpackhi_epi16(bottom, top);
            store256(bytes + 4 * i, _mm256_permute2x128_si256(a, b, 0x20));
            store256(bytes + 4 * i + 32, _mm256_permute2x128_si256(a, b, 0x31));
        }
    }
    merge_rest(kind, planes, i, n, bytes);
}

VISE_TARGET_AVX2 size_t vise_count_nonzero_bytes_avx2(const uint8_t *bytes, size_t n)
{
    size_t i = 0, zeros = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i zero = _mm256_cmpeq_epi8(load256(bytes + i), _mm256_setzero_si256());
        zeros += (unsigned)__builtin_popcount((unsigned)_mm256_movemask_epi8(zero));
    }
    return i - zeros + vise_count_nonzero_bytes_ref(bytes + i, n - i);
}

VISE_TARGET_AVX2 bool vise_any_behind_zero_avx2(const uint8_t *gate, const uint8_t *bytes, size_t n)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i closed = _mm256_cmpeq_epi8(load256(gate + i), _mm256_setzero_si256());
        if (!_mm256_testz_si256(closed, load256(bytes + i)))
            return true;
    }
    return vise_any_behind_zero_ref(gate + i, bytes + i, n - i);
}

/* 0xff where the byte of the gate is not zero. */
VISE_INLINE VISE_TARGET_AVX2 uint64_t open8(const uint8_t *gate)
{
    __m128i closed = _mm_cmpeq_epi8(_mm_loadl_epi64((const __m128i *)gate), _mm_setzero_si128());
    return ~(uint64_t)_mm_cvtsi128_si64(closed);
}

VISE_TARGET_AVX2 void vise_compact_avx2(const uint8_t *gate, const uint8_t *bytes, size_t n,
                                        uint8_t *compacted)
{
    size_t i = 0, kept = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t open = open8(gate + i), block;
        memcpy(&block, bytes + i, sizeof block);
        block = _pext_u64(block, open);
        memcpy(compacted + kept, &block, sizeof block); /* kept <= i: stays within n bytes */
        kept += (unsigned)__builtin_popcountll(open) / 8;
    }
    vise_compact_ref(gate + i, bytes + i, n - i, compacted + kept);
}

VISE_TARGET_AVX2 void vise_expand_avx2(const uint8_t *gate, const uint8_t *compacted, size_t kept, size_t n,
                                       uint8_t *bytes)
{
    size_t i = 0, next = 0;
    for (; i + 8 <= n && next + 8 <= kept; i += 8) {
        uint64_t open = open8(gate + i), block;
        memcpy(&block, compacted + next, sizeof block);
        block = _pdep_u64(block, open);
        memcpy(bytes + i, &block, sizeof block);
        next += (unsigned)__builtin_popcountll(open) / 8;
    }
    vise_expand_ref(gate + i, compacted + next, kept - next, n - i, bytes + i);
}

/* ---- AVX-512 ------------------------------------------------------------------------------------------- */

VISE_INLINE VISE_TARGET_AVX512 __m512i exponents512(__m512i v)
{
    return _mm512_srli_epi16(v, 7); /* narrowing drops the sign */
}

VISE_INLINE VISE_TARGET_AVX512 __m512i rests512(__m512i v)
{
    /* (v >> 8 & 0x80) | (v & 0x7f), bit by bit: 0x7f chooses v */
    return _mm512_ternarylogic_epi32(_mm512_set1_epi16(0x7f), v, _mm512_srli_epi16(v, 8), 0xca);
}

VISE_INLINE VISE_TARGET_AVX512 __m512i join512(__m512i exponents, __m512i rests)
{
    __m512i sign = _mm512_slli_epi16(_mm512_and_si512(rests, _mm512_set1_epi16(0x80)), 8);
    __m512i mantissa = _mm512_and_si512(rests, _mm512_set1_epi16(0x7f));
    return _mm512_ternarylogic_epi32(sign, mantissa, _mm512_slli_epi16(exponents, 7), 0xfe);
}

VISE_INLINE VISE_TARGET_AVX512 __m512i widen512(const uint8_t *bytes)
{
    return _mm512_cvtepu8_epi16(load256(bytes));
}

VISE_TARGET_AVX512 void vise_planes_split_avx512(vise_plane_kind kind, const uint8_t *bytes, size_t n,
                                                 uint8_t *const *planes)
{
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        if (kind == VISE_PLANES_BF16) {
            __m512i v = _mm512_loadu_si512(bytes + 2 * i);
            store256(planes[0] + i, _mm512_cvtepi16_epi8(exponents512(v)));
            store256(planes[1] + i, _mm512_cvtepi16_epi8(rests512(v)));
        } else if (kind == VISE_PLANES_F16) {
            __m512i v = _mm512_loadu_si512(bytes + 2 * i);
            store256(planes[0] + i, _mm512_cvtepi16_epi8(_mm512_srli_epi16(v, 8)));
            store256(planes[1] + i, _mm512_cvtepi16_epi8(v));
        } else {
            __m512i a = _mm512_loadu_si512(bytes + 4 * i), b = _mm512_loadu_si512(bytes + 4 * i + 64);
            __m256i top_a = _mm512_cvtepi32_epi16(_mm512_srli_epi32(a, 16)),
                    bottom_a = _mm512_cvtepi32_epi16(a);
            __m256i top_b = _mm512_cvtepi32_epi16(_mm512_srli_epi32(b, 16)),
                    bottom_b = _mm512_cvtepi32_epi16(b);
            __m512i top = _mm512_inserti64x4(_mm512_castsi256_si512(top_a), top_b, 1);
            __m512i bottom = _mm512_inserti64x4(_mm512_castsi256_si512(bottom_a), bottom_b, 1);
            store256(planes[0] + i, _mm512_cvtepi16_epi8(exponents512(top)));
            store256(planes[1] + i, _mm512_cvtepi16_epi8(rests512(top)));
            store256(planes[2] + i, _mm512_cvtepi16_epi8(_mm512_srli_epi16(bottom, 8)));
            store256(planes[3] + i, _mm512_cvtepi16_epi8(bottom));
        }
    }
    split_rest(kind, bytes, i, n, planes);
}

VISE_TARGET_AVX512 void vise_planes_merge_avx512(vise_plane_kind kind, const uint8_t *const *planes, size_t n,
                                                 uint8_t *bytes)
{
    const __m512i low_order = _mm512_setr_epi64(0, 1, 8, 9, 2, 3, 10, 11);
    const __m512i high_order = _mm512_setr_epi64(4, 5, 12, 13, 6, 7, 14, 15);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512i first = widen512(planes[0] + i), second = widen512(planes[1] + i);
        if (kind == VISE_PLANES_BF16) {
            _mm512_storeu_si512(bytes + 2 * i, join512(first, second));
        } else if (kind == VISE_PLANES_F16) {
            _mm512_storeu_si512(bytes + 2 * i, _mm512_or_si512(_mm512_slli_epi16(first, 8), second));
        } else {
            __m512i top = join512(first, second);
            __m512i bottom =
                _mm512_or_si512(_mm512_slli_epi16(widen512(planes[2] + i), 8), widen512(planes[3] + i));
            __m512i a = _mm512_unpacklo_epi16(bottom, top), b = _mm512_unpackhi_epi16(bottom, top);
            _mm512_storeu_si512(bytes + 4 * i, _mm512_permutex2var_epi64(a, low_order, b));
            _mm512_storeu_si512(bytes + 4 * i + 64, _mm512_permutex2var_epi64(a, high_order, b));
        }
    }
    merge_rest(kind, planes, i, n, bytes);
}

VISE_TARGET_AVX512 size_t vise_count_nonzero_bytes_avx512(const uint8_t *bytes, size_t n)
{
    size_t i = 0, count = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i v = _mm512_loadu_si512(bytes + i);
        count += (unsigned)__builtin_popcountll(_mm512_test_epi8_mask(v, v));
    }
    return count + vise_count_nonzero_bytes_ref(bytes + i, n - i);
}

VISE_TARGET_AVX512 bool vise_any_behind_zero_avx512(const uint8_t *gate, const uint8_t *bytes, size_t n)
{
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i g = _mm512_loadu_si512(gate + i), v = _mm512_loadu_si512(bytes + i);
        if (_mm512_mask_test_epi8_mask(_mm512_testn_epi8_mask(g, g), v, v))
            return true;
    }
    return vise_any_behind_zero_ref(gate + i, bytes + i, n - i);
}

VISE_TARGET_VBMI2 static void compact_vbmi2(const uint8_t *gate, const uint8_t *bytes, size_t n,
                                            uint8_t *compacted)
{
    size_t i = 0, kept = 0;
    for (; i + 64 <= n; i += 64) {
        __m512i g = _mm512_loadu_si512(gate + i);
        __mmask64 open = _mm512_test_epi8_mask(g, g);
        /* Through a register: compressing to memory is slow on some processors. kept <= i: stays within n
         * bytes. */
        _mm512_storeu_si512(compacted + kept,
                            _mm512_maskz_compress_epi8(open, _mm512_loadu_si512(bytes + i)));
        kept += (unsigned)__builtin_popcountll(open);
    }
    vise_compact_avx2(gate + i, bytes + i, n - i, compacted + kept);
}

VISE_TARGET_VBMI2 static void expand_vbmi2(const uint8_t *gate, const uint8_t *compacted, size_t kept,
                                           size_t n, uint8_t *bytes)
{
    size_t i = 0, next = 0;
    for (; i + 64 <= n && next + 64 <= kept; i += 64) {
        __m512i g = _mm512_loadu_si512(gate + i);
        __mmask64 open = _mm512_test_epi8_mask(g, g);
        _mm512_storeu_si512(bytes + i, _mm512_maskz_expand_epi8(open, _mm512_loadu_si512(compacted + next)));
        next += (unsigned)__builtin_popcountll(open);
    }
    vise_expand_avx2(gate + i, compacted + next, kept - next, n - i, bytes + i);
}

void vise_compact_avx512(const uint8_t *gate, const uint8_t *bytes, size_t n, uint8_t *compacted)
{
    if (__builtin_cpu_supports("avx512vbmi2"))
        compact_vbmi2(gate, bytes, n, compacted);
    else
        vise_compact_avx2(gate, bytes, n, compacted);
}

void vise_expand_avx512(const uint8_t *gate, const uint8_t *compacted, size_t kept, size_t n, uint8_t *bytes)
{
    if (__builtin_cpu_supports("avx512vbmi2"))
        expand_vbmi2(gate, compacted, kept, n, bytes);
    else
        vise_expand_avx2(gate, compacted, kept, n, bytes);
}
