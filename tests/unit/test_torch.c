/* Checkpoints of torch.save: what torch wrote, tensor by tensor beside safetensors; views read in odd pieces; the part
 * that is the model; what is refused. */
#include <stdio.h>
#include <string.h>

#include "core/event.h"
#include "formats/source.h"
#include "formats/torch.h"
#include "tests/unit/formats_help.h"
#include "tests/unit/torch_help.h"

#define DATA "tests/data/torch/"
#define P2   "\x80\2"

/* ---- what torch wrote ---------------------------------------------------------------------------------- */

/* The tensor by itself at once, and in pieces of every size up to 40 bytes. */
static void compare(const vise_source *a, size_t i, const vise_source *b)
{
    const vise_tensor_info *x = vise_source_tensor(a, i);
    const size_t found = vise_source_find(b, x->name);
    if (found == SIZE_MAX)
        fail_msg("%s is not expected", x->name);
    const vise_tensor_info *y = vise_source_tensor(b, found);
    assert_int_equal(x->dtype, y->dtype);
    assert_int_equal(x->ndim, y->ndim);
    assert_int_equal(x->bytes, y->bytes);
    assert_int_equal(x->elements, y->elements);
    for (int d = 0; d < x->ndim; d++)
        assert_int_equal(x->shape[d], y->shape[d]);
    uint8_t wanted[512], got[512];
    assert_true(x->bytes <= sizeof got);
    OK(vise_source_read(b, found, 0, y->bytes, wanted, NULL, &help_error));
    for (uint64_t step = 1; step <= 41; step++) {
        memset(got, 0xA5, sizeof got);
        const uint64_t piece = step == 41 ? x->bytes : step;
        for (uint64_t at = 0; at < x->bytes; at += piece) {
            const uint64_t n = x->bytes - at < piece ? x->bytes - at : piece;
            OK(vise_source_read(a, i, at, n, got + at, NULL, &help_error));
        }
        assert_memory_equal(got, wanted, (size_t)x->bytes);
        if (x->bytes < sizeof got)
            assert_int_equal(got[x->bytes], 0xA5);
    }
}

static char last_warning[1024];
static void listen(void *context, const vise_event *event)
{
    (void)context;
    if (event->kind == VISE_EVENT_WARNING)
        snprintf(last_warning, sizeof last_warning, "%s", event->text);
}

static void test_files_of_torch(void **state)
{
    (void)state;
    static const struct {
        const char *file, *expected;
        size_t apart; /* tensors whose elements do not lie in order */
        const char *warning;
    } rows[] = {
        {DATA "zip.pt", DATA "expected.safetensors", 8, ""},
        {DATA "protocol3.pth", DATA "expected.safetensors", 8, ""},
        {DATA "protocol4.pth", DATA "expected.safetensors", 8, ""},
        {DATA "protocol5.pth", DATA "expected.safetensors", 8, ""},
        {DATA "legacy.bin", DATA "expected.safetensors", 8, ""},
        {DATA "checkpoint.ckpt", DATA "model.safetensors", 0,
         "the part \"model\" is taken as the model; left out: \"set\", \"list\", \"optimizer\", "
         "\"rng_state\""},
        {DATA "nested.pt", DATA "model.safetensors", 0, ""},
        {DATA "sharded", DATA "model.safetensors", 0, ""},
    };
    vise_listen(listen, NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_source *torch, *safetensors;
        size_t apart = 0;
        print_message("  %s\n", rows[i].file);
        last_warning[0] = '\0';
        OK(vise_source_open(rows[i].file, &torch, &help_error));
        assert_string_equal(vise_source_format(torch), "torch");
        assert_non_null(strstr(last_warning, rows[i].warning));
        assert_int_equal(last_warning[0] == '\0', rows[i].warning[0] == '\0');
        assert_int_equal(strlen(vise_source_file_at(torch, 0)->header_sha256), 64);
        OK(vise_source_open(rows[i].expected, &safetensors, &help_error));
        assert_int_equal(vise_source_count(torch), vise_source_count(safetensors));
        for (size_t k = 0; k < vise_source_count(torch); k++) {
            const vise_tensor_info *info = vise_source_tensor(torch, k), *before = info - (k > 0);
            assert_true(before->file != info->file || before->offset <= info->offset);
            apart += info->view != NULL;
            compare(torch, k, safetensors);
        }
        assert_int_equal(apart, rows[i].apart);
        vise_source_close(torch);
        vise_source_close(safetensors);
    }
    vise_listen(NULL, NULL);
}

