/* formats/safetensors: the reference's bad and edge files, one row each; golden headers of the reference
 * writer. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "formats/safetensors.h"

/* A file in memory: `text` is the header, its length is put in front, `data` bytes of zeros follow. */
typedef struct memory_file {
    uint8_t *bytes;
    size_t n;
} memory_file;

static vise_status read_memory(const void *context, uint64_t offset, void *bytes, size_t n, vise_error *err)
{
    const memory_file *file = context;
    if (offset > file->n || n > file->n - offset)
        return VISE_FAIL(err, VISE_EFORMAT, "read outside the file");
    memcpy(bytes, file->bytes + offset, n);
    return VISE_OK;
}

static memory_file make_file(const char *header, size_t length, size_t data)
{
    memory_file file = {calloc(1, 8 + length + data + 1), 8 + length + data};
    assert_non_null(file.bytes);
    for (int i = 0; i < 8; i++)
        file.bytes[i] = (uint8_t)(length >> (8 * i));
    memcpy(file.bytes + 8, header, length);
    return file;
}

static vise_status parse(const memory_file *file, vise_arena **arena, vise_st_header *header, vise_error *err)
{
    vise_st_input input = {"f.safetensors", file->n, read_memory, file};
    *err = (vise_error){0};
    assert_int_equal(vise_arena_new(arena, err), VISE_OK);
    return vise_st_parse(&input, *arena, header, err);
}

/* Parses and expects success (say NULL) or VISE_EFORMAT with a message that names the file and holds `say`.
 */
static void expect(const char *what, const memory_file *file, const char *say)
{
    vise_arena *arena;
    vise_st_header header;
    vise_error err;
    vise_status status = parse(file, &arena, &header, &err);
    if (status != (say ? VISE_EFORMAT : VISE_OK) || (say && !strstr(err.message, say)) ||
        (say && !strstr(err.message, "f.safetensors")))
        fail_msg("%s: status %d, message \"%s\", expected \"%s\"", what, status, err.message,
                 say ? say : "success");
    vise_st_header_deinit(&header);
    vise_arena_free(arena);
}

#define T(name, dtype, shape, offsets)                                                                       \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

