#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <zstd.h>

#include "core/cpu.h"
#include "core/cpu_features.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/hash_sha256.h"
#include "core/mem.h"
#include "core/rng.h"

enum { DATA = 70000 };
static uint8_t data[DATA];

static int fill_data(void **state)
{
    (void)state;
    vise_rng rng;
    vise_rng_init(&rng, 1, "test_hash");
    for (size_t i = 0; i < DATA; i++)
        data[i] = (uint8_t)vise_rng_next(&rng);
    return 0;
}

/* FIPS 180-4 examples (NIST, "Secure Hashing: SHA256"). */
static const struct {
    const char *text;
    size_t times;
    const char *hex;
} sha_rows[] = {
    {"", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
    {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
    {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
     "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
    {"a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"},
};

static void check_vectors(void)
{
    for (size_t i = 0; i < sizeof sha_rows / sizeof *sha_rows; i++) {
        vise_sha256 hash;
        char hex[VISE_SHA256_HEX_MAX];
        vise_sha256_init(&hash);
        for (size_t j = 0; j < sha_rows[i].times; j++)
            vise_sha256_add(&hash, sha_rows[i].text, strlen(sha_rows[i].text));
        vise_sha256_hex(&hash, hex);
        assert_string_equal(hex, sha_rows[i].hex);
    }
}

static void test_sha256_vectors(void **state)
{
    (void)state;
    vise_cpu_level before = vise_cpu();
    vise_cpu_force(VISE_CPU_REF);
    check_vectors();
    vise_cpu_force(vise_cpu_highest());
    check_vectors();
    vise_cpu_force(before);
}

static void test_sha256_fast_is_reference(void **state)
{
    (void)state;
    vise_sha256_blocks fast = vise_sha256_blocks_fast();
    if (!fast) {
        print_message("SKIP: this processor has no SHA extensions\n");
        skip();
    }
    for (size_t count = 0; count <= 20; count++) {
        uint32_t a[8], b[8];
        memcpy(a, data + 40000 + count, sizeof a);
        memcpy(b, a, sizeof b);
        vise_sha256_blocks_ref(a, data + count, count); /* unaligned on purpose */
        fast(b, data + count, count);
        assert_memory_equal(a, b, sizeof a);
    }
}

/* Two hashes side by side are those of each alone: of lengths that differ, and begun within a block. */
static void test_sha256_pair(void **state)
{
    (void)state;
    vise_cpu_level before = vise_cpu();
    for (int fast = 0; fast < 2; fast++) {
        vise_cpu_force(fast ? vise_cpu_highest() : VISE_CPU_REF);
        for (size_t held = 0; held < 3; held++)
            for (size_t n = 0; n < 700; n += 61) {
                vise_sha256 hash[4];
                char hex[4][VISE_SHA256_HEX_MAX];
                for (int i = 0; i < 4; i++) {
                    vise_sha256_init(&hash[i]);
                    vise_sha256_add(&hash[i], data + i % 2, i % 2 ? held * 32 : held * 64);
                }
                vise_sha256_add_pair(&hash[0], data + 7, n, &hash[1], data + 1000, 640 - n / 2);
                vise_sha256_add(&hash[2], data + 7, n);
                vise_sha256_add(&hash[3], data + 1000, 640 - n / 2);
                for (int i = 0; i < 4; i++)
                    vise_sha256_hex(&hash[i], hex[i]);
                assert_string_equal(hex[0], hex[2]);
                assert_string_equal(hex[1], hex[3]);
            }
    }
    vise_cpu_force(before);
}

/* However the bytes are cut into pieces, the hash is the same. */
static void test_sha256_pieces(void **state)
{
    (void)state;
    for (size_t length = 0; length < 300; length += 7) {
        char whole[VISE_SHA256_HEX_MAX], pieces[VISE_SHA256_HEX_MAX];
        vise_sha256 hash;
        vise_sha256_init(&hash);
        vise_sha256_add(&hash, data, length);
        vise_sha256_hex(&hash, whole);
        for (size_t piece = 1; piece < 140; piece += 13) {
            vise_sha256_init(&hash);
            for (size_t at = 0; at < length; at += piece)
                vise_sha256_add(&hash, data + at, length - at < piece ? length - at : piece);
            vise_sha256_hex(&hash, pieces);
            assert_string_equal(whole, pieces);
        }
    }
}

static void test_sha256_file(void **state)
{
    (void)state;
    vise_error err = {0};
    char path[] = "/tmp/vise-hash-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    char hex[VISE_SHA256_HEX_MAX], expected[VISE_SHA256_HEX_MAX];
    size_t length = 3 * DATA;
    uint8_t *bytes = NULL;
    /* More than one chunk of the file reader. */
    size_t copies = 40;
    assert_int_equal(vise_alloc(copies * DATA, (void **)&bytes, &err), VISE_OK);
    for (size_t i = 0; i < copies; i++)
        memcpy(bytes + i * DATA, data, DATA);
    length = copies * DATA;
    assert_int_equal(vise_file_write_atomic(path, bytes, length, &err), VISE_OK);
    assert_int_equal(vise_sha256_file(path, hex, &err), VISE_OK);
    vise_sha256 hash;
    vise_sha256_init(&hash);
    vise_sha256_add(&hash, bytes, length);
    vise_sha256_hex(&hash, expected);
    assert_string_equal(hex, expected);
    vise_free(bytes);
    unlink(path);
    assert_int_equal(vise_sha256_file(path, hex, &err), VISE_EFORMAT);
}

static void test_xxh64_vectors(void **state)
{
    (void)state;
    assert_int_equal(vise_xxh64("", 0, 0), 0xEF46DB3751D8E999);
    assert_int_equal(vise_xxh64("a", 1, 0), 0xD24EC4F1A98C6E5B);
    assert_int_equal(vise_xxh64("abc", 3, 0), 0x44BC2CF5AD770999);
    assert_int_equal(vise_xxh64(NULL, 0, 0), 0xEF46DB3751D8E999);

    /* The specification's sanity buffer: bytes of a product of primes. */
    uint8_t sanity[101];
    uint32_t generator = 2654435761u;
    for (size_t i = 0; i < sizeof sanity; i++) {
        sanity[i] = (uint8_t)(generator >> 24);
        generator *= generator;
    }
    const uint64_t prime = 2654435761u;
    assert_int_equal(vise_xxh64(sanity, 0, prime), 0xAC75FDA2929B17EF);
    assert_int_equal(vise_xxh64(sanity, 1, 0), 0x4FCE394CC88952D8);
    assert_int_equal(vise_xxh64(sanity, 1, prime), 0x739840CB819FA723);
    assert_int_equal(vise_xxh64(sanity, 14, 0), 0xCFFA8DB881BC3A3D);
    assert_int_equal(vise_xxh64(sanity, 14, prime), 0x5B9611585EFCC9CB);
    assert_int_equal(vise_xxh64(sanity, 101, 0), 0x0EAB543384F878AD);
    assert_int_equal(vise_xxh64(sanity, 101, prime), 0xCAA65939306F1E21);
}

/* A zstd frame ends in the low 32 bits of the XXH64 of its contents (RFC 8878, 3.1.1): a second implementation. */
static void test_xxh64_is_zstds(void **state)
{
    (void)state;
    ZSTD_CCtx *context = ZSTD_createCCtx();
    assert_non_null(context);
    assert_false(ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)));
    static uint8_t frame[DATA + 4096];
    for (size_t length = 0; length <= DATA; length += length < 200 ? 1 : 997) {
        size_t size = ZSTD_compress2(context, frame, sizeof frame, data, length);
        assert_false(ZSTD_isError(size));
        uint32_t sum = (uint32_t)frame[size - 4] | (uint32_t)frame[size - 3] << 8 |
                       (uint32_t)frame[size - 2] << 16 | (uint32_t)frame[size - 1] << 24;
        assert_int_equal((uint32_t)vise_xxh64(data, length, 0), sum);
    }
    ZSTD_freeCCtx(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sha256_vectors), cmocka_unit_test(test_sha256_fast_is_reference),
        cmocka_unit_test(test_sha256_pair),    cmocka_unit_test(test_sha256_pieces),
        cmocka_unit_test(test_sha256_file),    cmocka_unit_test(test_xxh64_vectors),
        cmocka_unit_test(test_xxh64_is_zstds),
    };
    return cmocka_run_group_tests(tests, fill_data, NULL);
}
