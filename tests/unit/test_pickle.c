/* Pickles: what each opcode makes, and what is refused - calls, other globals, bombs, damage. */
#include <string.h>

#include "formats/pickle.h"
#include "tests/unit/formats_help.h"
#include "tests/unit/torch_help.h"

#define P2          "\x80\2"
#define BYTES(text) text, sizeof text - 1

/* ---- what is read -------------------------------------------------------------------------------------- */

static void test_numbers(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        vise_pickle_kind kind;
        int64_t number;
    } rows[] = {
        {BYTES(P2 "K\xff."), VISE_PICKLE_INT, 255},
        {BYTES(P2 "M\1\2."), VISE_PICKLE_INT, 513},
        {BYTES(P2 "J\xff\xff\xff\xff."), VISE_PICKLE_INT, -1},
        {BYTES(P2 "J\0\0\0\x80."), VISE_PICKLE_INT, INT32_MIN},
        {BYTES(P2 "\x8a\0."), VISE_PICKLE_INT, 0},
        {BYTES(P2 "\x8a\1\xff."), VISE_PICKLE_INT, -1},
        {BYTES(P2 "\x8a\5\0\0\0\0\1."), VISE_PICKLE_INT, INT64_C(1) << 32},
        {BYTES(P2 "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f."), VISE_PICKLE_INT, INT64_MAX},
        {BYTES(P2 "\x8b\2\0\0\0\0\x80."), VISE_PICKLE_INT, INT16_MIN},
        {BYTES(P2 "N."), VISE_PICKLE_NULL, 0},
        {BYTES(P2 "\x88."), VISE_PICKLE_BOOL, 1},
        {BYTES(P2 "\x89."), VISE_PICKLE_BOOL, 0},
        {BYTES("\x80\5\x95\2\0\0\0\0\0\0\0K\7."), VISE_PICKLE_INT, 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_pickle pickle;
        OK(vise_pickle_read("p", rows[i].bytes, rows[i].n, &pickle, &help_error));
        const vise_pickle_value *root = vise_pickle_at(&pickle, pickle.root);
        assert_int_equal(root->kind, rows[i].kind);
        assert_true(root->number == rows[i].number);
        assert_int_equal(pickle.at, rows[i].n);
        vise_pickle_deinit(&pickle);
    }
    vise_pickle pickle;
    OK(vise_pickle_read("p", BYTES(P2 "G\x3f\xf8\0\0\0\0\0\0."), &pickle, &help_error));
    assert_true(vise_pickle_at(&pickle, pickle.root)->real == 1.5);
    vise_pickle_deinit(&pickle);
    OK(vise_pickle_read("p", BYTES(P2 "\x8a\x09\0\0\0\0\0\0\0\0\1. and more"), &pickle, &help_error));
    assert_int_equal(vise_pickle_at(&pickle, pickle.root)->kind, VISE_PICKLE_LONG);
    assert_int_equal(vise_pickle_at(&pickle, pickle.root)->n, 9);
    assert_int_equal(pickle.at, 14);
    vise_pickle_deinit(&pickle);
}

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        vise_pickle_kind kind;
    } rows[] = {
        {BYTES(P2 "X\2\0\0\0ab."), VISE_PICKLE_TEXT},
        {BYTES(P2 "T\2\0\0\0ab."), VISE_PICKLE_TEXT},
        {BYTES(P2 "U\2ab."), VISE_PICKLE_TEXT},
        {BYTES(P2 "\x8c\2"
                  "ab."),
         VISE_PICKLE_TEXT},
        {BYTES(P2 "\x8d\2\0\0\0\0\0\0\0"
                  "ab."),
         VISE_PICKLE_TEXT},
        {BYTES(P2 "B\2\0\0\0"
                  "ab."),
         VISE_PICKLE_BYTES},
        {BYTES(P2 "C\2"
                  "ab."),
         VISE_PICKLE_BYTES},
        {BYTES(P2 "\x8e\2\0\0\0\0\0\0\0"
                  "ab."),
         VISE_PICKLE_BYTES},
        {BYTES(P2 "\x96\2\0\0\0\0\0\0\0"
                  "ab."),
         VISE_PICKLE_BYTES},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_pickle pickle;
        OK(vise_pickle_read("p", rows[i].bytes, rows[i].n, &pickle, &help_error));
        const vise_pickle_value *root = vise_pickle_at(&pickle, pickle.root);
        assert_int_equal(root->kind, rows[i].kind);
        assert_int_equal(root->n, 2);
        assert_memory_equal(pickle.bytes + root->at, "ab", 2);
        assert_int_equal(vise_pickle_is_text(&pickle, pickle.root, "ab"), root->kind == VISE_PICKLE_TEXT);
        assert_false(vise_pickle_is_text(&pickle, pickle.root, "a"));
        vise_pickle_deinit(&pickle);
    }
}

