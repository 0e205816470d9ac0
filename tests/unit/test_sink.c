/* formats/sink: shards, offsets, packed and plain, any order and number of threads, resume, publishing. */
#include "tests/unit/formats_help.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/hash.h"
#include "formats/packed.h"
#include "formats/sink.h"
#include "formats/source.h"

/* Two units of several parts, odd sizes, a scalar, empty tensors, chunk borders of the packed form. */
static const help_tensor model[] = {
    {.name = "embed.weight", .dtype = VISE_DTYPE_BF16, .ndim = 2, .shape = {700, 1100}},
    {.name = "a.weight_packed", .dtype = VISE_DTYPE_I32, .ndim = 2, .shape = {33, 10}},
    {.name = "a.weight_scale", .dtype = VISE_DTYPE_F16, .ndim = 2, .shape = {33, 3}},
    {.name = "a.weight_shape", .dtype = VISE_DTYPE_I64, .ndim = 1, .shape = {2}},
    {.name = "flag", .dtype = VISE_DTYPE_BOOL, .ndim = 1, .shape = {3}},
    {.name = "empty", .dtype = VISE_DTYPE_F32, .ndim = 2, .shape = {0, 5}},
    {.name = "scalar", .dtype = VISE_DTYPE_F32, .ndim = 0},
    {.name = "big", .dtype = VISE_DTYPE_F32, .ndim = 2, .shape = {513, 1024}},
    {.name = "exact", .dtype = VISE_DTYPE_U8, .ndim = 1, .shape = {(int64_t)VISE_PACK_CHUNK}},
    {.name = "last", .dtype = VISE_DTYPE_I8, .ndim = 1, .shape = {1025}},
};
static const int units[] = {0, 1, 1, 1, 2, 3, 4, 5, 6, 7};
#define N (sizeof model / sizeof *model)

static vise_sink *open_sink(const char *path, bool pack, bool resume, bool replace, uint64_t max_shard)
{
    vise_sink *sink;
    vise_sink_options options = {.path = path,
                                 .pack = pack,
                                 .resume = resume,
                                 .replace = replace,
                                 .max_shard_bytes = max_shard,
                                 .identity = "test \"run\""};
    OK(vise_sink_open(&options, &sink, &help_error));
    for (size_t i = 0; i < N; i++) {
        size_t id;
        OK(vise_sink_declare(sink, model[i].name, model[i].dtype, model[i].ndim, model[i].shape, units[i],
                             &id, &help_error));
        assert_int_equal(id, i);
    }
    OK(vise_sink_seal(sink, &help_error));
    return sink;
}

static void write_tensor(vise_sink *sink, size_t id, size_t step)
{
    size_t n = help_bytes(&model[id]);
    char *bytes = malloc(n + 1);
    assert_non_null(bytes);
    help_pattern(model[id].name, bytes, n);
    for (size_t at = 0; at < n; at += step)
        OK(vise_sink_write(sink, id, at, bytes + at, n - at < step ? n - at : step, &help_error));
    free(bytes);
}

/* Everything reads back, in this file order. */
static void check_model(const char *path, size_t shards, bool packed)
{
    vise_source *source;
    OK(vise_source_open(path, &source, &help_error));
    assert_int_equal(vise_source_count(source), N);
    assert_int_equal(vise_source_files(source), shards);
    assert_int_equal(vise_source_is_packed(source), packed);
    for (size_t i = 0; i < N; i++) {
        size_t index = vise_source_find(source, model[i].name), n = help_bytes(&model[i]);
        assert_int_not_equal(index, SIZE_MAX);
        const vise_tensor_info *info = vise_source_tensor(source, index);
        assert_int_equal(info->dtype, model[i].dtype);
        assert_int_equal(info->ndim, model[i].ndim);
        assert_int_equal(info->bytes, n);
        for (int d = 0; d < info->ndim; d++)
            assert_int_equal(info->shape[d], model[i].shape[d]);
        char *want = malloc(n + 1), *got = malloc(n + 1);
        assert_true(want && got);
        help_pattern(model[i].name, want, n);
        OK(vise_source_read(source, index, 0, n, got, NULL, &help_error));
        assert_memory_equal(got, want, n);
        for (size_t at = 0; at < n; at += n / 7 + 1) { /* parts, too */
            size_t part = n - at < 999 ? n - at : 999;
            OK(vise_source_read(source, index, at, part, got, NULL, &help_error));
            assert_memory_equal(got, want + at, part);
        }
        free(want);
        free(got);
    }
    vise_source_close(source);
}