static void test_refused_files(void **state)
{
    (void)state;
    static const struct {
        const char *file;
        vise_status status;
        const char *say;
    } rows[] = {
        {DATA "conjugated.pt", VISE_EUNSUPPORTED, "resolve_conj()"},
        {DATA "complex128.pt", VISE_EUNSUPPORTED,
         "torch.ComplexDoubleStorage, which no safetensors file holds"},
        {DATA "sparse.pt", VISE_EUNSUPPORTED,
         "global torch._utils._rebuild_sparse_tensor is not on the list"},
        {DATA "module.pt", VISE_EUNSUPPORTED, "global torch.nn.modules.linear.Linear is not on the list"},
        {DATA "tensor.pt", VISE_EFORMAT, "a single tensor and no dict"},
        {DATA "script.pt", VISE_EUNSUPPORTED, "TorchScript archive"},
    };
    vise_source *source;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        FAILS(rows[i].status, rows[i].say, vise_source_open(rows[i].file, &source, &help_error));
    OK(vise_source_open(DATA "no_checksums.pt", &source, &help_error));
    assert_int_equal(vise_source_count(source), 1);
    vise_source_close(source);
}

/* Whatever allocation fails, the opening fails with a status and leaves nothing behind. */
static void test_no_memory(void **state)
{
    (void)state;
    static const char *const files[] = {DATA "zip.pt", DATA "legacy.bin", DATA "checkpoint.ckpt"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        vise_status status = VISE_ERESOURCE;
        uint64_t n = 1;
        for (; status != VISE_OK; n++) {
            vise_source *source;
            vise_alloc_fail_after(n);
            status = vise_source_open(files[i], &source, &help_error);
            vise_alloc_fail_after(0);
            assert_true(status == VISE_OK || status == VISE_ERESOURCE);
            help_error = (vise_error){0};
            if (status == VISE_OK)
                vise_source_close(source);
        }
        assert_true(n > 10);
    }
}

/* ---- archives by hand ---------------------------------------------------------------------------------- */

/* The storage "0" of four floats; a state dict of one tensor, "a". */
#define VIEW(offset, shape, strides) TENSOR(FLOATS, TEXT1("0"), INT1("\4"), offset, shape, strides)
#define WHOLE                        VIEW(INT1("\0"), INT1("\4") "\x85", INT1("\1") "\x85")
#define DICT(key, value)             P2 "}" key value "s."
#define BYTES(text)                  text, sizeof text - 1
#define BIG                          "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f" /* 2^63 - 1 */

typedef struct made {
    const char *what, *pickle;
    size_t n;
    vise_status status;
    const char *say;
} made;

