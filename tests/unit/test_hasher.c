#include "core/hasher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"

static char folder[] = "/tmp/vise-hasher-XXXXXX";
static vise_error err;

#define OK(call) assert_int_equal(call, VISE_OK)

static void path_of(int i, char path[64])
{
    snprintf(path, 64, "%s/%d", folder, i);
}

/* Bytes that no other file has. */
static uint8_t *bytes_of(int i, size_t n)
{
    uint8_t *bytes;
    OK(vise_alloc(n + 1, (void **)&bytes, &err));
    uint32_t x = (uint32_t)i * 2654435761u + 1;
    for (size_t k = 0; k < n; k++) {
        x = x * 1664525u + 1013904223u;
        bytes[k] = (uint8_t)(x >> 24);
    }
    return bytes;
}

static void hash_of(int i, size_t n, char hex[VISE_SHA256_HEX_MAX])
{
    vise_sha256 hash;
    uint8_t *bytes = bytes_of(i, n);
    vise_sha256_init(&hash);
    vise_sha256_add(&hash, bytes, n);
    vise_sha256_hex(&hash, hex);
    vise_free(bytes);
}

static const size_t sizes[] = {0, 1, 63, 64, 262143, 262144, 262145, 1000000, 3000001};
enum { SIZES = sizeof sizes / sizeof *sizes };

static void test_whole_files(void **state)
{
    (void)state;
    vise_hasher *hasher;
    vise_hashed_file *files[SIZES];
    char path[64], hex[VISE_SHA256_HEX_MAX], expected[VISE_SHA256_HEX_MAX];
    OK(vise_hasher_new(&hasher, &err));
    for (int i = 0; i < SIZES; i++) {
        uint8_t *bytes = bytes_of(i, sizes[i]);
        path_of(i, path);
        OK(vise_file_write_atomic(path, bytes, sizes[i], &err));
        vise_free(bytes);
        OK(vise_hasher_add(hasher, path, &files[i], &err));
    }
    for (int round = 0; round < 2; round++) /* asking again tells the same */
        for (int i = SIZES - 1; i >= 0; i--) {
            OK(vise_hasher_wait(files[i], hex, &err));
            hash_of(i, sizes[i], expected);
            assert_string_equal(hex, expected);
        }
    vise_hasher_free(hasher);
}

/* Two files grow in turns, in steps below and above a piece, beside a whole one. Bytes beyond what is final are other
 * ones at first: whoever reads them early gets another hash. */
static void test_growing_files(void **state)
{
    (void)state;
    enum { N = 1700100 };
    static const size_t steps[] = {1, 100000, 300000, 777, 700000, 599225};
    vise_hasher *hasher;
    vise_hashed_file *file[3];
    vise_file out[2];
    uint8_t *bytes[2];
    char path[64], hex[VISE_SHA256_HEX_MAX], expected[VISE_SHA256_HEX_MAX];
    OK(vise_hasher_new(&hasher, &err));
    path_of(SIZES - 1, path);
    OK(vise_hasher_add(hasher, path, &file[2], &err));
    for (int i = 0; i < 2; i++)
        bytes[i] = bytes_of(50 + i, N);
    for (int i = 0; i < 2; i++) {
        path_of(50 + i, path);
        OK(vise_file_create(path, &out[i], &err));
        OK(vise_file_write_at(&out[i], 0, bytes[1 - i] + 1, N - 1, &err));
        OK(vise_hasher_add_growing(hasher, path, &file[i], &err));
    }
    size_t at = 0;
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        for (int i = 0; i < 2; i++) {
            OK(vise_file_write_at(&out[i], at, bytes[i] + at, steps[s], &err));
            vise_hasher_advance(file[i], at + steps[s]);
        }
        at += steps[s];
    }
    for (int i = 0; i < 2; i++) {
        OK(vise_file_write_at(&out[i], at, bytes[i] + at, N - at, &err));
        vise_hasher_end(file[i], N);
        OK(vise_hasher_wait(file[i], hex, &err));
        hash_of(50 + i, N, expected);
        assert_string_equal(hex, expected);
        vise_file_close(&out[i]);
        vise_free(bytes[i]);
    }
    OK(vise_hasher_wait(file[2], hex, &err));
    hash_of(SIZES - 1, sizes[SIZES - 1], expected);
    assert_string_equal(hex, expected);
    vise_hasher_free(hasher);
}

/* A missing file, and one shorter than it was said to be, are errors of their own; others are hashed all the same. */
static void test_errors(void **state)
{
    (void)state;
    vise_hasher *hasher;
    vise_hashed_file *missing, *shorter, *good;
    vise_file out;
    char path[64], hex[VISE_SHA256_HEX_MAX], expected[VISE_SHA256_HEX_MAX];
    OK(vise_hasher_new(&hasher, &err));
    path_of(98, path);
    OK(vise_hasher_add(hasher, path, &missing, &err));
    path_of(99, path);
    OK(vise_file_create(path, &out, &err));
    OK(vise_file_write_at(&out, 0, "abc", 3, &err));
    OK(vise_hasher_add_growing(hasher, path, &shorter, &err));
    vise_hasher_end(shorter, 4);
    path_of(SIZES - 2, path);
    OK(vise_hasher_add(hasher, path, &good, &err));
    assert_int_equal(vise_hasher_wait(missing, hex, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "/98"));
    err = (vise_error){0};
    assert_int_equal(vise_hasher_wait(shorter, hex, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "/99"));
    err = (vise_error){0};
    OK(vise_hasher_wait(good, hex, &err));
    hash_of(SIZES - 2, sizes[SIZES - 2], expected);
    assert_string_equal(hex, expected);
    vise_file_close(&out);
    vise_hasher_free(hasher);
}

/* Freed with work left, and with a file that never ends: the thread ends. */
static void test_stops(void **state)
{
    (void)state;
    for (int round = 0; round < 20; round++) {
        vise_hasher *hasher;
        vise_hashed_file *file;
        char path[64];
        path_of(SIZES - 1, path);
        OK(vise_hasher_new(&hasher, &err));
        OK(vise_hasher_add(hasher, path, &file, &err));
        OK(vise_hasher_add_growing(hasher, path, &file, &err));
        vise_hasher_advance(file, (uint64_t)round * 100000);
        vise_hasher_free(hasher);
    }
    vise_hasher_free(NULL);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state)
{
    (void)state;
    return vise_folder_remove(folder, &err) == VISE_OK ? 0 : 1;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_files),
        cmocka_unit_test(test_growing_files),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_stops),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