static void publish(vise_sink *sink)
{
    OK(vise_sink_put_file(sink, "config.json", "{}", 2, &help_error));
    OK(vise_sink_finish(sink, &help_error));
    OK(vise_sink_publish(sink, &help_error));
    vise_sink_close(sink, false);
}

static const struct {
    bool pack, backwards;
    size_t step;
    uint64_t max_shard;
    size_t shards;
} rows[] = {
    {false, false, 1 << 20, 0, 1},  {false, true, 777, 0, 1},          {false, false, 4096, 2000000, 3},
    {false, true, 1 << 30, 1, 7},   {true, false, 1 << 20, 0, 1},      {true, true, 1 << 30, 0, 1},
    {true, false, 777, 2000000, 3}, {true, true, 1000003, 2000000, 3}, {true, false, 1 << 30, 1, 7},
};

static void test_round_trips(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        const char *folder = help_folder(), *out = help_path(folder, "out/");
        vise_sink *sink = open_sink(out, rows[r].pack, false, false, rows[r].max_shard);
        assert_int_equal(vise_sink_shards(sink), rows[r].shards);
        for (size_t i = 0; i < N; i++)
            write_tensor(sink, rows[r].backwards ? N - 1 - i : i, rows[r].step);
        assert_false(vise_path_exists(help_path(folder, "out")));
        OK(vise_sink_finish(sink, &help_error));
        check_model(vise_sink_partial_path(sink), rows[r].shards, rows[r].pack);
        assert_int_equal(vise_sink_files(sink), rows[r].shards);
        for (size_t s = 0; s < rows[r].shards; s++) {
            uint64_t bytes;
            char hex[65];
            const vise_sink_file *file = vise_sink_file_at(sink, s);
            assert_string_equal(file->name, vise_sink_shard(sink, s, &bytes));
            if (!rows[r].pack)
                assert_int_equal(file->bytes, bytes);
            OK(vise_sha256_file(help_path(vise_sink_partial_path(sink), file->name), hex, &help_error));
            assert_string_equal(file->sha256, hex);
        }
        publish(sink);
        out = help_path(folder, "out");
        check_model(out, rows[r].shards, rows[r].pack);
        char **names;
        size_t count;
        OK(vise_folder_list(out, &names, &count, &help_error));
        assert_int_equal(count, rows[r].shards + 1 + (rows[r].shards > 1)); /* no journal, no leftovers */
        for (size_t i = 0; i < count; i++)
            vise_free(names[i]);
        vise_free(names);
        help_remove(folder);
    }
}

/* The same bytes, whatever the order, the step and the number of threads. */
typedef struct writer {
    vise_sink *sink;
    size_t first, step;
} writer;

static void *write_some(void *context)
{
    writer *w = context;
    for (size_t i = 0; i < N; i++) {
        size_t n = help_bytes(&model[i]), tile = 4099;
        char *bytes = malloc(n + 1);
        if (!bytes)
            return NULL;
        help_pattern(model[i].name, bytes, n);
        vise_error err = {0};
        for (size_t at = w->first * tile; at < n; at += w->step * tile)
            if (vise_sink_write(w->sink, i, at, bytes + at, n - at < tile ? n - at : tile, &err) != VISE_OK)
                return NULL;
        free(bytes);
    }
    return w;
}

