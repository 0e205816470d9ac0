/* Tables of vectors: NumPy's files of every kind that is read, safetensors, and broken ones. */
#include <stdio.h>
#include <string.h>

#include "formats/vectors.h"
#include "formats_help.h"

static const char *folder;
static vise_pool *pool;

static int set_up(void **state)
{
    (void)state;
    folder = help_folder();
    return vise_pool_new(0, &pool, NULL) != VISE_OK;
}

static int tear_down(void **state)
{
    (void)state;
    vise_pool_free(pool);
    help_remove(folder);
    return 0;
}

/* A file of that version with header and data; the header is padded with spaces as numpy does it. */
static void write_npy(const char *name, int version, const char *header, const void *data, size_t bytes)
{
    uint8_t file[1024];
    const size_t at = version == 1 ? 10 : 12, length = (at + strlen(header) + 1 + 63) / 64 * 64 - at;

    assert_true(at + length + bytes <= sizeof file);
    memset(file, 0, sizeof file);
    memcpy(file, "\x93NUMPY", 6);
    file[6] = (uint8_t)version;
    file[8] = (uint8_t)(length & 255);
    file[9] = (uint8_t)(length >> 8);
    memset(file + at, ' ', length);
    memcpy(file + at, header, strlen(header));
    file[at + length - 1] = '\n';
    if (bytes > 0)
        memcpy(file + at + length, data, bytes);
    help_write(folder, name, file, at + length + bytes);
}

static void check_values(const char *name)
{
    static const float expected[3][2] = {{1.0f, -2.0f}, {0.5f, 0.25f}, {3.0f, 1024.0f}};
    vise_vectors *vectors = NULL;
    float values[4];

    assert_true(vise_vectors_named(help_path(folder, name)));
    OK(vise_vectors_open(help_path(folder, name), &vectors, &help_error));
    assert_int_equal(vise_vectors_rows(vectors), 3);
    assert_int_equal(vise_vectors_cols(vectors), 2);
    OK(vise_vectors_read(vectors, 0, 1, values, pool, &help_error));
    assert_memory_equal(values, expected[0], sizeof expected[0]);
    OK(vise_vectors_read(vectors, 1, 2, values, pool, &help_error));
    assert_memory_equal(values, expected[1], 2 * sizeof expected[0]);
    assert_int_equal(vise_pool_used(pool), 0);
    vise_vectors_close(vectors);
}

static void test_numpy(void **state)
{
    static const double f8[] = {1.0, -2.0, 0.5, 0.25, 3.0, 1024.0};
    static const float f4[] = {1.0f, -2.0f, 0.5f, 0.25f, 3.0f, 1024.0f};
    static const uint16_t f2[] = {0x3c00, 0xc000, 0x3800, 0x3400, 0x4200, 0x6400};
    static const struct {
        int version;
        const char *header;
        const void *data;
        size_t bytes;
    } cases[] = {
        {1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), }", f4, sizeof f4},
        {2, "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }", f8, sizeof f8},
        {3, "{'descr': '<f2', 'fortran_order': False, 'shape': (3, 2), }", f2, sizeof f2},
        {1, "{\"shape\":(3,2),\"fortran_order\":False,\"descr\":\"<f4\"}", f4, sizeof f4},
        {1, "{'shape': (3, 2,), 'descr': '<f4', 'fortran_order': False}", f4, sizeof f4},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_npy("a.npy", cases[i].version, cases[i].header, cases[i].data, cases[i].bytes);
        check_values("a.npy");
    }
}

