/* Sentence embeddings: what a folder says of pooling, and cosines against figures worked out in double. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/rng.h"
#include "eval/embed.h"
#include "formats_help.h"

#define CLASSIFIER "tests/data/tiny-classifier"

/* ---- pooling ----------------------------------------------------------------------------------------------------- */

static void test_pooling(void **state)
{
    static const char modes[] = "1_Pooling/config.json", modules[] = "modules.json";
    static const char bert[] = "sentence_bert_config.json";
    static const struct {
        const char *file, *text, *says;
        vise_status status;
        bool first_token;
        size_t max_length;
    } cases[] = {
        {NULL, NULL, NULL, VISE_OK, false, 0},
        {modes, "{\"pooling_mode_mean_tokens\": true, \"pooling_mode_cls_token\": false}", NULL, VISE_OK,
         false, 0},
        {modes,
         "{\"pooling_mode_mean_tokens\": false, \"pooling_mode_cls_token\": true, "
         "\"pooling_mode_max_tokens\": "
         "false}",
         NULL, VISE_OK, true, 0},
        {modes, "{\"pooling_mode\": \"cls\"}", NULL, VISE_OK, true, 0},
        {modes, "{\"pooling_mode\": \"mean\"}", NULL, VISE_OK, false, 0},
        {modes, "{\"pooling_mode\": \"lasttoken\"}", "pooling_mode lasttoken", VISE_EUNSUPPORTED, false, 0},
        {modes, "{\"pooling_mode_max_tokens\": true}", "pooling_mode_max_tokens", VISE_EUNSUPPORTED, false,
         0},
        {modes, "{\"pooling_mode_mean_tokens\": true, \"pooling_mode_cls_token\": true}",
         "one behind the other", VISE_EUNSUPPORTED, false, 0},
        {modes, "{\"pooling_mode_cls_token\": 1}", "pooling_mode_cls_token", VISE_EFORMAT, false, 0},
        {modes, "{", "config.json", VISE_EFORMAT, false, 0},
        {modules,
         "[{\"type\": \"sentence_transformers.models.Transformer\"}, {\"type\": \"Pooling\"}, {\"type\": "
         "\"sentence_transformers.models.Normalize\"}]",
         NULL, VISE_OK, false, 0},
        {modules, "[{\"type\": \"sentence_transformers.models.Dense\"}]", "Dense", VISE_EUNSUPPORTED, false,
         0},
        {modules, "[{}]", "type", VISE_EFORMAT, false, 0},
        {modules, "{}", "not a list", VISE_EFORMAT, false, 0},
        {bert, "{\"max_seq_length\": 256, \"do_lower_case\": false}", NULL, VISE_OK, false, 256},
        {bert, "{\"max_seq_length\": 0}", "max_seq_length", VISE_EFORMAT, false, 0},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *folder = help_folder();
        vise_pooling pooling;
        OK(vise_folder_make(help_path(folder, "1_Pooling"), &help_error));
        if (cases[i].file)
            help_write_text(folder, cases[i].file, cases[i].text);
        vise_status status = vise_pooling_read(folder, &pooling, &help_error);
        if (cases[i].says) {
            FAILS(cases[i].status, cases[i].says, status);
        } else {
            OK(status);
            assert_int_equal(pooling.first_token, cases[i].first_token);
            assert_int_equal(pooling.max_length, cases[i].max_length);
        }
        help_remove(folder);
    }
}

/* ---- cosines ----------------------------------------------------------------------------------------------------- */

enum { TEXTS = VISE_VECTORS_BATCH + 37, WIDTH = 16 };

typedef struct bench {
    const char *folder;
    vise_model *model;
    vise_workers *workers;
    vise_pool *pool;
    vise_backend *backend;
    vise_encoded rows;
    vise_eval_options options;
} bench;

/* The classifier's body, on rows of drawn ids. */
static void open_bench(bench *b)
{
    size_t n;
    char *config = help_read(CLASSIFIER "/config.json", &n),
         *name = strstr(config, "ForSequenceClassification");
    vise_rng rng;

    *b = (bench){.folder = help_folder()};
    assert_non_null(name);
    memcpy(name, "Model\"", 6);
    memmove(name + 6, name + 26, strlen(name + 26) + 1);
    help_write_text(b->folder, "config.json", config);
    vise_free(config);
    OK(vise_file_copy(CLASSIFIER "/model.safetensors", help_path(b->folder, "model.safetensors"),
                      &help_error));
    OK(vise_model_open(b->folder, &b->model, &help_error));
    OK(vise_need_embeddings(b->model, "a test", &help_error));
    OK(vise_workers_new(2, &b->workers, &help_error));
    OK(vise_pool_new(0, &b->pool, &help_error));
    OK(vise_backend_open("cpu", b->workers, &b->backend, &help_error));
    vise_rng_init(&rng, 2, "embed");
    for (size_t i = 0; i < TEXTS; i++) {
        int32_t ids[16];
        size_t length = 1 + (size_t)vise_rng_below(&rng, 16);
        for (size_t t = 0; t < length; t++)
            ids[t] = (int32_t)vise_rng_below(&rng, (uint64_t)b->model->config.vocab);
        OK(vise_encoded_add(&b->rows, ids, NULL, length, &help_error));
    }
    vise_encoded_finish(&b->rows);
    b->options = (vise_eval_options){.windows = b->rows.sets,
                                     .sets = TEXTS,
                                     .stream_ram_bytes = UINT64_MAX,
                                     .pool = b->pool,
                                     .workers = b->workers,
                                     .backend = b->backend};
}