static void test_containers(void **state)
{
    (void)state;
    vise_pickle p;
    /* ((), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 1)) by way of the memo */
    OK(vise_pickle_read("p",
                        BYTES(P2 "()K\1q\0\x85h\0K\2r\1\0\0\0\x86h\0j\1\0\0\0K\3\x94\x87(h\0h\1h\2h\0tt."),
                        &p, &help_error));
    const vise_pickle_value *root = vise_pickle_at(&p, p.root);
    assert_int_equal(root->kind, VISE_PICKLE_TUPLE);
    assert_int_equal(root->n, 5);
    for (uint32_t i = 0; i < 5; i++) {
        const uint32_t item = vise_pickle_item(&p, p.root, i);
        assert_int_equal(vise_pickle_at(&p, item)->n, i);
        for (uint32_t k = 0; k < i; k++)
            assert_int_equal(vise_pickle_at(&p, vise_pickle_item(&p, item, k))->number, k % 3 + 1);
    }
    vise_pickle_deinit(&p);

    /* {"a": 1, "b": [2, 3, 4], "c": {5}, "a": 6} as an OrderedDict with attributes */
    OK(vise_pickle_read(
        "p",
        BYTES(P2 "ccollections\nOrderedDict\n)R" TEXT1("a") "K\1s(" TEXT1("b") "]K\2a(K\3K\4e" TEXT1(
            "c") "\x8f(K\5\x90" TEXT1("a") "K\6u}" TEXT1("m") "Nsb."),
        &p, &help_error));
    assert_int_equal(vise_pickle_at(&p, p.root)->kind, VISE_PICKLE_DICT);
    assert_int_equal(vise_pickle_at(&p, vise_pickle_get(&p, p.root, "a"))->number, 6);
    assert_int_equal(vise_pickle_get(&p, p.root, "m"), VISE_PICKLE_NONE);
    int64_t sum = 0;
    const vise_pickle_value *list = vise_pickle_at(&p, vise_pickle_get(&p, p.root, "b"));
    assert_int_equal(list->kind, VISE_PICKLE_LIST);
    for (uint32_t i = list->ends[0]; i != VISE_PICKLE_NONE; i = p.entries[i].next)
        sum = sum * 10 + vise_pickle_at(&p, p.entries[i].value)->number;
    assert_int_equal(sum, 234);
    vise_pickle_deinit(&p);
}

#define HALF           "ctorch\nHalfStorage\n"
#define SQUARE         PAIR(INT1("\2"), INT1("\2")) PAIR(INT1("\1"), INT1("\2"))
#define HALF_ARGUMENTS STORAGE(HALF, TEXT1("0"), INT1("\6")) "K\1" SQUARE "\x89" HOOKS "t"
#define HALVES         "ctorch._utils\n_rebuild_tensor_v2\n" HALF_ARGUMENTS "R"