static void test_threads_and_order_do_not_show(void **state)
{
    (void)state;
    for (int pack = 0; pack < 2; pack++) {
        const char *folder = help_folder();
        vise_sink *sink = open_sink(help_path(folder, "serial"), pack, false, false, 0);
        for (size_t i = 0; i < N; i++)
            write_tensor(sink, i, SIZE_MAX);
        publish(sink);
        sink = open_sink(help_path(folder, "threads"), pack, false, false, 0);
        pthread_t threads[4];
        writer writers[4];
        for (size_t i = 0; i < 4; i++) {
            writers[i] = (writer){sink, i, 4};
            assert_int_equal(pthread_create(&threads[i], NULL, write_some, &writers[i]), 0);
        }
        for (size_t i = 0; i < 4; i++) {
            void *result;
            assert_int_equal(pthread_join(threads[i], &result), 0);
            assert_non_null(result);
        }
        publish(sink);
        char name[64];
        size_t n, m;
        (void)snprintf(name, sizeof name, "serial/model%s.safetensors", pack ? ".vise" : "");
        char *a = help_read(help_path(folder, name), &n);
        (void)snprintf(name, sizeof name, "threads/model%s.safetensors", pack ? ".vise" : "");
        char *b = help_read(help_path(folder, name), &m);
        assert_int_equal(n, m);
        assert_memory_equal(a, b, n);
        vise_free(a);
        vise_free(b);
        help_remove(folder);
    }
}

/* Waiting chunks are charged to the pool, and all of it comes back. */
static void test_pool(void **state)
{
    (void)state;
    for (int tight = 0; tight < 2; tight++) {
        const char *folder = help_folder();
        vise_pool *pool;
        OK(vise_pool_new(tight ? 2 << 20 : 0, &pool, &help_error));
        vise_sink_options options = {
            .path = help_path(folder, "out"), .pack = true, .identity = "", .pool = pool};
        vise_sink *sink;
        OK(vise_sink_open(&options, &sink, &help_error));
        int64_t shape[] = {4, 1 << 20};
        size_t id;
        OK(vise_sink_declare(sink, "x", VISE_DTYPE_BF16, 2, shape, 0, &id, &help_error));
        OK(vise_sink_seal(sink, &help_error));
        char *bytes = malloc(8 << 20);
        assert_non_null(bytes);
        help_pattern("x", bytes, 8 << 20);
        vise_status status = VISE_OK;
        for (int chunk = 7; chunk >= 0 && status == VISE_OK; chunk--)
            status = vise_sink_write(sink, id, (uint64_t)chunk << 20, bytes + ((size_t)chunk << 20), 1 << 20,
                                     &help_error);
        assert_int_equal(status, tight ? VISE_ERESOURCE : VISE_OK);
        help_error = (vise_error){0};
        if (!tight)
            publish(sink);
        else
            vise_sink_close(sink, true);
        assert_int_equal(vise_pool_used(pool), 0);
        vise_pool_free(pool);
        free(bytes);
        help_remove(folder);
    }
}

static char *folder_digest(const char *parent, const char *name)
{
    char **names, *digest = NULL, folder[512];
    (void)snprintf(folder, sizeof folder, "%s/%s", parent, name);
    size_t count;
    OK(vise_strdup("", &digest, &help_error));
    OK(vise_folder_list(folder, &names, &count, &help_error));
    for (size_t i = 0; i < count; i++) {
        char hex[65], *longer;
        OK(vise_sha256_file(help_path(folder, names[i]), hex, &help_error));
        OK(vise_strfmt(&longer, &help_error, "%s%s %s\n", digest, names[i], hex));
        vise_free(digest);
        digest = longer;
        vise_free(names[i]);
    }
    vise_free(names);
    return digest;
}