static void close_bench(bench *b)
{
    vise_model_close(b->model);
    vise_backend_close(b->backend);
    assert_int_equal(vise_pool_used(b->pool), 0);
    vise_pool_free(b->pool);
    vise_workers_free(b->workers);
    vise_encoded_deinit(&b->rows);
    help_remove(b->folder);
}

static vise_vectors *table_of(const bench *b, const float *values, int64_t rows, int64_t cols)
{
    const help_tensor tensor = {"embeddings", VISE_DTYPE_F32, 2, {rows, cols}, values};
    vise_vectors *vectors = NULL;

    help_safetensors(b->folder, "table.safetensors", NULL, &tensor, 1);
    OK(vise_vectors_open(help_path(b->folder, "table.safetensors"), &vectors, &help_error));
    return vectors;
}

static vise_status compare_table(const bench *b, const float *values, int64_t rows, int64_t cols,
                                 vise_cosines *cosines)
{
    vise_vectors *vectors = table_of(b, values, rows, cols);
    const vise_embedder a = {b->model, &b->rows, false, NULL}, reference = {NULL, NULL, false, vectors};

    vise_status status = vise_compare_embeddings(&a, &reference, &b->options, cosines, &help_error);
    vise_vectors_close(vectors);
    return status;
}

static void test_cosines(void **state)
{
    static float own[TEXTS * WIDTH], other[TEXTS * WIDTH];
    double sum = 0.0, least = 2.0;
    size_t worst = 0;
    vise_vectors *saved = NULL;
    vise_cosines cosines;
    vise_rng rng;
    bench b;

    (void)state;
    open_bench(&b);
    OK(vise_save_logits(b.model, &b.options, help_path(b.folder, "own.safetensors"), &help_error));
    OK(vise_vectors_open(help_path(b.folder, "own.safetensors"), &saved, &help_error));
    OK(vise_vectors_read(saved, 0, TEXTS, own, b.pool, &help_error));
    vise_vectors_close(saved);
    vise_rng_init(&rng, 3, "noise");
    for (size_t i = 0; i < TEXTS; i++) {
        double dot = 0.0, aa = 0.0, bb = 0.0;
        for (size_t j = i * WIDTH; j < (i + 1) * WIDTH; j++) {
            other[j] = 3.0f * own[j] + 0.001f * (float)vise_rng_below(&rng, 1000);
            dot += (double)own[j] * other[j];
            aa += (double)own[j] * own[j];
            bb += (double)other[j] * other[j];
        }
        sum += dot / sqrt(aa * bb);
        if (dot / sqrt(aa * bb) < least) {
            least = dot / sqrt(aa * bb);
            worst = i;
        }
    }
    OK(compare_table(&b, other, TEXTS, WIDTH, &cosines));
    assert_int_equal(cosines.n, TEXTS);
    assert_int_equal(cosines.width, WIDTH);
    assert_int_equal(cosines.worst, worst);
    assert_true(fabs(cosines.mean - sum / TEXTS) < 1e-9 && fabs(cosines.min - least) < 1e-9);
    assert_true(cosines.mean < 0.9999);

    /* Beside itself, and beside itself pooled otherwise. */
    vise_embedder a = {b.model, &b.rows, false, NULL}, same = a;
    OK(vise_compare_embeddings(&a, &same, &b.options, &cosines, &help_error));
    assert_true(fabs(cosines.min - 1.0) < 1e-12);
    same.first_token = true;
    OK(vise_compare_embeddings(&a, &same, &b.options, &cosines, &help_error));
    assert_true(cosines.min < 0.999);

    FAILS(VISE_EUSAGE, "vectors of 292 texts, the model of 293",
          compare_table(&b, other, TEXTS - 1, WIDTH, &cosines));
    FAILS(VISE_EUSAGE, "have 8 dimensions, the model's 16",
          compare_table(&b, other, TEXTS, WIDTH / 2, &cosines));
    memset(other + 260 * WIDTH, 0, WIDTH * sizeof *other);
    FAILS(VISE_EFORMAT, "the reference's vector of text 261 is all zeros",
          compare_table(&b, other, TEXTS, WIDTH, &cosines));
    other[260 * WIDTH] = INFINITY;
    FAILS(VISE_EFORMAT, "the reference's vector of text 261 is not finite",
          compare_table(&b, other, TEXTS, WIDTH, &cosines));
    close_bench(&b);
}

static void test_needs_an_encoder(void **state)
{
    static const char *const folders[] = {CLASSIFIER, "examples/stories260K"};

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        vise_model *model = NULL;
        OK(vise_model_open(folders[i], &model, &help_error));
        FAILS(VISE_EUNSUPPORTED, "a test needs an encoder without a head",
              vise_need_embeddings(model, "a test", &help_error));
        vise_model_close(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pooling),
        cmocka_unit_test(test_cosines),
        cmocka_unit_test(test_needs_an_encoder),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