static const struct {
    const char *header;
    size_t data;
    const char *say; /* NULL: a good file */
} cases[] = {
    /* good */
    {"{}", 0, NULL},
    {"{}\r \t\n", 0, NULL},
    {"\t\n{}\r ", 0, NULL},
    {"{" T("a", "I32", "[2,2]", "[0,16]") "}", 16, NULL},
    {"{" T("a", "I32", "[2,0]", "[0,0]") "}", 0, NULL},
    {"{" T("a", "I32", "[0,0]", "[0,0]") "," T("b", "F32", "[]", "[0,4]") "}", 4, NULL},
    {"{\"__metadata__\":null}", 0, NULL},
    {"{\"__metadata__\":{\"format\":\"pt\",\"a\":\"\\u00e9\\ud83d\\ude00\\n\"}}", 0, NULL},
    {"{\"t\":{\"extra\":[1,{\"x\":[true,false,null,-1.5e-3,\"s\"]}],\"dtype\":\"U8\",\"shape\":[1],\"data_"
     "offsets\":[0,1]}}",
     1, NULL},
    {"{" T("b", "U8", "[1]", "[1,2]") "," T("a", "U8", "[1]", "[0,1]") "}", 2, NULL},
    {"{" T("a", "F4", "[1,4]", "[0,2]") "," T("b", "F6_E2M3", "[4]", "[2,5]") "}", 5, NULL},
    /* JSON */
    {"", 0, "there is nothing"},
    {"{", 0, "it breaks off"},
    {"[]", 0, "does not begin with '{'"},
    {"{}x", 0, "follows the closing"},
    {"{}{}", 0, "follows the closing"},
    {"{\"a\"", 0, "without ':'"},
    {"{\"a", 0, "text without end"},
    {"{a:1}", 0, "not valid JSON"},
    {"{,}", 0, "not valid JSON"},
    {"{" T("a", "U8", "[1]", "[0,1]") ",}", 1, "not valid JSON"},
    {"{" T("a", "U8", "[1]", "[0,1]") " " T("b", "U8", "[1]", "[1,2]") "}", 2, "without ','"},
    {"{\"a\\q\":{}}", 0, "unknown escape"},
    {"{\"a\\u12g4\":{}}", 0, "hexadecimal"},
    {"{\"a\\ud800\":{}}", 0, "surrogate"},
    {"{\"a\\ud800\\u0041\":{}}", 0, "surrogate"},
    {"{\"a\\udc00\":{}}", 0, "surrogate"},
    {"{\"a\\u0000\":{}}", 0, "NUL"},
    {"{\"a\nb\":{}}", 0, "control character"},
    {"{\"__metadata__\":nil}", 0, "unknown word"},
    {"{\"t\":{\"x\":01,\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "malformed number"},
    {"{\"t\":{\"x\":-,\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "malformed number"},
    {"{\"t\":{\"x\":1.,\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "malformed number"},
    {"{\"t\":{\"x\":[1 2],\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "without end"},
    {"{\"t\":{\"x\":{\"a\" 2},\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "without ':'"},
    /* schema */
    {"{\"a\":1}", 0, "\"a\": entry is not an object"},
    {"{\"a\":{}}", 0, "\"a\": dtype is missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"data_offsets\":[0,1]}}", 1, "\"a\": shape is missing"},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, "\"a\": data_offsets is missing"},
    {"{" T("a", "Q3", "[1]", "[0,1]") "}", 1, "\"a\": unknown dtype \"Q3\""},
    {"{" T("a", "f32", "[1]", "[0,4]") "}", 4, "unknown dtype"},
    {"{\"a\":{\"dtype\":7,\"shape\":[1],\"data_offsets\":[0,1]}}", 1, "dtype is not a text"},
    {"{" T("a", "U8", "1", "[0,1]") "}", 1, "shape is not an array"},
    {"{" T("a", "U8", "[-1]", "[0,1]") "}", 1, "shape holds a negative number"},
    {"{" T("a", "U8", "[1.0]", "[0,1]") "}", 1, "shape holds a fraction"},
    {"{" T("a", "U8", "[1e0]", "[0,1]") "}", 1, "shape holds a fraction or an exponent"},
    {"{" T("a", "U8", "[01]", "[0,1]") "}", 1, "leading zero"},
    {"{" T("a", "U8", "[\"1\"]", "[0,1]") "}", 1, "no integer"},
    {"{" T("a", "U8", "[1,]", "[0,1]") "}", 1, "no integer"},
    {"{" T("a", "U8", "[1 1]", "[0,1]") "}", 1, "shape is an array without end"},
    {"{" T("a", "U8", "[1]", "[0]") "}", 1, "does not hold two"},
    {"{" T("a", "U8", "[1]", "[]") "}", 1, "does not hold two"},
    {"{" T("a", "U8", "[1]", "[0,1,2]") "}", 1, "more than two"},
    {"{" T("a", "U8", "[1]", "[0,18446744073709551617]") "}", 1, "beyond 2^53"},
    {"{" T("a", "U8", "[9007199254740993]", "[0,1]") "}", 1, "beyond 2^53"},
    {"{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "dtype is given twice"},
    {"{" T("a", "U8", "[1]", "[0,1]") "," T("a", "U8", "[1]", "[1,2]") "}", 2, "\"a\" is given twice"},
    {"{" T("a", "U8", "[1]", "[0,1]") "," T("\\u0061", "U8", "[1]", "[1,2]") "}", 2, "\"a\" is given twice"},
    {"{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ \"a\" is not a text"},
    {"{\"__metadata__\":{\"a\":null}}", 0, "is not a text"},
    {"{\"__metadata__\":[]}", 0, "not an object of texts"},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "__metadata__ is given twice"},
    {"{\"__metadata__\":{\"k\":\"1\",\"k\":\"2\"}}", 0, "__metadata__ \"k\" is given twice"},
    /* offsets */
    {"{" T("a", "U8", "[1]", "[1,2]") "}", 2, "hole of 1 bytes"},
    {"{" T("a", "U8", "[1]", "[0,1]") "," T("b", "U8", "[1]", "[3,4]") "}", 4,
     "\"b\": data_offsets leave a hole of 2"},
    {"{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[2]", "[1,3]") "}", 3,
     "\"b\": data_offsets overlap with those of \"a\""},
    {"{" T("a", "U8", "[2]", "[0,2]") "," T("b", "U8", "[2]", "[0,2]") "}", 2, "overlap"},
    {"{" T("a", "U8", "[0]", "[2,0]") "}", 2, "end (0) before they begin (2)"},
    /* sizes: the reference's [2,2] I32 [0,4], its overflows, its misaligned F4 */
    {"{" T("a", "I32", "[2,2]", "[0,4]") "}", 4, "make 16 bytes, data_offsets 4"},
    {"{" T("a", "I32", "[2,18446744073709551614]", "[0,16]") "}", 16, "beyond 2^53"},
    {"{" T("a", "I32", "[2,9223372036854775807]", "[0,16]") "}", 16, "beyond 2^53"},
    {"{" T("a", "I32", "[4503599627370496,4503599627370496]", "[0,16]") "}", 16, "shape overflows"},
    {"{" T("a", "U8", "[2305843009213693,8192]", "[0,16]") "}", 16, "shape overflows"},
    {"{" T("a", "F4", "[1,3]", "[0,2]") "}", 2, "do not fill whole bytes"},
    {"{" T("a", "F6_E3M2", "[3]", "[0,3]") "}", 3, "do not fill whole bytes"},
    /* the end of the file */
    {"{" T("a", "I32", "[2,2]", "[0,16]") "}", 14, "truncated: 2 bytes are missing"},
    {"{" T("a", "I32", "[2,2]", "[0,16]") "}", 54, "38 bytes follow the last tensor"},
    {"{}", 1, "1 bytes follow"},
};

static void test_headers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memory_file file = make_file(cases[i].header, strlen(cases[i].header), cases[i].data);
        expect(cases[i].header, &file, cases[i].say);
        free(file.bytes);
    }
}

static const struct {
    const char *bytes;
    size_t n;
    const char *say;
} raw_files[] = {
    {"", 0, "0 bytes are too few"},
    {"\x02\0\0\0", 4, "4 bytes are too few"},
    {"\x3C\0\0\0\0\xFF\xFF\xFF", 8, "the format allows 100000000"},
    {"\x3C\0\0\0\0\0\0\0", 8, "truncated within its header: 60 bytes are missing"},
    {"\xE8\x03\0\0\0\0\0\0{}", 10, "truncated within its header: 998"},
    {"\1\0\0\0\0\0\0\0\xFF", 9, "not UTF-8 at byte 0"},
    {"\3\0\0\0\0\0\0\0{\"\xC3", 11, "ends within a character"},
    {"\4\0\0\0\0\0\0\0{\"\xC0\x80", 12, "not UTF-8 at byte 2"},
    {"\5\0\0\0\0\0\0\0{\"\xED\xA0\x80", 13, "not UTF-8"},
    {"\1\0\0\0\0\0\0\0{", 9, "not valid JSON"},
    {"\3\0\0\0\0\0\0\0{}\0", 11, "follows the closing"},
    {"\1\xE1\xF5\5\0\0\0\0{}", 10, "claims 100000001 bytes"},
    {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", 64, "Git LFS pointer"},
    {"GGUF\3\0\0\0\0\0\0\0", 12, "GGUF"},
    {"PK\3\4\0\0\0\0\0\0\x10\x10", 12, "zip archive"},
    {"<!DOCTYPE html><html>", 21, "HTML page"},
    {"<html", 5, "HTML page"},
};

static void test_raw_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof raw_files / sizeof *raw_files; i++) {
        memory_file file = {calloc(1, raw_files[i].n + 1), raw_files[i].n};
        assert_non_null(file.bytes);
        memcpy(file.bytes, raw_files[i].bytes, raw_files[i].n);
        expect(raw_files[i].say, &file, raw_files[i].say);
        free(file.bytes);
    }
}