/* A run that stops within or behind any shard is continued to the same bytes; finished shards are kept. */
static void test_resume(void **state)
{
    (void)state;
    static const size_t stops[] = {0, 3, 7, 8, N};
    for (int pack = 0; pack < 2; pack++) {
        const char *folder = help_folder();
        vise_sink *sink = open_sink(help_path(folder, "whole"), pack, false, false, 2000000);
        for (size_t i = 0; i < N; i++)
            write_tensor(sink, i, 100000);
        publish(sink);
        char *whole = folder_digest(folder, "whole");
        for (size_t s = 0; s < sizeof stops / sizeof *stops; s++) {
            sink = open_sink(help_path(folder, "out"), pack, true, true, 2000000);
            for (size_t i = 0; i < stops[s]; i++)
                write_tensor(sink, i, 100000);
            vise_sink_close(sink, false);
            assert_int_equal(vise_path_exists(help_path(folder, "out")),
                             s > 0); /* that of the round before */

            sink = open_sink(help_path(folder, "out"), pack, true, true, 2000000);
            assert_int_equal(vise_sink_has(sink, 0), stops[s] >= 7); /* the first shard */
            assert_int_equal(vise_sink_has(sink, N - 1), stops[s] >= N);
            for (size_t i = 0; i < N; i++)
                if (i % 2 || !vise_sink_has(sink, i)) /* writing again what is there is fine */
                    write_tensor(sink, i, 100000);
            publish(sink);
            char *out = folder_digest(folder, "out");
            assert_string_equal(whole, out);
            vise_free(out);
        }
        vise_free(whole);
        help_remove(folder);
    }
}

static void test_resume_refuses_and_repairs(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_sink *sink = open_sink(help_path(folder, "out"), false, false, false, 2000000);
    for (size_t i = 0; i < 7; i++)
        write_tensor(sink, i, 100000);
    vise_sink_close(sink, false);

    vise_sink_options options = {
        .path = help_path(folder, "out"), .resume = true, .max_shard_bytes = 2000000, .identity = "another"};
    FAILS(VISE_EUSAGE, "was begun by another run", vise_sink_open(&options, &sink, &help_error));
    /* Another plan under the same identity. */
    options.identity = "test \"run\"";
    OK(vise_sink_open(&options, &sink, &help_error));
    size_t id;
    int64_t shape[] = {700, 1101};
    OK(vise_sink_declare(sink, "embed.weight", VISE_DTYPE_BF16, 2, shape, 0, &id, &help_error));
    OK(vise_sink_declare(sink, "more", VISE_DTYPE_F32, 2, model[7].shape, 1, &id, &help_error));
    OK(vise_sink_declare(sink, "more2", VISE_DTYPE_F32, 2, model[7].shape, 2, &id, &help_error));
    OK(vise_sink_declare(sink, "more3", VISE_DTYPE_F32, 2, model[7].shape, 3, &id, &help_error));
    FAILS(VISE_EUSAGE, "another plan", vise_sink_seal(sink, &help_error));
    vise_sink_close(sink, false);

    /* A damaged finished shard is written again. */
    const char *shard = help_path(folder, ".out.vise-partial/model-00001-of-00003.safetensors");
    size_t n;
    char *bytes = help_read(shard, &n);
    bytes[n - 1] ^= 1;
    OK(vise_file_write_atomic(shard, bytes, n, &help_error));
    vise_free(bytes);
    sink = open_sink(help_path(folder, "out"), false, true, false, 2000000);
    assert_false(vise_sink_has(sink, 0));
    for (size_t i = 0; i < N; i++)
        write_tensor(sink, i, 100000);
    publish(sink);
    check_model(help_path(folder, "out"), 3, false);
    help_remove(folder);
}

/* What a continued run can read of what is done. */
static void test_finished_folder(void **state)
{
    (void)state;
    for (int pack = 0; pack < 2; pack++) {
        const char *folder = help_folder();
        vise_sink *sink = open_sink(help_path(folder, "out"), pack, false, false, 2000000);
        for (size_t i = 0; i < 7; i++)
            write_tensor(sink, i, 100000);
        vise_sink_close(sink, false);
        sink = open_sink(help_path(folder, "out"), pack, true, false, 2000000);
        char *finished;
        OK(vise_sink_finished_folder(sink, "{\"model_type\":\"llama\"}", &finished, &help_error));
        vise_source *source;
        OK(vise_source_open(finished, &source, &help_error));
        assert_int_not_equal(vise_source_find(source, "embed.weight"), SIZE_MAX);
        assert_int_equal(vise_source_find(source, "last"), SIZE_MAX);
        assert_non_null(vise_source_config(source));
        vise_source_close(source);
        vise_free(finished);
        for (size_t i = 0; i < N; i++)
            write_tensor(sink, i, 100000);
        publish(sink);
        assert_false(vise_path_exists(help_path(folder, "out/finished")));
        check_model(help_path(folder, "out"), 3, pack);
        help_remove(folder);
    }
}

