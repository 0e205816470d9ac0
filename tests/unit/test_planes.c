/* Byte planes: the bits where they belong, round trips of every length, zero-compact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/planes.h"
#include "tests/unit/tensor_data.h"

static size_t element_bytes(vise_plane_kind kind)
{
    static const size_t bytes[] = {1, 2, 2, 4};
    return bytes[kind];
}

static void test_bits(void **state)
{
    (void)state;
    static const struct {
        vise_plane_kind kind;
        uint8_t bytes[4];
        uint8_t planes[4];
    } rows[] = {
        {VISE_PLANES_BYTES, {0xab}, {0xab}},
        {VISE_PLANES_BF16, {0x80, 0xbf}, {0x7f, 0x80}}, /* -1.0 */
        {VISE_PLANES_BF16, {0xff, 0x00}, {0x01, 0x7f}}, /* exponent 1, all of the mantissa */
        {VISE_PLANES_F16, {0x34, 0x12}, {0x12, 0x34}},
        {VISE_PLANES_F32, {0x78, 0x56, 0x34, 0x92}, {0x24, 0xb4, 0x56, 0x78}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t got[4], back[4], *planes[4] = {got, got + 1, got + 2, got + 3};
        const uint8_t *sources[4] = {got, got + 1, got + 2, got + 3};
        vise_planes_split_ref(rows[i].kind, rows[i].bytes, 1, planes);
        assert_memory_equal(got, rows[i].planes, (size_t)vise_planes_count(rows[i].kind));
        vise_planes_merge_ref(rows[i].kind, sources, 1, back);
        assert_memory_equal(back, rows[i].bytes, element_bytes(rows[i].kind));
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    vise_rng rng;
    vise_rng_init(&rng, 11, "planes");
    for (int k = 0; k < VISE_PLANES_COUNT; k++) {
        vise_plane_kind kind = (vise_plane_kind)k;
        int count = vise_planes_count(kind);
        for (size_t n = 0; n <= 150; n++) {
            size_t bytes = n * element_bytes(kind);
            uint8_t *source = exact(bytes), *back = exact(bytes), *want[4], *got[4];
            const uint8_t *from[4];
            for (size_t i = 0; i < bytes; i++)
                source[i] = (uint8_t)vise_rng_next(&rng);
            for (int p = 0; p < count; p++) {
                want[p] = exact(n);
                got[p] = exact(n);
                from[p] = got[p];
            }
            vise_planes_split_ref(kind, source, n, want);
            FOR_EACH_LEVEL(level)
            {
                use_level(level);
                vise_planes_split(kind, source, n, got);
                for (int p = 0; p < count; p++)
                    assert_memory_equal(got[p], want[p], n);
                memset(back, 0x5a, bytes);
                vise_planes_merge(kind, from, n, back);
                assert_memory_equal(back, source, bytes);
            }
            memset(back, 0x5a, bytes);
            vise_planes_merge_ref(kind, from, n, back);
            assert_memory_equal(back, source, bytes);
            for (int p = 0; p < count; p++) {
                free(want[p]);
                free(got[p]);
            }
            free(source);
            free(back);
        }
    }
}

static void test_compact(void **state)
{
    (void)state;
    vise_rng rng;
    vise_rng_init(&rng, 12, "compact");
    for (size_t n = 0; n <= 700; n += n < 200 ? 1 : 61) {
        for (uint64_t density = 0; density <= 4; density++) {
            uint8_t *gate = exact(n), *plane[3], *compacted[3], *trimmed[3], *back[3];
            const uint8_t *sources[3];
            size_t kept = 0;
            for (int p = 0; p < 3; p++) {
                plane[p] = exact(n);
                compacted[p] = exact(n);
                back[p] = exact(n);
            }
            for (size_t i = 0; i < n; i++) {
                gate[i] = vise_rng_below(&rng, 4) < density ? (uint8_t)(1 + vise_rng_below(&rng, 255)) : 0;
                kept += gate[i] != 0;
                for (int p = 0; p < 3; p++)
                    plane[p][i] = gate[i] ? (uint8_t)vise_rng_next(&rng) : 0;
            }
            for (int p = 0; p < 3; p++) { /* what is read back is no longer than what was kept */
                trimmed[p] = exact(kept);
                size_t next = 0;
                for (size_t i = 0; i < n; i++)
                    if (gate[i])
                        trimmed[p][next++] = plane[p][i];
                sources[p] = trimmed[p];
            }
            FOR_EACH_LEVEL(level)
            {
                use_level(level);
                assert_int_equal(vise_planes_compact(gate, n, 3, plane, compacted), kept);
                for (int p = 0; p < 3; p++) {
                    assert_memory_equal(compacted[p], trimmed[p], kept);
                    memset(back[p], 0x5a, n);
                }
                assert_true(vise_planes_expand(gate, n, kept, 3, sources, back));
                for (int p = 0; p < 3; p++)
                    assert_memory_equal(back[p], plane[p], n);
                assert_false(vise_planes_expand(gate, n, kept + 1, 3, sources, back));
                if (kept > 0)
                    assert_false(vise_planes_expand(gate, n, kept - 1, 3, sources, back));
                /* A bit behind a zero exponent byte forbids compaction and leaves the target alone. */
                if (kept < n) {
                    size_t i = vise_rng_below(&rng, n);
                    while (gate[i])
                        i = (i + 1) % n;
                    plane[2][i] = 0x80;
                    memset(compacted[0], 0x33, n);
                    assert_int_equal(vise_planes_compact(gate, n, 3, plane, compacted), SIZE_MAX);
                    for (size_t j = 0; j < n; j++)
                        assert_int_equal(compacted[0][j], 0x33);
                    plane[2][i] = 0;
                }
            }
            for (int p = 0; p < 3; p++) {
                free(plane[p]);
                free(compacted[p]);
                free(trimmed[p]);
                free(back[p]);
            }
            free(gate);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_compact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
