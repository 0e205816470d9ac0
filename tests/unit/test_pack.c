/* Bit packing: golden words, every width, every length around the word and vector boundaries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tensor/pack.h"
#include "tests/unit/tensor_data.h"

/* Words that compressed-tensors writes for the codes (step * i) % 2^bits, or for the codes listed. */
static const struct {
    int bits;
    size_t n;
    unsigned step;
    uint8_t codes[16];
    uint32_t words[6];
} goldens[] = {
    {4, 16, 1, {0}, {0x76543210, 0xfedcba98}},
    {4, 10, 1, {0}, {0x76543210, 0x00000098}},
    {8, 8, 0, {0, 127, 128, 129, 255, 133, 123, 192}, {0x81807f00, 0xc07b85ff}},
    {2, 16, 1, {0}, {0xe4e4e4e4}},
    {3, 32, 5, {0}, {0xa878cea8, 0xcea878ce, 0x78cea878}},
    {5, 32, 7, {0}, {0x87cab8e0, 0x469bf88a, 0xfaf048b7, 0xe80ea6c2, 0xcc964ed9}},
    {6, 32, 11, {0}, {0xec8562c0, 0xe8d8342d, 0x95a3c4e6, 0xdc446ef0, 0xe4c8f729, 0x54aff4a5}},
    {2, 16, 0, {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2}, {0xaaaaaaaa}},
    {4, 8, 0, {8, 8, 8, 8, 8, 8, 8, 8}, {0x88888888}},
    {4, 8, 0, {7, 7, 7, 7, 7, 7, 7, 7}, {0x77777777}},
    {8, 4, 0, {128, 128, 128, 128}, {0x80808080}},
    {1, 12, 0, {1, 1, 0, 0, 0, 1, 1, 0, 1, 0, 0, 1}, {0x00000963}},
};

static void test_goldens(void **state)
{
    (void)state;
    for (size_t k = 0; k < sizeof goldens / sizeof *goldens; k++) {
        uint8_t codes[32], back[32];
        uint32_t words[8];
        size_t n = goldens[k].n, count = vise_pack_words(n, goldens[k].bits);
        for (size_t i = 0; i < n; i++)
            codes[i] = (uint8_t)(goldens[k].step ? goldens[k].step * i % (1u << goldens[k].bits)
                                                 : goldens[k].codes[i]);
        vise_pack_ref(codes, n, goldens[k].bits, words);
        assert_memory_equal(words, goldens[k].words, count * sizeof *words);
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            memset(words, 0x5a, sizeof words);
            vise_pack(codes, n, goldens[k].bits, words);
            assert_memory_equal(words, goldens[k].words, count * sizeof *words);
            vise_unpack(words, n, goldens[k].bits, back);
            assert_memory_equal(back, codes, n);
        }
    }
}

/* Three GPTQ words of 32 zero points 4 at 3 bits. */
static void test_constant_3_bits(void **state)
{
    (void)state;
    const uint32_t want[] = {0x24924924, 0x49249249, 0x92492492};
    uint8_t codes[32];
    uint32_t words[3];
    memset(codes, 4, sizeof codes);
    FOR_EACH_LEVEL(level)
    {
        use_level(level);
        vise_pack(codes, 32, 3, words);
        assert_memory_equal(words, want, sizeof want);
    }
}

static void test_words(void **state)
{
    (void)state;
    for (int bits = 1; bits <= 8; bits++)
        for (size_t n = 0; n <= 200; n++)
            assert_int_equal(vise_pack_words(n, bits), (n * (size_t)bits + 31) / 32);
    assert_int_equal(vise_pack_words(SIZE_MAX / 8, 8), SIZE_MAX / 32 + 1);
}

/* Blocks of the exact size, codes with bits set above their width, and the same bits on every level. */
static void test_levels_agree(void **state)
{
    (void)state;
    vise_rng rng;
    vise_rng_init(&rng, 3, "pack");
    for (int bits = 1; bits <= 8; bits++) {
        for (size_t n = 0; n <= 300; n += n < 140 ? 1 : 13) {
            size_t bytes = vise_pack_words(n, bits) * sizeof(uint32_t);
            uint8_t *codes = exact(n), *back = exact(n);
            uint32_t *want = exact(bytes), *got = exact(bytes);
            for (size_t i = 0; i < n; i++)
                codes[i] = (uint8_t)vise_rng_next(&rng);
            vise_pack_ref(codes, n, bits, want);
            /* The definition, bit by bit. */
            for (size_t bit = 0; bit < bytes * 8; bit++) {
                int expected =
                    bit < n * (size_t)bits ? codes[bit / (size_t)bits] >> bit % (size_t)bits & 1 : 0;
                assert_int_equal(want[bit / 32] >> bit % 32 & 1, expected);
            }
            for (size_t i = 0; i < n; i++)
                codes[i] &= (uint8_t)((1u << bits) - 1u);
            FOR_EACH_LEVEL(level)
            {
                use_level(level);
                memset(got, 0x5a, bytes);
                vise_pack(codes, n, bits, got);
                assert_memory_equal(got, want, bytes);
                memset(back, 0x5a, n);
                vise_unpack(got, n, bits, back);
                assert_memory_equal(back, codes, n);
            }
            memset(back, 0x5a, n);
            vise_unpack_ref(want, n, bits, back);
            assert_memory_equal(back, codes, n);
            free(codes);
            free(back);
            free(want);
            free(got);
        }
    }
}

/* High bits of a code beyond its width are left out by every level. */
static void test_masks_codes(void **state)
{
    (void)state;
    for (int bits = 1; bits <= 7; bits++) {
        uint8_t codes[100];
        uint32_t want[25], got[25];
        size_t bytes = vise_pack_words(100, bits) * sizeof *want;
        memset(codes, 1 << bits, sizeof codes);
        memset(want, 0, sizeof want);
        FOR_EACH_LEVEL(level)
        {
            use_level(level);
            vise_pack(codes, 100, bits, got);
            assert_memory_equal(got, want, bytes);
        }
    }
}

/* Against the definition, every remainder behind whole words, and not a byte beyond. */
static void test_high_first(void **state)
{
    (void)state;
    uint8_t codes[66], bytes[34], back[66];
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)(i * 7 % 16);
    for (size_t n = 0; n <= 64; n += 2) {
        memset(bytes, 0x5a, sizeof bytes);
        memset(back, 0x5a, sizeof back);
        vise_pack_high_first(codes, n, bytes);
        for (size_t i = 0; i < n / 2; i++)
            assert_int_equal(bytes[i], codes[2 * i] << 4 | codes[2 * i + 1]);
        assert_int_equal(bytes[n / 2], 0x5a);
        vise_unpack_high_first(bytes, n, back);
        assert_memory_equal(back, codes, n);
        assert_int_equal(back[n], 0x5a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_goldens),     cmocka_unit_test(test_constant_3_bits),
        cmocka_unit_test(test_words),       cmocka_unit_test(test_levels_agree),
        cmocka_unit_test(test_masks_codes), cmocka_unit_test(test_high_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
