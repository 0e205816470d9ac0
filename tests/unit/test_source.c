/* formats/source: files, folders, indexes, side files, packed files, and what is wrong with them. */
#include "tests/unit/formats_help.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/event.h"
#include "core/file.h"
#include "formats/packed.h"
#include "formats/sink.h"
#include "formats/source.h"

static const help_tensor first[] = {
    {.name = "a.weight", .dtype = VISE_DTYPE_F32, .ndim = 2, .shape = {3, 5}},
    {.name = "b", .dtype = VISE_DTYPE_BF16, .ndim = 1, .shape = {7}},
};
static const help_tensor second[] = {
    {.name = "c.weight", .dtype = VISE_DTYPE_I8, .ndim = 2, .shape = {4, 4}},
};

static char last_warning[1024];

static void listen(void *context, const vise_event *event)
{
    (void)context;
    if (event->kind == VISE_EVENT_WARNING)
        (void)snprintf(last_warning, sizeof last_warning, "%s", event->text);
}

static void check_tensor(const vise_source *source, const help_tensor *tensor)
{
    size_t index = vise_source_find(source, tensor->name), n = help_bytes(tensor);
    assert_int_not_equal(index, SIZE_MAX);
    const vise_tensor_info *info = vise_source_tensor(source, index);
    assert_string_equal(info->name, tensor->name);
    assert_int_equal(info->dtype, tensor->dtype);
    assert_int_equal(info->ndim, tensor->ndim);
    assert_int_equal(info->bytes, n);
    assert_int_equal(info->stored_bytes, n);
    char *want = malloc(n), *got = malloc(n);
    assert_true(want && got);
    help_pattern(tensor->name, want, n);
    vise_source_will_need(source, index);
    OK(vise_source_read(source, index, 0, n, got, NULL, &help_error));
    assert_memory_equal(want, got, n);
    OK(vise_source_read(source, index, 3, 2, got, NULL, &help_error));
    assert_memory_equal(want + 3, got, 2);
    FAILS(VISE_EINTERNAL, tensor->name, vise_source_read(source, index, 1, n, got, NULL, &help_error));
    FAILS(VISE_EINTERNAL, tensor->name,
          vise_source_read(source, index, UINT64_MAX, 2, got, NULL, &help_error));
    vise_source_done_with(source, index);
    free(want);
    free(got);
}

static void test_one_file(void **state)
{
    (void)state;
    const char *folder = help_folder();
    help_safetensors(folder, "x.safetensors", NULL, first, 2);
    vise_source *source;
    OK(vise_source_open(help_path(folder, "x.safetensors"), &source, &help_error));
    assert_false(vise_source_is_folder(source));
    assert_false(vise_source_is_packed(source));
    assert_string_equal(vise_source_format(source), "safetensors");
    assert_int_equal(vise_source_count(source), 2);
    assert_int_equal(vise_source_find(source, "zz"), SIZE_MAX);
    check_tensor(source, &first[0]);
    check_tensor(source, &first[1]);
    assert_null(vise_source_config(source));
    assert_int_equal(vise_source_files(source), 1);
    const vise_source_file *file = vise_source_file_at(source, 0);
    assert_string_equal(file->name, "x.safetensors");
    assert_int_equal(strlen(file->header_sha256), 64);
    assert_true(file->mtime_ns > 0);
    vise_source_close(source);
    help_remove(folder);
}