static void test_output_that_exists(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_sink *sink, *second;
    help_write_text(folder, "out", "something");
    vise_sink_options options = {.path = help_path(folder, "out"), .identity = ""};
    FAILS(VISE_EUSAGE, "exists already", vise_sink_open(&options, &sink, &help_error));
    assert_null(sink);
    options.replace = true;
    OK(vise_sink_open(&options, &sink, &help_error));
    FAILS(VISE_EUSAGE, "another run is writing", vise_sink_open(&options, &second, &help_error));
    vise_sink_close(sink, true);
    assert_false(vise_path_exists(help_path(folder, ".out.vise-partial")));
    for (int i = 0; i < 2; i++) { /* a file, then a folder is replaced */
        sink = open_sink(help_path(folder, "out"), false, false, true, 0);
        for (size_t t = 0; t < N; t++)
            write_tensor(sink, t, SIZE_MAX);
        publish(sink);
        check_model(help_path(folder, "out"), 1, false);
        assert_false(vise_path_exists(help_path(folder, ".out.vise-partial")));
    }
    static const char *const bad[] = {"", "/", "..", "x/..", "no/such/parent"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        options = (vise_sink_options){.path = bad[i], .identity = "", .replace = true};
        FAILS(VISE_EUSAGE, "", vise_sink_open(&options, &sink, &help_error));
    }
    help_remove(folder);
}

static void test_single_file(void **state)
{
    (void)state;
    for (int pack = 0; pack < 2; pack++) {
        const char *folder = help_folder();
        const char *name = pack ? "m.vise.safetensors" : "m.safetensors";
        vise_sink *sink = open_sink(help_path(folder, name), pack, false, false, 1000);
        assert_int_equal(vise_sink_shards(sink), 1);
        for (size_t i = 0; i < N; i++)
            write_tensor(sink, i, 12345);
        OK(vise_sink_put_file(sink, "report.json", "{ }", 3, &help_error));
        OK(vise_sink_finish(sink, &help_error));
        OK(vise_sink_publish(sink, &help_error));
        vise_sink_close(sink, false);
        check_model(help_path(folder, name), 1, pack);
        char **names;
        size_t count;
        OK(vise_folder_list(folder, &names, &count, &help_error));
        assert_int_equal(count, 2);
        assert_string_equal(names[1] + strlen(name), ".report.json");
        for (size_t i = 0; i < count; i++)
            vise_free(names[i]);
        vise_free(names);
        help_remove(folder);
    }
}

static void test_side_files(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_sink *sink = open_sink(help_path(folder, "out"), false, false, false, 0);
    help_write_text(folder, "vocab", "words");
    OK(vise_sink_copy_file(sink, "1_Pooling/config.json", help_path(folder, "vocab"), &help_error));
    OK(vise_sink_put_file(sink, "config.json", "a", 1, &help_error));
    OK(vise_sink_put_file(sink, "config.json", "bc", 2, &help_error));
    FAILS(VISE_EINTERNAL, "no file of this output", vise_sink_put_file(sink, "../x", "a", 1, &help_error));
    FAILS(VISE_EINTERNAL, "no file of this output", vise_sink_put_file(sink, "a/b/c", "a", 1, &help_error));
    FAILS(VISE_EINTERNAL, "no file of this output", vise_sink_put_file(sink, "..", "a", 1, &help_error));
    char *text = help_read(help_path(vise_sink_partial_path(sink), "1_Pooling/config.json"), NULL);
    assert_string_equal(text, "words");
    vise_free(text);
    text = help_read(help_path(vise_sink_partial_path(sink), "config.json"), NULL);
    assert_string_equal(text, "bc");
    vise_free(text);
    vise_sink_close(sink, true);
    help_remove(folder);
}