/* The reference's attacks by number of tensors: ten names with the same offsets, and 100000 of them
 * [200,200]. */
static void test_many_at_one_place(void **state)
{
    (void)state;
    static const struct {
        int n;
        const char *shape;
        unsigned bytes;
    } rows[] = {{10, "[2,2]", 16}, {100000, "[200,200]", 160000}};
    for (size_t row = 0; row < 2; row++) {
        size_t room = (size_t)rows[row].n * 100 + 10, at = 0;
        char *header = malloc(room);
        assert_non_null(header);
        header[at++] = '{';
        for (int i = 0; i < rows[row].n; i++)
            at += (size_t)snprintf(header + at, room - at,
                                   "%s\"weight_%d\":{\"dtype\":\"F32\",\"shape\":%s,\"data_offsets\":[0,%u]}",
                                   i ? "," : "", i, rows[row].shape, rows[row].bytes);
        header[at++] = '}';
        memory_file file = make_file(header, at, rows[row].bytes);
        expect("many", &file, "overlap");
        free(file.bytes);
        free(header);
    }
}

/* Texts and numbers at every position of the reader's window. */
static void test_window_borders(void **state)
{
    (void)state;
    static const char body[] =
        "{\"__metadata__\":{\"k\":\"\\u00e9\\n\"},\"n\\u00e4me\":{\"dtype\":\"BF16\",\"shape\":[12,34],"
        "\"data_offsets\":[0,816],\"x\":{\"y\":[null,1.25e+2]}}}";
    size_t length = strlen(body);
    for (size_t pad = 65536 - length; pad <= 65536; pad++) {
        char *header = malloc(pad + length);
        assert_non_null(header);
        memset(header, ' ', pad);
        memcpy(header + pad, body, length);
        memory_file file = make_file(header, pad + length, 816);
        vise_arena *arena;
        vise_st_header parsed;
        vise_error err;
        assert_int_equal(parse(&file, &arena, &parsed, &err), VISE_OK);
        assert_int_equal(parsed.n_tensors, 1);
        assert_string_equal(parsed.tensors[0].name, "n\xC3\xA4me");
        assert_int_equal(parsed.tensors[0].dtype, VISE_DTYPE_BF16);
        assert_int_equal(parsed.tensors[0].ndim, 2);
        assert_int_equal(parsed.tensors[0].shape[0], 12);
        assert_int_equal(parsed.tensors[0].shape[1], 34);
        assert_int_equal(parsed.tensors[0].end, 816);
        assert_string_equal(vise_st_metadata(&parsed, "k"), "\xC3\xA9\n");
        assert_null(vise_st_metadata(&parsed, "format"));
        vise_st_header_deinit(&parsed);
        vise_arena_free(arena);
        free(file.bytes);
        free(header);
    }
}