static void test_folder(void **state)
{
    (void)state;
    const char *folder = help_folder();
    help_safetensors(folder, "model.safetensors", "\"format\":\"pt\"", first, 2);
    help_write_text(folder, "config.json", "{\"model_type\": \"llama\"}");
    static const char *const carried[] = {"chat_template.jinja", "generation_config.json", "modeling_x.py",
                                          "tokenizer.json", "vocab.txt"};
    static const char *const left[] = {".gitattributes",
                                       ".hidden",
                                       "model.gguf",
                                       "pytorch_model.bin",
                                       "pytorch_model.bin.index.json",
                                       "report.html",
                                       "report.json",
                                       "rust_model.ot",
                                       "tf_model.h5",
                                       VISE_JOURNAL_NAME,
                                       "other.safetensors",
                                       "x.onnx"};
    for (size_t i = 0; i < sizeof carried / sizeof *carried; i++)
        help_write_text(folder, carried[i], "x");
    for (size_t i = 0; i < sizeof left / sizeof *left; i++)
        help_write_text(folder, left[i], "x");
    assert_int_equal(mkdir(help_path(folder, "1_Pooling"), 0777), 0);
    help_write_text(folder, "1_Pooling/config.json", "{}");
    vise_source *source;
    OK(vise_source_open(folder, &source, &help_error));
    assert_true(vise_source_is_folder(source));
    check_tensor(source, &first[0]);
    assert_string_equal(cJSON_GetObjectItem(vise_source_config(source), "model_type")->valuestring, "llama");
    assert_string_equal(vise_source_config_text(source), "{\"model_type\": \"llama\"}");
    assert_string_equal(vise_source_config_path(source), help_path(folder, "config.json"));
    assert_int_equal(vise_source_side_files(source), 6);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(vise_source_side_file(source, i), carried[i]);
    assert_string_equal(vise_source_side_file(source, 5), "1_Pooling/config.json");
    vise_source_close(source);
    help_remove(folder);
}

#define INDEX(map) "{\"metadata\": {\"total_size\": 1}, \"weight_map\": {" map "}}"
#define GOOD_MAP                                                                                             \
    "\"a.weight\": \"m1.safetensors\", \"b\": \"m1.safetensors\", \"c.weight\": \"m2.safetensors\""

static const struct {
    const char *index, *say; /* say NULL: opens; a warning when it begins with "warning " */
} indexes[] = {
    {INDEX(GOOD_MAP), NULL},
    {INDEX("\"a.weight\": \"m1.safetensors\", \"c.weight\": \"m2.safetensors\""), "warning 1 of 3 tensors"},
    {INDEX("\"a.weight\": \"m1.safetensors\", \"b\": \"m1.safetensors\""), NULL},
    {INDEX(""), NULL},
    {INDEX(GOOD_MAP ", \"d\": \"m2.safetensors\""),
     "tensor \"d\" should be in m2.safetensors, but is in no shard"},
    {INDEX("\"a.weight\": \"m2.safetensors\", \"b\": \"m1.safetensors\""),
     "should be in m2.safetensors, but is in m1"},
    {INDEX("\"a.weight\": \"m1.safetensors\", \"d\": \"m3.safetensors\""), "shard m3.safetensors is missing"},
    {INDEX("\"a.weight\": \"../m1.safetensors\""), "no file of this folder"},
    {INDEX("\"a.weight\": \"/etc/passwd\""), "no file of this folder"},
    {INDEX("\"a.weight\": \"sub/m1.safetensors\""), "no file of this folder"},
    {INDEX("\"a.weight\": \"..\""), "no file of this folder"},
    {INDEX("\"a.weight\": \"\""), "no file of this folder"},
    {INDEX("\"a.weight\": 1"), "is not the name of a shard"},
    {INDEX("\"a.weight\": \"m1.safetensors\", \"a.weight\": \"m1.safetensors\""), "a.weight"},
    {INDEX("\"a.weight\": \"m1.safetensors\", \"x\": \"copy.safetensors\""), "is in two shards"},
    {INDEX("\"a.weight\": \"bad.safetensors\""), "bad.safetensors"},
    {"{}", "weight_map"},
    {"{\"weight_map\": []}", "weight_map"},
    {"[]", "is not a JSON object"},
    {"{", "index.json"},
    {"version https://git-lfs.github.com/spec/v1", "Git LFS pointer"},
};