static void test_wrong_use(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_sink *sink = open_sink(help_path(folder, "out"), false, false, false, 0);
    char bytes[16] = {0};
    size_t id;
    FAILS(VISE_EINTERNAL, "after the output was sealed",
          vise_sink_declare(sink, "x", VISE_DTYPE_F32, 0, NULL, 9, &id, &help_error));
    FAILS(VISE_EINTERNAL, "write of 16 bytes", vise_sink_write(sink, 4, 0, bytes, 16, &help_error));
    FAILS(VISE_EINTERNAL, "write of 1 bytes at 4", vise_sink_write(sink, 4, 4, bytes, 1, &help_error));
    OK(vise_sink_write(sink, 4, 0, bytes, 3, &help_error));
    FAILS(VISE_EINTERNAL, "came twice", vise_sink_write(sink, 4, 0, bytes, 1, &help_error));
    FAILS(VISE_EINTERNAL, "tensor embed.weight: 0 of 1540000 bytes", vise_sink_finish(sink, &help_error));
    FAILS(VISE_EINTERNAL, "before it is finished", vise_sink_publish(sink, &help_error));
    vise_sink_close(sink, true);

    OK(vise_sink_dry(0, false, NULL, &sink, &help_error));
    int64_t huge[] = {INT64_MAX, 4};
    FAILS(VISE_EUSAGE, "overflows",
          vise_sink_declare(sink, "x", VISE_DTYPE_F32, 2, huge, 0, &id, &help_error));
    huge[0] = 3;
    huge[1] = 1;
    FAILS(VISE_EUSAGE, "whole bytes",
          vise_sink_declare(sink, "x", VISE_DTYPE_F4, 2, huge, 0, &id, &help_error));
    OK(vise_sink_declare(sink, "x", VISE_DTYPE_F32, 2, huge, 0, &id, &help_error));
    OK(vise_sink_declare(sink, "x", VISE_DTYPE_F32, 2, huge, 0, &id, &help_error));
    FAILS(VISE_EINTERNAL, "declared twice", vise_sink_seal(sink, &help_error));
    vise_sink_close(sink, false);
    help_remove(folder);
}

/* The plan's sizes are those of the files, to the byte, and those of the reference's writer: its test tensor
 * with this metadata is 128 bytes. */
static void test_dry(void **state)
{
    (void)state;
    vise_sink *sink;
    uint64_t bytes;
    size_t id;
    int64_t shape[] = {1, 2, 3};
    OK(vise_sink_dry(0, false, NULL, &sink, &help_error));
    OK(vise_sink_declare(sink, "attn.0", VISE_DTYPE_F32, 3, shape, 0, &id, &help_error));
    OK(vise_sink_seal(sink, &help_error));
    assert_string_equal(vise_sink_shard(sink, 0, &bytes), "model.safetensors");
    assert_int_equal(bytes, 8 + 96 + 24);
    FAILS(VISE_EINTERNAL, "", vise_sink_write(sink, id, 0, shape, 24, &help_error));
    vise_sink_close(sink, false);
    OK(vise_sink_dry(100, true, NULL, &sink, &help_error));
    for (int i = 0; i < 5; i++) {
        char name[8];
        int64_t n = i == 2 ? 200 : 40;
        (void)snprintf(name, sizeof name, "t%d", i);
        OK(vise_sink_declare(sink, name, VISE_DTYPE_U8, 1, &n, i, &id, &help_error));
    }
    OK(vise_sink_seal(sink, &help_error));
    assert_int_equal(vise_sink_shards(sink), 3); /* 40+40 | 200 | 40+40 */
    assert_string_equal(vise_sink_shard(sink, 1, &bytes), "model-00002-of-00003.vise.safetensors");
    vise_sink_close(sink, false);
}