static const made pickles[] = {
    {"as torch writes it", BYTES(DICT(TEXT1("a"), WHOLE)), VISE_OK, NULL},
    {"the last element", BYTES(DICT(TEXT1("a"), VIEW(INT1("\3"), ")", ")"))), VISE_OK, NULL},
    {"a scalar beyond the end", BYTES(DICT(TEXT1("a"), VIEW(INT1("\4"), ")", ")"))), VISE_EFORMAT,
     "\"a\" reaches beyond its storage"},
    {"an offset beyond the end",
     BYTES(DICT(TEXT1("a"), VIEW(INT1("\1"), INT1("\4") "\x85", INT1("\1") "\x85"))), VISE_EFORMAT,
     "reaches beyond its storage"},
    {"an offset of 2^63", BYTES(DICT(TEXT1("a"), VIEW(BIG, INT1("\4") "\x85", INT1("\1") "\x85"))),
     VISE_EFORMAT, "reaches beyond its storage"},
    {"a stride beyond the end",
     BYTES(DICT(TEXT1("a"), VIEW(INT1("\0"), INT1("\3") "\x85", INT1("\2") "\x85"))), VISE_EFORMAT,
     "reaches beyond its storage"},
    {"a stride of 2^63", BYTES(DICT(TEXT1("a"), VIEW(INT1("\0"), INT1("\4") "\x85", BIG "\x85"))),
     VISE_EFORMAT, "shape that overflows"},
    {"a shape of 2^63", BYTES(DICT(TEXT1("a"), VIEW(INT1("\0"), BIG "\x85", INT1("\1") "\x85"))),
     VISE_EFORMAT, "shape that overflows"},
    {"a shape of 2^126",
     BYTES(DICT(TEXT1("a"), VIEW(INT1("\0"), PAIR(BIG, BIG), PAIR(INT1("\1"), INT1("\1"))))), VISE_EFORMAT,
     "shape that overflows"},
    {"a shape of 2^126 times nothing",
     BYTES(DICT(TEXT1("a"), VIEW(INT1("\0"), "(" BIG BIG BIG "K\0t", "(NNNNt"))), VISE_EFORMAT, "strides"},
    {"strides of no effect",
     BYTES(DICT(TEXT1("a"), VIEW(INT1("\0"), PAIR(INT1("\1"), INT1("\4")), PAIR(BIG, INT1("\1"))))), VISE_OK,
     NULL},
    {"a few repeated elements",
     BYTES(DICT(TEXT1("a"), VIEW(INT1("\0"), INT1("\x20") "\x85", INT1("\0") "\x85"))), VISE_OK, NULL},
    {"one element repeated for gigabytes",
     BYTES(DICT(TEXT1("a"), VIEW(INT1("\0"), "J\0\0\0\x40\x85", INT1("\0") "\x85"))), VISE_EUNSUPPORTED,
     "repeats its elements"},
    {"nine dimensions",
     BYTES(DICT(TEXT1("a"),
                VIEW(INT1("\0"), "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t"))),
     VISE_EUNSUPPORTED, "9 dimensions"},
    {"a storage that is not there",
     BYTES(DICT(TEXT1("a"), TENSOR(FLOATS, TEXT1("1"), INT1("\4"), INT1("\0"), ")", ")"))), VISE_EFORMAT,
     "storage \"1\" is missing"},
    {"a storage by a path",
     BYTES(DICT(TEXT1("a"), TENSOR(FLOATS,
                                   "X\x0b\0\0\0"
                                   "../data.pkl",
                                   INT1("\4"), INT1("\0"), ")", ")"))),
     VISE_EFORMAT, "is missing"},
    {"a storage that is shorter",
     BYTES(DICT(TEXT1("a"), TENSOR(FLOATS, TEXT1("0"), INT1("\5"), INT1("\0"), ")", ")"))), VISE_EFORMAT,
     "has 16 bytes in the file, the pickle says 5 elements of 4"},
    {"a storage that is longer",
     BYTES(DICT(TEXT1("a"), TENSOR(FLOATS, TEXT1("0"), INT1("\3"), INT1("\0"), ")", ")"))), VISE_EFORMAT,
     "has 16 bytes"},
    {"a storage of 2^63 elements",
     BYTES(DICT(TEXT1("a"), TENSOR(FLOATS, TEXT1("0"), BIG, INT1("\0"), ")", ")"))), VISE_EFORMAT,
     "has 16 bytes"},
    {"a window into a storage",
     BYTES(DICT(TEXT1("a"), "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storage" FLOATS TEXT1(
                                "0") "NK\4" TEXT1("9") "K\2K\2\x87tQK\1))\x89" HOOKS "tR")),
     VISE_OK, NULL},
    {"beyond a window",
     BYTES(DICT(TEXT1("a"), "ctorch._utils\n_rebuild_tensor_v2\n((X\7\0\0\0storage" FLOATS TEXT1(
                                "0") "NK\4" TEXT1("9") "K\1K\2\x87tQK\2))\x89" HOOKS "tR")),
     VISE_EFORMAT, "reaches beyond its storage"},
    {"a name given twice", BYTES(P2 "}" TEXT1("a") WHOLE "s" TEXT1("a") WHOLE "s."), VISE_EFORMAT,
     "is given twice"},
    {"an empty name", BYTES(DICT("X\0\0\0\0", WHOLE)), VISE_EFORMAT, "not 1 to"},
    {"a name with NUL", BYTES(DICT("X\2\0\0\0a\0", WHOLE)), VISE_EFORMAT, "no UTF-8"},
    {"a name of no UTF-8", BYTES(DICT("X\1\0\0\0\xff", WHOLE)), VISE_EFORMAT, "no UTF-8"},
    {"a number as name", BYTES(DICT("K\1", WHOLE)), VISE_EFORMAT, "a key that is no text"},
    {"a list", BYTES(P2 "]" WHOLE "a."), VISE_EFORMAT, "no dict of tensors"},
    {"an empty dict", BYTES(P2 "}."), VISE_EFORMAT, "its members are none"},
    {"numbers alone", BYTES(P2 "}" TEXT1("x") "K\1s."), VISE_EFORMAT, "its members are \"x\""},
    {"tensors three levels down under other names", BYTES(P2 "}" TEXT1("x") "}" TEXT1("a") WHOLE "ss."),
     VISE_EFORMAT, "its members are \"x\""},
    {"the state dict before the model",
     BYTES(P2 "}X\5\0\0\0model}" TEXT1("b") "K\1ssX\x0a\0\0\0state_dict}" TEXT1("a") WHOLE "ss."), VISE_OK,
     NULL},
    {"a call", BYTES(P2 "cos\nsystem\nX\4\0\0\0true\x85R."), VISE_EUNSUPPORTED,
     "refuses to load: global os.system is not on the list"},
};