static void test_indexes(void **state)
{
    (void)state;
    const char *folder = help_folder();
    help_safetensors(folder, "m1.safetensors", NULL, first, 2);
    help_safetensors(folder, "m2.safetensors", NULL, second, 1);
    help_safetensors(folder, "copy.safetensors", NULL, first, 1);
    help_write_text(folder, "bad.safetensors", "version https://git-lfs.github.com/spec/v1\n");
    vise_listen(listen, NULL);
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        vise_source *source;
        const char *say = indexes[i].say;
        bool warns = say && strncmp(say, "warning ", 8) == 0;
        last_warning[0] = '\0';
        help_write_text(folder, VISE_INDEX_NAME, indexes[i].index);
        if (say && !warns) {
            FAILS(VISE_EFORMAT, say, vise_source_open(folder, &source, &help_error));
            assert_null(source);
            continue;
        }
        OK(vise_source_open(folder, &source, &help_error));
        if (warns)
            assert_non_null(strstr(last_warning, say + 8));
        else
            assert_string_equal(last_warning, "");
        if (i == 0) {
            assert_int_equal(vise_source_files(source), 2);
            check_tensor(source, &first[1]);
            check_tensor(source, &second[0]);
            assert_int_equal(vise_source_find(source, "c.weight"), 2); /* by shard, then by offset */
        }
        vise_source_close(source);
    }
    /* The single file wins, with a word. */
    help_safetensors(folder, "model.safetensors", NULL, second, 1);
    vise_source *source;
    OK(vise_source_open(folder, &source, &help_error));
    assert_int_equal(vise_source_count(source), 1);
    assert_non_null(strstr(last_warning, "the index is ignored"));
    vise_source_close(source);
    vise_listen(NULL, NULL);
    help_remove(folder);
}

static void test_folders_without_weights(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_source *source;
    FAILS(VISE_EFORMAT, "no weights", vise_source_open(folder, &source, &help_error));
    FAILS(VISE_EFORMAT, "missing", vise_source_open(help_path(folder, "missing"), &source, &help_error));
    help_write_text(folder, "pytorch_model.bin", "x");
    FAILS(VISE_EFORMAT, "pytorch_model.bin", vise_source_open(folder, &source, &help_error));
    FAILS(VISE_EFORMAT, "no checkpoint of torch.save",
          vise_source_open(help_path(folder, "pytorch_model.bin"), &source, &help_error));
    help_write_text(folder, "m.gguf", "GGUF");
    FAILS(VISE_EFORMAT, "m.gguf", vise_source_open(help_path(folder, "m.gguf"), &source, &help_error));
    help_safetensors(folder, "one.safetensors", NULL, first, 2);
    OK(vise_source_open(folder, &source, &help_error));
    vise_source_close(source);
    help_safetensors(folder, "two.safetensors", NULL, second, 1);
    FAILS(VISE_EFORMAT, "2 .safetensors files but no", vise_source_open(folder, &source, &help_error));
    help_safetensors(folder, "model.safetensors", NULL, second, 1);
    static const struct {
        const char *text, *say;
    } configs[] = {{"", "config.json"},
                   {"{", "config.json"},
                   {"[1]", "is not a JSON object"},
                   {"{} x", "config.json"},
                   {"version https://git-lfs", "Git LFS pointer"}};
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        help_write_text(folder, "config.json", configs[i].text);
        FAILS(VISE_EFORMAT, configs[i].say, vise_source_open(folder, &source, &help_error));
    }
    help_remove(folder);
}

static void test_many_dimensions(void **state)
{
    (void)state;
    const char *folder = help_folder();
    static const char header[] =
        "{\"x\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}      ";
    char file[8 + sizeof header] = {0};
    file[0] = (char)(sizeof header - 1);
    memcpy(file + 8, header, sizeof header - 1);
    help_write(folder, "x.safetensors", file, 8 + sizeof header);
    vise_source *source;
    FAILS(VISE_EUNSUPPORTED, "9 dimensions",
          vise_source_open(help_path(folder, "x.safetensors"), &source, &help_error));
    help_remove(folder);
}