/* Wide elements go first where declared order would leave them unaligned, and only there. */
static void test_alignment(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_sink_options options = {.path = help_path(folder, "out"), .identity = ""};
    vise_sink *sink;
    OK(vise_sink_open(&options, &sink, &help_error));
    static const struct {
        const char *name;
        vise_dtype dtype;
        int64_t n;
    } tensors[] = {{"b", VISE_DTYPE_I8, 3},
                   {"h", VISE_DTYPE_F16, 5},
                   {"f", VISE_DTYPE_F32, 1},
                   {"l", VISE_DTYPE_I64, 1}};
    static const size_t order[] = {3, 2, 1, 0};
    size_t id;
    for (int i = 0; i < 4; i++)
        OK(vise_sink_declare(sink, tensors[i].name, tensors[i].dtype, 1, &tensors[i].n, i, &id, &help_error));
    OK(vise_sink_seal(sink, &help_error));
    char bytes[10] = "abcdefghi";
    static const size_t sizes[] = {3, 10, 4, 8};
    for (size_t i = 0; i < 4; i++)
        OK(vise_sink_write(sink, i, 0, bytes, sizes[i], &help_error));
    OK(vise_sink_finish(sink, &help_error));
    OK(vise_sink_publish(sink, &help_error));
    vise_sink_close(sink, false);
    vise_source *source;
    OK(vise_source_open(help_path(folder, "out"), &source, &help_error));
    for (size_t i = 0; i < 4; i++) {
        const vise_tensor_info *info = vise_source_tensor(source, i);
        assert_string_equal(info->name, tensors[order[i]].name);
        assert_int_equal(info->offset % ((uint64_t)vise_dtype_of(info->dtype)->bits / 8), 0);
    }
    vise_source_close(source);
    help_remove(folder);
}

static void test_empty_model(void **state)
{
    (void)state;
    for (int pack = 0; pack < 2; pack++) {
        const char *folder = help_folder();
        vise_sink_options options = {.path = help_path(folder, "out"), .identity = "", .pack = pack};
        vise_sink *sink;
        OK(vise_sink_open(&options, &sink, &help_error));
        OK(vise_sink_seal(sink, &help_error));
        publish(sink);
        vise_source *source;
        OK(vise_source_open(help_path(folder, "out"), &source, &help_error));
        assert_int_equal(vise_source_count(source), 0);
        vise_source_close(source);
        help_remove(folder);
    }
}

static void test_index(void **state)
{
    (void)state;
    const char *folder = help_folder();
    vise_sink *sink = open_sink(help_path(folder, "out"), false, false, false, 2000000);
    for (size_t i = 0; i < N; i++)
        write_tensor(sink, i, SIZE_MAX);
    publish(sink);
    char *text = help_read(help_path(folder, "out/model.safetensors.index.json"), NULL);
    assert_string_equal(text, "{\n  \"metadata\": {\n    \"total_size\": 4692390\n  },\n  \"weight_map\": {\n"
                              "    \"a.weight_packed\": \"model-00001-of-00003.safetensors\",\n"
                              "    \"a.weight_scale\": \"model-00001-of-00003.safetensors\",\n"
                              "    \"a.weight_shape\": \"model-00001-of-00003.safetensors\",\n"
                              "    \"big\": \"model-00002-of-00003.safetensors\",\n"
                              "    \"embed.weight\": \"model-00001-of-00003.safetensors\",\n"
                              "    \"empty\": \"model-00001-of-00003.safetensors\",\n"
                              "    \"exact\": \"model-00003-of-00003.safetensors\",\n"
                              "    \"flag\": \"model-00001-of-00003.safetensors\",\n"
                              "    \"last\": \"model-00003-of-00003.safetensors\",\n"
                              "    \"scalar\": \"model-00001-of-00003.safetensors\"\n  }\n}\n");
    vise_free(text);
    help_remove(folder);
}