static void make_archive(help_zip *zip, const char *pickle, size_t n, const char *order)
{
    static const float values[4] = {1, 2, 3, 4};
    help_zip_init(zip);
    help_zip_add(zip, "m/data.pkl", pickle, n);
    if (order)
        help_zip_add(zip, "m/byteorder", order, strlen(order));
    help_zip_add(zip, "m/data/0", values, sizeof values);
    help_zip_end(zip);
}

static vise_status parse(const help_zip *zip, vise_arena **arena, vise_torch *torch)
{
    help_memory memory = {zip->buf.data, zip->buf.length};
    vise_st_input input = help_input(&memory, "test.pt");
    OK(vise_arena_new(arena, &help_error));
    return vise_torch_parse(&input, *arena, torch, &help_error);
}

static void test_pickles(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof pickles / sizeof *pickles; i++) {
        help_zip zip;
        vise_arena *arena;
        vise_torch torch;
        print_message("  %s\n", pickles[i].what);
        make_archive(&zip, pickles[i].pickle, pickles[i].n, "little");
        if (pickles[i].status == VISE_OK) {
            OK(parse(&zip, &arena, &torch));
            assert_int_equal(torch.n, 1);
            assert_string_equal(torch.tensors[0].name, "a");
            assert_true(torch.tensors[0].offset + torch.tensors[0].span <= zip.buf.length);
        } else {
            FAILS(pickles[i].status, pickles[i].say, parse(&zip, &arena, &torch));
        }
        vise_arena_free(arena);
        help_zip_deinit(&zip);
    }
}

static void test_archives(void **state)
{
    (void)state;
    static const char whole[] = DICT(TEXT1("a"), WHOLE);
    help_zip zip;
    vise_arena *arena;
    vise_torch torch;
    make_archive(&zip, BYTES(DICT(TEXT1("a"), WHOLE)), "big");
    FAILS(VISE_EUNSUPPORTED, "little-endian", parse(&zip, &arena, &torch));
    vise_arena_free(arena);
    help_zip_deinit(&zip);

    make_archive(&zip, BYTES(DICT(TEXT1("a"), WHOLE)), NULL); /* torch before 2.1 did not say */
    OK(parse(&zip, &arena, &torch));
    float values[4];
    memcpy(values, zip.buf.data + torch.tensors[0].offset, sizeof values);
    assert_true(values[0] == 1 && values[3] == 4);
    vise_arena_free(arena);
    help_zip_deinit(&zip);

    help_zip_init(&zip);
    help_zip_add(&zip, "m/other", "x", 1);
    help_zip_end(&zip);
    FAILS(VISE_EFORMAT, "has no NAME/data.pkl", parse(&zip, &arena, &torch));
    vise_arena_free(arena);
    help_zip_deinit(&zip);

    help_zip_init(&zip);
    help_zip_add(&zip, "m/data.pkl", whole, sizeof whole - 1);
    help_zip_add(&zip, "n/data.pkl", whole, sizeof whole - 1);
    help_zip_end(&zip);
    FAILS(VISE_EFORMAT, "two checkpoints", parse(&zip, &arena, &torch));
    vise_arena_free(arena);
    help_zip_deinit(&zip);

    make_archive(&zip, BYTES(DICT(TEXT1("a"), WHOLE)), "little"); /* a flipped bit of the pickle */
    zip.buf.data[70] ^= 1;
    FAILS(VISE_EFORMAT, "checksum", parse(&zip, &arena, &torch));
    vise_arena_free(arena);
    help_zip_deinit(&zip);
}