/* A download cache holds links. */
static void test_links(void **state)
{
    (void)state;
    const char *folder = help_folder();
    assert_int_equal(mkdir(help_path(folder, "blobs"), 0777), 0);
    assert_int_equal(mkdir(help_path(folder, "snap"), 0777), 0);
    help_safetensors(folder, "blobs/123", NULL, first, 2);
    assert_int_equal(symlink("../blobs/123", help_path(folder, "snap/model.safetensors")), 0);
    vise_source *source;
    OK(vise_source_open(help_path(folder, "snap"), &source, &help_error));
    check_tensor(source, &first[0]);
    vise_source_close(source);
    help_remove(folder);
}

/* A packed file: every byte flipped in turn is an error or nothing, never something else read. */
static void test_damaged_packed(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_sink_options options = {
        .path = help_path(folder, "p.vise.safetensors"), .pack = true, .identity = ""};
    vise_sink *sink;
    size_t id;
    int64_t shape[] = {30, 20};
    uint8_t original[1200], got[1200];
    for (size_t i = 0; i < sizeof original; i++)
        original[i] = (uint8_t)(i % 2 ? 0x3F : i * i);
    OK(vise_sink_open(&options, &sink, &help_error));
    OK(vise_sink_declare(sink, "w", VISE_DTYPE_BF16, 2, shape, 0, &id, &help_error));
    OK(vise_sink_seal(sink, &help_error));
    OK(vise_sink_write(sink, id, 0, original, sizeof original, &help_error));
    OK(vise_sink_finish(sink, &help_error));
    OK(vise_sink_publish(sink, &help_error));
    vise_sink_close(sink, false);
    size_t n, opened = 0, refused = 0;
    char *file = help_read(help_path(folder, "p.vise.safetensors"), &n);
    for (size_t i = 0; i <= n; i++) {
        vise_source *source;
        if (i < n)
            file[i] ^= 0x11;
        help_write(folder, "d.safetensors", file, n);
        vise_status status = vise_source_open(help_path(folder, "d.safetensors"), &source, &help_error);
        size_t index = status == VISE_OK ? vise_source_find(source, "w") : SIZE_MAX;
        if (index != SIZE_MAX && vise_source_tensor(source, index)->packed &&
            vise_source_tensor(source, index)->dtype == VISE_DTYPE_BF16) {
            status = vise_source_read(source, index, 0, sizeof got, got, NULL, &help_error);
            if (status == VISE_OK)
                assert_memory_equal(original, got, sizeof got);
            opened++;
        }
        refused += status != VISE_OK;
        assert_true(i < n || status == VISE_OK);
        vise_source_close(source);
        help_error = (vise_error){0};
        if (i < n)
            file[i] ^= 0x11;
    }
    assert_true(opened > 0 && refused > 0);
    vise_free(file);
    help_remove(folder);
}

static void test_failing_allocations(void **state)
{
    (void)state;
    const char *folder = help_folder();
    help_safetensors(folder, "m1.safetensors", NULL, first, 2);
    help_safetensors(folder, "m2.safetensors", NULL, second, 1);
    help_write_text(folder, VISE_INDEX_NAME, INDEX(GOOD_MAP));
    help_write_text(folder, "config.json", "{\"a\": 1}");
    help_write_text(folder, "tokenizer.json", "{}");
    vise_status status = VISE_ERESOURCE;
    for (uint64_t n = 1; status != VISE_OK; n++) {
        vise_source *source;
        vise_error err = {0};
        assert_true(n < 10000);
        vise_alloc_fail_after(n);
        status = vise_source_open(folder, &source, &err);
        vise_alloc_fail_after(0);
        assert_true(status == VISE_OK || (status == VISE_ERESOURCE && source == NULL));
        vise_source_close(source);
    }
    help_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_file),        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_indexes),         cmocka_unit_test(test_folders_without_weights),
        cmocka_unit_test(test_many_dimensions), cmocka_unit_test(test_links),
        cmocka_unit_test(test_damaged_packed),  cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