static void test_tensor(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
    } rows[] = {
        {BYTES(P2 HALVES ".")},
        {BYTES(P2 "ctorch._utils\n_rebuild_parameter\n" HALVES "\x88" HOOKS "\x87R.")},
        {BYTES(P2 "ctorch._utils\n_rebuild_parameter_with_state\n(" HALVES "\x88" HOOKS "}tR.")},
        {BYTES(P2 "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_"
                  "v2\nctorch\nTensor\n" HALF_ARGUMENTS "}tR.")},
        {BYTES(P2 "ctorch._utils\n_rebuild_tensor\n" STORAGE(HALF, TEXT1("0"), INT1("\6")) "K\1" SQUARE
                                                                                           "tR.")},
        {BYTES(P2 "ctorch._utils\n_rebuild_tensor_v3\n" STORAGE(
            "ctorch.storage\nUntypedStorage\n", TEXT1("0"), INT1("\6")) "K\1" SQUARE "\x89" HOOKS
                                                                        "ctorch\nfloat16\ntR.")},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        vise_pickle p;
        OK(vise_pickle_read("p", rows[i].bytes, rows[i].n, &p, &help_error));
        assert_int_equal(vise_pickle_at(&p, p.root)->kind, VISE_PICKLE_TENSOR);
        const vise_pickle_tensor *tensor = &p.tensors[vise_pickle_at(&p, p.root)->n];
        assert_int_equal(tensor->type->dtype, VISE_DTYPE_F16);
        assert_int_equal(tensor->offset, 1);
        assert_int_equal(p.storages[tensor->storage].count, 6);
        assert_true(vise_pickle_is_text(&p, p.storages[tensor->storage].key, "0"));
        vise_pickle_deinit(&p);
    }
}

/* ---- what is refused ----------------------------------------------------------------------------------- */

#define VIEW(offset, shape, strides) TENSOR(FLOATS, TEXT1("0"), INT1("\4"), offset, shape, strides)

typedef struct refusal {
    const char *what, *bytes;
    size_t n;
    vise_status status;
    const char *say;
} refusal;