/* One allocation after the other fails: an error each time, nothing at the final name, nothing leaked. */
static vise_status write_small(const char *out, bool pack, vise_error *err)
{
    static const uint8_t bytes[2048];
    vise_sink_options options = {.path = out, .pack = pack, .max_shard_bytes = 2048, .identity = "i"};
    vise_sink *sink;
    size_t ids[2];
    int64_t n = sizeof bytes;
    VISE_TRY(vise_sink_open(&options, &sink, err));
    vise_status status = VISE_OK;
    for (int i = 0; i < 2; i++)
        VISE_TRY_TO(done, vise_sink_declare(sink, i ? "b" : "a", VISE_DTYPE_U8, 1, &n, i, &ids[i], err));
    VISE_TRY_TO(done, vise_sink_seal(sink, err));
    for (int i = 1; i >= 0; i--) {
        VISE_TRY_TO(done, vise_sink_write(sink, ids[i], 0, bytes, 1000, err));
        VISE_TRY_TO(done, vise_sink_write(sink, ids[i], 1000, bytes, sizeof bytes - 1000, err));
    }
    VISE_TRY_TO(done, vise_sink_put_file(sink, "config.json", "{}", 2, err));
    VISE_TRY_TO(done, vise_sink_finish(sink, err));
    VISE_TRY_TO(done, vise_sink_publish(sink, err));
done:
    vise_sink_close(sink, status != VISE_OK);
    return status;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    for (int pack = 0; pack < 2; pack++) {
        const char *folder = help_folder();
        char out[256];
        (void)snprintf(out, sizeof out, "%s/out", folder);
        vise_status status = VISE_ERESOURCE;
        for (uint64_t n = 1; status != VISE_OK; n++) {
            vise_error err = {0};
            assert_true(n < 2000);
            vise_alloc_fail_after(n);
            status = write_small(out, pack, &err);
            vise_alloc_fail_after(0);
            if (status != VISE_OK && status != VISE_ERESOURCE)
                fail_msg("allocation %d: status %d: %s", (int)n, status, err.message);
            assert_true(status == VISE_OK || err.status == status);
            if (status != VISE_OK &&
                vise_path_exists(out)) /* failed behind the renaming: the output is whole */
                OK(vise_folder_remove(out, &help_error));
        }
        vise_source *source;
        OK(vise_source_open(out, &source, &help_error));
        assert_int_equal(vise_source_count(source), 2);
        vise_source_close(source);
        help_remove(folder);
    }
}

/* kill -9 at random moments: never anything at the final name, and the last run ends with the same bytes. */
static void test_kill(void **state)
{
    (void)state;
    for (int pack = 0; pack < 2; pack++) {
        const char *folder = help_folder();
        vise_sink *sink = open_sink(help_path(folder, "whole"), pack, false, false, 1000000);
        for (size_t i = 0; i < N; i++)
            write_tensor(sink, i, 65536);
        publish(sink);
        bool published = false;
        for (int attempt = 0; attempt < 40 && !published; attempt++) {
            pid_t child = fork();
            assert_true(child >= 0);
            if (child == 0) {
                sink = open_sink(help_path(folder, "out"), pack, true, false, 1000000);
                for (size_t i = 0; i < N; i++)
                    if (!vise_sink_has(sink, i))
                        write_tensor(sink, i, 65536);
                publish(sink);
                _exit(0);
            }
            usleep((useconds_t)(2000 + attempt * 4000));
            (void)kill(child, SIGKILL);
            int status;
            assert_int_equal(waitpid(child, &status, 0), child);
            published = WIFEXITED(status) && WEXITSTATUS(status) == 0;
            if (!published && vise_path_exists(help_path(folder, "out")))
                published = true; /* killed between publishing and its end */
        }
        assert_true(published);
        char *a = folder_digest(folder, "whole"), *b = folder_digest(folder, "out");
        if (strcmp(a, b) != 0)
            fail_msg("undisturbed:\n%s\nkilled and continued:\n%s", a, b);
        vise_free(a);
        vise_free(b);
        help_remove(folder);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_threads_and_order_do_not_show),
        cmocka_unit_test(test_pool),
        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_resume_refuses_and_repairs),
        cmocka_unit_test(test_finished_folder),
        cmocka_unit_test(test_output_that_exists),
        cmocka_unit_test(test_single_file),
        cmocka_unit_test(test_side_files),
        cmocka_unit_test(test_wrong_use),
        cmocka_unit_test(test_dry),
        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_empty_model),
        cmocka_unit_test(test_index),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