static void test_safetensors(void **state)
{
    static const float f4[] = {1.0f, -2.0f, 0.5f, 0.25f, 3.0f, 1024.0f};
    static const float line[] = {1.0f, 2.0f};
    const help_tensor alone = {"anything", VISE_DTYPE_F32, 2, {3, 2}, f4};
    const help_tensor two[] = {{"a", VISE_DTYPE_F32, 1, {2}, line},
                               {"embeddings", VISE_DTYPE_F32, 2, {3, 2}, f4}};
    const help_tensor none[] = {{"a", VISE_DTYPE_F32, 1, {2}, line}, {"b", VISE_DTYPE_F32, 2, {3, 2}, f4}};
    vise_vectors *vectors = NULL;

    (void)state;
    help_safetensors(folder, "one.safetensors", NULL, &alone, 1);
    check_values("one.safetensors");
    help_safetensors(folder, "two.safetensors", NULL, two, 2);
    check_values("two.safetensors");
    help_safetensors(folder, "none.safetensors", NULL, none, 2);
    FAILS(VISE_EFORMAT, "there is no tensor \"embeddings\"",
          vise_vectors_open(help_path(folder, "none.safetensors"), &vectors, &help_error));
    help_safetensors(folder, "line.safetensors", NULL, none, 1);
    FAILS(VISE_EFORMAT, "\"a\" is no table of vectors: it has 1 dimension",
          vise_vectors_open(help_path(folder, "line.safetensors"), &vectors, &help_error));
    FAILS(VISE_EFORMAT, "nowhere", vise_vectors_open("/nowhere/a.safetensors", &vectors, &help_error));
    assert_null(vectors);
}

static void test_refused(void **state)
{
    static const struct {
        const char *header, *says;
        size_t bytes;
        int version;
        vise_status status;
    } cases[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", "not a .npy of version", 8, 4,
         VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }",
         "12 bytes of values, but the shape is 1 x 2", 12, 1, VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }", "4 bytes of values", 4, 1,
         VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, }", "lacks descr, fortran_order", 8, 1, VISE_EFORMAT},
        {"{'fortran_order': False, 'shape': (1, 2), }", "lacks", 8, 1, VISE_EFORMAT},
        {"{'descr': '<f4', 'shape': (1, 2), }", "lacks", 8, 1, VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }", "two dimensions, not (2,)", 8, 1,
         VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 1), }", "two dimensions, not (1, 2, 1)", 8,
         1, VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 2), }", "two dimensions", 0, 1, VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2), }", "two dimensions", 8, 1,
         VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1, 99999999999999999999), }", "two dimensions",
         8, 1, VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776, 1099511627776), }",
         "bytes of values", 8, 1, VISE_EFORMAT},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2), }", "in C order", 8, 1, VISE_EUNSUPPORTED},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1, 2), }", "little-endian", 8, 1,
         VISE_EUNSUPPORTED},
        {"{'descr': '<i4', 'fortran_order': False, 'shape': (1, 2), }", "little-endian", 8, 1,
         VISE_EUNSUPPORTED},
        {"{'descr': '<f16', 'fortran_order': False, 'shape': (1, 2), }", "little-endian", 8, 1,
         VISE_EUNSUPPORTED},
        {"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (1, 2), }", "little-endian", 8, 1,
         VISE_EUNSUPPORTED},
    };
    static const char zeros[16];
    vise_vectors *vectors = NULL;

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_npy("a.npy", cases[i].version, cases[i].header, zeros, cases[i].bytes);
        FAILS(cases[i].status, cases[i].says,
              vise_vectors_open(help_path(folder, "a.npy"), &vectors, &help_error));
        assert_null(vectors);
    }
    help_write(folder, "a.npy", "\x93NUMPY\1\0", 8);
    FAILS(VISE_EFORMAT, "too short", vise_vectors_open(help_path(folder, "a.npy"), &vectors, &help_error));
    help_write(folder, "a.npy", "PK\3\4 an archive, say", 20);
    FAILS(VISE_EFORMAT, "not a .npy", vise_vectors_open(help_path(folder, "a.npy"), &vectors, &help_error));
    help_write(folder, "a.npy", "\x93NUMPY\1\0\xff\0{'descr'", 18);
    FAILS(VISE_EFORMAT, "header of 255 bytes",
          vise_vectors_open(help_path(folder, "a.npy"), &vectors, &help_error));
    /* A header that ends where a value should stand: nothing behind it is read. */
    help_write(folder, "a.npy", "\x93NUMPY\1\0\x31\0{'shape': (1, 1), 'fortran_order': False,'descr':", 59);
    FAILS(VISE_EUNSUPPORTED, "little-endian",
          vise_vectors_open(help_path(folder, "a.npy"), &vectors, &help_error));
    assert_false(vise_vectors_named("a/folder"));
    assert_false(vise_vectors_named("npy"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numpy),
        cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_refused),
    };

    return cmocka_run_group_tests(tests, set_up, tear_down);
}