static const refusal refusals[] = {
    {"os.system", BYTES(P2 "cos\nsystem\nX\4\0\0\0true\x85R."), VISE_EUNSUPPORTED,
     "global os.system is not on the list"},
    {"posix.system by STACK_GLOBAL", BYTES("\x80\4\x8c\5posix\x8c\6system\x93\x8c\4true\x85R."),
     VISE_EUNSUPPORTED, "global posix.system is not on the list"},
    {"eval",
     BYTES(P2 "cbuiltins\neval\nX\3\0\0\0"
              "1+1\x85R."),
     VISE_EUNSUPPORTED, "global builtins.eval"},
    {"exec of Python 2", BYTES(P2 "c__builtin__\nexec\n."), VISE_EUNSUPPORTED, "global __builtin__.exec"},
    {"a path into a listed module", BYTES("\x80\4\x8c\5torch\x8c\x0bhub.os.load\x93."), VISE_EUNSUPPORTED,
     "global torch.hub.os.load"},
    {"getattr", BYTES(P2 "cbuiltins\ngetattr\n."), VISE_EUNSUPPORTED, "builtins.getattr"},
    {"torch.load", BYTES(P2 "ctorch\nload\n."), VISE_EUNSUPPORTED, "torch.load"},
    {"a module of a network", BYTES(P2 "ctorch.nn.modules.linear\nLinear\n)\x81."), VISE_EUNSUPPORTED,
     "torch.nn.modules.linear.Linear"},
    {"control characters in a name", BYTES(P2 "cos\x1b[2J\nsys\ttem\n."), VISE_EUNSUPPORTED,
     "os?[2J.sys?tem"},
    {"a listed name with something behind", BYTES(P2 "ctorch\nSizeX\n."), VISE_EUNSUPPORTED, "torch.SizeX"},
    {"INST", BYTES(P2 "(X\4\0\0\0trueios\nsystem\n."), VISE_EUNSUPPORTED, "(INST)"},
    {"OBJ", BYTES(P2 "(o."), VISE_EUNSUPPORTED, "(OBJ)"},
    {"NEWOBJ", BYTES(P2 "ccollections\nOrderedDict\n)\x81."), VISE_EUNSUPPORTED, "(NEWOBJ)"},
    {"NEWOBJ_EX", BYTES(P2 "\x92."), VISE_EUNSUPPORTED, "(NEWOBJ_EX)"},
    {"EXT1", BYTES(P2 "\x82\1."), VISE_EUNSUPPORTED, "(EXT1)"},
    {"EXT4", BYTES(P2 "\x84\1\0\0\0."), VISE_EUNSUPPORTED, "(EXT4)"},
    {"PERSID", BYTES(P2 "Pname\n."), VISE_EUNSUPPORTED, "(PERSID)"},
    {"INT as text", BYTES(P2 "I99999999999999999999999999\n."), VISE_EUNSUPPORTED, "(INT)"},
    {"DUP", BYTES(P2 "N2."), VISE_EUNSUPPORTED, "(DUP)"},
    {"buffers", BYTES("\x80\5\x97."), VISE_EUNSUPPORTED, "(NEXT_BUFFER)"},
    {"no opcode", BYTES(P2 "\xff."), VISE_EUNSUPPORTED, "0xff (unknown)"},
    {"protocol 0", BYTES("\x80\0N."), VISE_EUNSUPPORTED, "protocol 0"},
    {"protocol 6", BYTES("\x80\6N."), VISE_EUNSUPPORTED, "protocol 6"},
    {"no pickle", BYTES("hello"), VISE_EFORMAT, "there is none"},
    {"nothing", BYTES(""), VISE_EFORMAT, "there is none"},
    {"no end", BYTES(P2 "N"), VISE_EFORMAT, "the bytes end"},
    {"no value", BYTES(P2 "."), VISE_EFORMAT, "stack underflow"},
    {"two values", BYTES(P2 "NN."), VISE_EFORMAT, "more than one value"},
    {"an open mark", BYTES(P2 "(N."), VISE_EFORMAT, "more than one value"},
    {"TUPLE2 of one", BYTES(P2 "N\x86."), VISE_EFORMAT, "stack underflow"},
    {"TUPLE1 beyond a mark", BYTES(P2 "N(\x85."), VISE_EFORMAT, "stack underflow"},
    {"TUPLE without a mark", BYTES(P2 "Nt."), VISE_EFORMAT, "no mark"},
    {"SETITEM on nothing", BYTES(P2 "NNs."), VISE_EFORMAT, "stack underflow"},
    {"SETITEM on a list", BYTES(P2 "]NNs."), VISE_EFORMAT, "what is no dict"},
    {"SETITEMS of three", BYTES(P2 "}(NNNu."), VISE_EFORMAT, "what is no dict"},
    {"APPEND to a dict", BYTES(P2 "}Na."), VISE_EFORMAT, "what is no list"},
    {"APPENDS without a mark", BYTES(P2 "]Ne."), VISE_EFORMAT, "no mark"},
    {"memo that is not there", BYTES(P2 "h\0."), VISE_EFORMAT, "memo that was not put"},
    {"memo far away", BYTES(P2 "Nr\xff\xff\xff\xff."), VISE_EFORMAT, "memo of too high"},
    {"memo of nothing", BYTES(P2 "q\0N."), VISE_EFORMAT, "stack underflow"},
    {"text beyond the end",
     BYTES(P2 "X\xff\xff\xff\x03"
              "ab."),
     VISE_EFORMAT, "the bytes end"},
    {"text of 2^63 bytes",
     BYTES(P2 "\x8d\0\0\0\0\0\0\0\x80"
              "ab."),
     VISE_EFORMAT, "size that cannot be"},
    {"integer beyond the end", BYTES(P2 "\x8a\xff\1."), VISE_EFORMAT, "the bytes end"},
    {"integer of -1 bytes", BYTES(P2 "\x8b\xff\xff\xff\xff."), VISE_EFORMAT, "size that cannot be"},
    {"global without an end", BYTES(P2 "ctorch"), VISE_EFORMAT, "without an end"},
    {"global of numbers", BYTES(P2 "K\1K\2\x93."), VISE_EFORMAT, "name is no text"},
    {"call of a number", BYTES(P2 "K\1)R."), VISE_EFORMAT, "no global"},
    {"call with no tuple", BYTES(P2 "ctorch\nSize\nNR."), VISE_EFORMAT, "no global"},
    {"call of a class", BYTES(P2 "ctorch\nTensor\n)R."), VISE_EUNSUPPORTED, "a call of torch.Tensor"},
    {"call of a dtype", BYTES(P2 "ctorch\nfloat16\n)R."), VISE_EUNSUPPORTED, "a call of torch.float16"},
    {"call of a storage", BYTES(P2 "ctorch\nFloatStorage\n)R."), VISE_EUNSUPPORTED,
     "a call of torch.FloatStorage"},
    {"torch.Size of nothing", BYTES(P2 "ctorch\nSize\n)R."), VISE_EFORMAT, "of no tuple"},
    {"OrderedDict of a list", BYTES(P2 "ccollections\nOrderedDict\n]\x85R."), VISE_EFORMAT, "made of a list"},
    {"attributes of a tuple", BYTES(P2 "))b."), VISE_EFORMAT, "no OrderedDict"},
    {"attributes of a tensor", BYTES(P2 VIEW(INT1("\0"), ")", ")") "Nb."), VISE_EFORMAT, "no OrderedDict"},
    {"persistent text",
     BYTES(P2 "X\3\0\0\0"
              "abcQ."),
     VISE_EFORMAT, "no storage"},
    {"persistent module", BYTES(P2 "(X\6\0\0\0moduleNNNNtQ."), VISE_EFORMAT, "no storage"},
    {"storage of a dtype", BYTES(P2 STORAGE("ctorch\nfloat16\n", TEXT1("0"), INT1("\1")) "."), VISE_EFORMAT,
     "without a class"},
    {"storage without a key", BYTES(P2 "(X\7\0\0\0storage" FLOATS "NNK\1tQ."), VISE_EFORMAT,
     "without a class or a key"},
    {"storage of negative size", BYTES(P2 "(X\7\0\0\0storage" FLOATS TEXT1("0") "NJ\xff\xff\xff\xfftQ."),
     VISE_EFORMAT, "size that is no count"},
    {"storage of huge size", BYTES(P2 "(X\7\0\0\0storage" FLOATS TEXT1("0") "N\x8a\x09\0\0\0\0\0\0\0\0\1tQ."),
     VISE_EFORMAT, "size that is no count"},
    {"window beyond", BYTES(P2 "(X\7\0\0\0storage" FLOATS TEXT1("0") "NK\4" TEXT1("1") "K\3K\2\x87tQ."),
     VISE_EFORMAT, "window beyond"},
    {"window of no tuple", BYTES(P2 "(X\7\0\0\0storage" FLOATS TEXT1("0") "NK\4K\1tQ."), VISE_EFORMAT,
     "window that is none"},
    {"tensor without arguments", BYTES(P2 "ctorch._utils\n_rebuild_tensor_v2\n)R."), VISE_EFORMAT,
     "without a storage"},
    {"tensor of a number", BYTES(P2 "ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR."), VISE_EFORMAT,
     "without a storage"},
    {"negative offset", BYTES(P2 VIEW("J\xff\xff\xff\xff", ")", ")") "."), VISE_EFORMAT,
     "offset that is no count"},
    {"huge offset", BYTES(P2 VIEW("\x8a\x09\0\0\0\0\0\0\0\0\1", ")", ")") "."), VISE_EFORMAT,
     "offset that is no count"},
    {"negative shape", BYTES(P2 VIEW(INT1("\0"), "J\xff\xff\xff\xff\x85", "K\1\x85") "."), VISE_EFORMAT,
     "shape that is no tuple"},
    {"shape of a float", BYTES(P2 VIEW(INT1("\0"), "G\0\0\0\0\0\0\0\0\x85", "K\1\x85") "."), VISE_EFORMAT,
     "shape that is no tuple"},
    {"shape that is a list", BYTES(P2 VIEW(INT1("\0"), "]", ")") "."), VISE_EFORMAT,
     "shape that is no tuple"},
    {"negative stride", BYTES(P2 VIEW(INT1("\0"), "K\2\x85", "J\xff\xff\xff\xff\x85") "."), VISE_EFORMAT,
     "strides that are no tuple of counts"},
    {"fewer strides", BYTES(P2 VIEW(INT1("\0"), "K\2\x85", ")") "."), VISE_EFORMAT, "more or fewer strides"},
    {"conjugated",
     BYTES(P2 "ctorch._utils\n_rebuild_tensor_v2\n" STORAGE(FLOATS, TEXT1("0"),
                                                            INT1("\4")) "K\0))\x89N}" TEXT1("c") "\x88stR."),
     VISE_EUNSUPPORTED, "conjugated or negated"},
    {"version 3 without a dtype",
     BYTES(P2 "ctorch._utils\n_rebuild_tensor_v3\n" STORAGE(FLOATS, TEXT1("0"), INT1("\4")) "K\0))\x89NNtR."),
     VISE_EFORMAT, "of no dtype"},
    {"parameter of nothing", BYTES(P2 "ctorch._utils\n_rebuild_parameter\n(NNNtR."), VISE_EFORMAT,
     "without a tensor"},
    {"a class of another",
     BYTES(P2 "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_tensor_v2\n"
              "ctorch\nfloat16\n)NtR."),
     VISE_EFORMAT, "not torch's own"},
    {"a class that nests",
     BYTES(P2 "ctorch._tensor\n_rebuild_from_type_v2\nq\0(h\0ctorch\nTensor\n(h\0ctorch\nTensor\n)"
              "NtNtR."),
     VISE_EFORMAT, "not torch's own"},
};