static uint64_t header_length(const vise_buf *buf)
{
    uint64_t n = 0;
    for (int i = 7; i >= 0; i--)
        n = n << 8 | (uint8_t)buf->data[i];
    return n;
}

/* What the reference writer makes, byte for byte. */
static void test_golden_writes(void **state)
{
    (void)state;
    int64_t shape[] = {1, 2, 3};
    struct {
        const char *name, *metadata, *text;
        uint64_t n;
    } rows[] = {
        {"attn.0", NULL, "{\"attn.0\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}}", 64},
        {"attn0", NULL, "{\"attn0\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}} ", 64},
        {"attn.0.x", NULL,
         "{\"attn.0.x\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}}      ", 72},
        {"attn.00", NULL,
         "{\"attn.00\":{\"dtype\":\"F32\",\"shape\":[1,2,3],\"data_offsets\":[0,24]}}       ", 72},
        {NULL, "\"framework\":\"pt\"", "{\"__metadata__\":{\"framework\":\"pt\"}}     ", 40},
        {NULL, NULL, "{}      ", 8},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_st_tensor tensor = {rows[i].name, VISE_DTYPE_F32, 3, shape, 0, 24};
        vise_buf buf;
        vise_error err = {0};
        vise_buf_init(&buf, 1 << 20);
        assert_int_equal(vise_st_write_header(&tensor, rows[i].name ? 1 : 0, rows[i].metadata, 0, &buf, &err),
                         VISE_OK);
        assert_int_equal(header_length(&buf), rows[i].n);
        assert_int_equal(buf.length, 8 + rows[i].n);
        assert_string_equal(buf.data + 8, rows[i].text);
        vise_buf_deinit(&buf);
    }
}