/* ---- the old format by hand ---------------------------------------------------------------------------- */

#define MAGIC "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
#define V1001 "\x80\2M\xe9\3."
#define FACTS "\x80\2}X\x0d\0\0\0little_endian\x88s."
#define KEYS  "\x80\2](" TEXT1("0") "e."
#define FOUR                                                                                                 \
    "\4\0\0\0\0\0\0\0"                                                                                       \
    "1234567812345678"

static const made legacies[] = {
    {"as torch wrote it", BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) KEYS FOUR), VISE_OK, NULL},
    {"another number", BYTES("\x80\2K\1." V1001 FACTS), VISE_EFORMAT, "no checkpoint of torch.save"},
    {"another long number", BYTES("\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x18." V1001),
     VISE_EFORMAT, "no checkpoint of torch.save"},
    {"another version", BYTES(MAGIC "\x80\2K\1." FACTS), VISE_EFORMAT, "1001"},
    {"no facts", BYTES(MAGIC V1001 "\x80\2]."), VISE_EFORMAT, "byte order"},
    {"big-endian", BYTES(MAGIC V1001 "\x80\2}X\x0d\0\0\0little_endian\x89s."), VISE_EUNSUPPORTED,
     "little-endian"},
    {"cut after the object", BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE)), VISE_EFORMAT, "there is none"},
    {"keys that are no list", BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) "\x80\2N."), VISE_EFORMAT,
     "no list"},
    {"a key that is no text", BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) "\x80\2]Na." FOUR),
     VISE_EFORMAT, "no text"},
    {"a key that nothing has",
     BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) "\x80\2]" TEXT1("1") "a." FOUR), VISE_EFORMAT,
     "no tensor has"},
    {"a key twice",
     BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) "\x80\2](" TEXT1("0") TEXT1("0") "e." FOUR FOUR),
     VISE_EFORMAT, "there twice"},
    {"no key", BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) "\x80\2]." FOUR), VISE_EFORMAT, "is missing"},
    {"no storage", BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) KEYS), VISE_EFORMAT, "ends before"},
    {"another count",
     BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) KEYS "\3\0\0\0\0\0\0\0"
                                                          "123456781234"),
     VISE_EFORMAT, "not as long"},
    {"a cut storage",
     BYTES(MAGIC V1001 FACTS DICT(TEXT1("a"), WHOLE) KEYS "\4\0\0\0\0\0\0\0"
                                                          "12345678"),
     VISE_EFORMAT, "not as long"},
    {"a call", BYTES(MAGIC V1001 FACTS P2 "cos\nsystem\nX\4\0\0\0true\x85R."), VISE_EUNSUPPORTED,
     "global os.system"},
    {"a call in front", BYTES(P2 "cos\nsystem\nX\4\0\0\0true\x85R."), VISE_EUNSUPPORTED, "global os.system"},
    {"neither", BYTES("something else"), VISE_EFORMAT, "neither a zip archive nor a pickle"},
    {"nothing", BYTES(""), VISE_EFORMAT, "neither a zip archive nor a pickle"},
    {"a pointer", BYTES("version https://git-lfs.github.com/spec/v1"), VISE_EFORMAT, "Git LFS pointer"},
};

static void test_legacies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof legacies / sizeof *legacies; i++) {
        help_memory memory = {legacies[i].pickle, legacies[i].n};
        vise_st_input input = help_input(&memory, "test.pt");
        vise_arena *arena;
        vise_torch torch;
        print_message("  %s\n", legacies[i].what);
        OK(vise_arena_new(&arena, &help_error));
        if (legacies[i].status == VISE_OK) {
            OK(vise_torch_parse(&input, arena, &torch, &help_error));
            assert_int_equal(torch.n, 1);
            assert_int_equal(torch.tensors[0].offset, memory.n - 16);
        } else {
            FAILS(legacies[i].status, legacies[i].say, vise_torch_parse(&input, arena, &torch, &help_error));
        }
        vise_arena_free(arena);
    }
}

/* ---- folders ------------------------------------------------------------------------------------------- */

#define NAME(text, bytes) "X" bytes "\0\0\0" text