static void test_refusals(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const refusal *r = &refusals[i];
        vise_pickle pickle;
        print_message("  %s\n", r->what);
        FAILS(r->status, r->say, vise_pickle_read("p", r->bytes, r->n, &pickle, &help_error));
        vise_pickle_deinit(&pickle);
    }
}

/* A list of ten times the list below it, thirty levels deep: 10^30 items unfolded, 31 values here. And nesting as
 * deep as the bytes allow, which a recursive reader would not survive. */
static void test_bombs(void **state)
{
    (void)state;
    vise_buf buf;
    vise_pickle pickle;
    vise_buf_init(&buf, 1 << 24);
    vise_buf_add(&buf, P2 "]q\0", 5);
    for (int level = 1; level <= 30; level++) {
        vise_buf_add(&buf, "](", 2);
        for (int i = 0; i < 10; i++) {
            vise_buf_add_char(&buf, 'h');
            vise_buf_add_char(&buf, (char)(level - 1));
        }
        vise_buf_add_char(&buf, 'e');
        vise_buf_add_char(&buf, 'q');
        vise_buf_add_char(&buf, (char)level);
    }
    vise_buf_add(&buf, "(", 1);
    vise_buf_add(&buf, "t", 1);
    for (int i = 0; i < 31; i++)
        vise_buf_add(&buf, "\x86", 1);
    vise_buf_add_char(&buf, '.');
    OK(vise_pickle_read("p", buf.data, buf.length, &pickle, &help_error));
    assert_true(pickle.n_values < 100);
    vise_pickle_deinit(&pickle);

    vise_buf_clear(&buf);
    vise_buf_add(&buf, P2 "N", 3);
    for (int i = 0; i < 1000000; i++)
        vise_buf_add_char(&buf, '\x85');
    vise_buf_add_char(&buf, '.');
    OK(vise_pickle_read("p", buf.data, buf.length, &pickle, &help_error));
    vise_pickle_deinit(&pickle);

    vise_buf_clear(&buf); /* more values than are allowed */
    vise_buf_add(&buf, P2, 2);
    for (size_t i = 0; i <= VISE_PICKLE_VALUES_MAX; i++)
        vise_buf_add_char(&buf, 'N');
    vise_buf_add_char(&buf, '.');
    FAILS(VISE_EUNSUPPORTED, "more than", vise_pickle_read("p", buf.data, buf.length, &pickle, &help_error));
    vise_pickle_deinit(&pickle);

    vise_buf_clear(&buf); /* and marks */
    vise_buf_add(&buf, P2, 2);
    for (size_t i = 0; i <= VISE_PICKLE_VALUES_MAX; i++)
        vise_buf_add_char(&buf, '(');
    FAILS(VISE_EFORMAT, "too many marks", vise_pickle_read("p", buf.data, buf.length, &pickle, &help_error));
    vise_pickle_deinit(&pickle);
    vise_buf_deinit(&buf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers), cmocka_unit_test(test_texts),    cmocka_unit_test(test_containers),
        cmocka_unit_test(test_tensor),  cmocka_unit_test(test_refusals), cmocka_unit_test(test_bombs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