static void test_write_reads_back(void **state)
{
    (void)state;
    int64_t shape[] = {2, 0, 5}, scalar[] = {0};
    vise_st_tensor tensors[] = {
        {"plain", VISE_DTYPE_I64, 0, scalar, 0, 8},
        {"q\"u\\o\b\f\n\r\t\x01te \xC3\xA9", VISE_DTYPE_BF16, 3, shape, 8, 8},
        {"", VISE_DTYPE_BOOL, 1, (int64_t[]){7}, 8, 15},
    };
    vise_buf buf;
    vise_error err = {0};
    vise_buf_init(&buf, 1 << 20);
    assert_int_equal(vise_st_write_header(tensors, 3, "\"format\":\"pt\"", 1000, &buf, &err), VISE_OK);
    assert_int_equal(header_length(&buf), 1000);
    memory_file file = make_file(buf.data + 8, buf.length - 8, 15);
    vise_arena *arena;
    vise_st_header header;
    assert_int_equal(parse(&file, &arena, &header, &err), VISE_OK);
    assert_int_equal(header.n_tensors, 3);
    assert_int_equal(header.data_start, 1008);
    assert_string_equal(vise_st_metadata(&header, "format"), "pt");
    for (size_t i = 0; i < 3; i++) {
        const vise_st_tensor *got = &header.tensors[i];
        assert_string_equal(got->name, tensors[i].name);
        assert_int_equal(got->dtype, tensors[i].dtype);
        assert_int_equal(got->ndim, tensors[i].ndim);
        for (int d = 0; d < got->ndim; d++)
            assert_int_equal(got->shape[d], tensors[i].shape[d]);
        assert_int_equal(got->begin, tensors[i].begin);
        assert_int_equal(got->end, tensors[i].end);
    }
    char hex[VISE_SHA256_HEX_MAX];
    vise_sha256 hash;
    vise_sha256_init(&hash);
    vise_sha256_add(&hash, buf.data, buf.length);
    vise_sha256_hex(&hash, hex);
    assert_string_equal(header.sha256, hex);
    vise_st_header_deinit(&header);
    vise_arena_free(arena);
    free(file.bytes);
    vise_buf_deinit(&buf);
}

/* Every truncation of a good file is refused, and every allocation that fails is reported. */
static void test_truncations_and_failing_allocations(void **state)
{
    (void)state;
    static const char text[] =
        "{\"__metadata__\":{\"a\":\"b\"},\"x\":{\"dtype\":\"F16\",\"shape\":[3,1],\"data_offsets\":[0,6]}}";
    memory_file file = make_file(text, strlen(text), 6);
    size_t whole = file.n;
    vise_arena *arena;
    vise_st_header header;
    vise_error err;
    for (file.n = 0; file.n < whole; file.n++) {
        assert_int_equal(parse(&file, &arena, &header, &err), VISE_EFORMAT);
        vise_arena_free(arena);
    }
    vise_status status = VISE_ERESOURCE;
    for (uint64_t n = 1; status != VISE_OK; n++) {
        err = (vise_error){0};
        assert_true(n < 1000);
        assert_int_equal(vise_arena_new(&arena, &err), VISE_OK);
        vise_st_input input = {"f.safetensors", file.n, read_memory, &file};
        vise_alloc_fail_after(n);
        status = vise_st_parse(&input, arena, &header, &err);
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || status == VISE_ERESOURCE);
        vise_st_header_deinit(&header);
        vise_arena_free(arena);
    }
    free(file.bytes);
}

static void test_show(void **state)
{
    (void)state;
    char buffer[VISE_ST_SHOW_MAX], name[400];
    assert_string_equal(vise_st_show("a\nb\x7F", buffer), "a?b?");
    memset(name, 'x', 123);
    memcpy(name + 123, "\xC3\xA9tail", 7);
    assert_string_equal(vise_st_show(name, buffer) + 121, "xx...");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_headers),
        cmocka_unit_test(test_raw_files),
        cmocka_unit_test(test_many_at_one_place),
        cmocka_unit_test(test_window_borders),
        cmocka_unit_test(test_golden_writes),
        cmocka_unit_test(test_write_reads_back),
        cmocka_unit_test(test_truncations_and_failing_allocations),
        cmocka_unit_test(test_show),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