static size_t open_count(const char *path)
{
    vise_source *source;
    OK(vise_source_open(path, &source, &help_error));
    const size_t n = vise_source_count(source);
    vise_source_close(source);
    return n;
}

/* The head that shares the embedding's elements is left out when transformers ties it again, and only then. */
static void test_tied(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        size_t n;
    } rows[] = {
        {NULL, 3},
        {"{\"model_type\": \"llama\"}", 3},
        {"{\"model_type\": \"llama\", \"tie_word_embeddings\": true}", 2},
        {"{\"model_type\": \"gpt2\"}", 2},
        {"{\"model_type\": \"gpt2\", \"tie_word_embeddings\": false}", 3},
    };
    const char *folder = help_folder();
    help_zip zip;
    make_archive(&zip,
                 BYTES(P2 "}" NAME("lm_head.weight", "\x0e") WHOLE "s" NAME("embed_tokens.weight", "\x13")
                           WHOLE "s" TEXT1("b") VIEW(INT1("\0"), INT1("\2") "\x85", INT1("\1") "\x85") "s."),
                 "little");
    help_write(folder, "pytorch_model.bin", zip.buf.data, zip.buf.length);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].config)
            help_write_text(folder, "config.json", rows[i].config);
        assert_int_equal(open_count(folder), rows[i].n);
    }
    /* An index names the head too. */
    help_write(folder, "pytorch_model-00001-of-00001.bin", zip.buf.data, zip.buf.length);
    help_write_text(folder, "pytorch_model.bin.index.json",
                    "{\"weight_map\": {\"lm_head.weight\": \"pytorch_model-00001-of-00001.bin\", \"b\": "
                    "\"pytorch_model-00001-of-00001.bin\"}}");
    help_write_text(folder, "config.json", "{\"model_type\": \"gpt2\"}");
    remove(help_path(folder, "pytorch_model.bin"));
    assert_int_equal(open_count(folder), 2);
    help_zip_deinit(&zip);
    help_remove(folder);
}

static void test_folders(void **state)
{
    (void)state;
    static const help_tensor plain[] = {{"x", VISE_DTYPE_F32, 1, {2}, NULL},
                                        {"y", VISE_DTYPE_F32, 1, {2}, NULL}};
    const char *folder = help_folder();
    vise_source *source;
    help_zip zip;
    make_archive(&zip, BYTES(DICT(TEXT1("a"), WHOLE)), "little");
    help_write(folder, "training_args.bin", "x", 1);
    help_write(folder, "optimizer.pt", "x", 1);
    help_write(folder, "consolidated.00.pth", zip.buf.data, zip.buf.length);
    assert_int_equal(open_count(folder), 1);
    help_write(folder, "consolidated.01.pth", zip.buf.data, zip.buf.length);
    FAILS(VISE_EFORMAT, "2 .bin, .pt or .pth files", vise_source_open(folder, &source, &help_error));
    help_write_text(folder, "pytorch_model.bin.index.json",
                    "{\"weight_map\": {\"a\": \"consolidated.00.pth\", \"b\": \"consolidated.01.pth\"}}");
    FAILS(VISE_EFORMAT, "is in two shards", vise_source_open(folder, &source, &help_error));
    help_write_text(folder, "pytorch_model.bin.index.json",
                    "{\"weight_map\": {\"b\": \"consolidated.00.pth\"}}");
    FAILS(VISE_EFORMAT, "\"b\" should be in", vise_source_open(folder, &source, &help_error));
    help_write_text(folder, "pytorch_model.bin.index.json",
                    "{\"weight_map\": {\"a\": \"../consolidated.00.pth\"}}");
    FAILS(VISE_EFORMAT, "no file of this folder", vise_source_open(folder, &source, &help_error));
    help_write(folder, "pytorch_model.bin", zip.buf.data, zip.buf.length);
    assert_int_equal(open_count(folder), 1);
    help_safetensors(folder, "model.safetensors", NULL, plain, 2);
    assert_int_equal(open_count(folder), 2); /* preferred */
    help_zip_deinit(&zip);
    help_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files_of_torch), cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_no_memory),      cmocka_unit_test(test_pickles),
        cmocka_unit_test(test_archives),       cmocka_unit_test(test_legacies),
        cmocka_unit_test(test_tied),           cmocka_unit_test(test_folders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
