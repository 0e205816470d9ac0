/* The three lifetimes of memory, and sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/mem.h"
#include "core/workers.h"

#define KIB ((size_t)1024)
#define MIB (1024 * KIB)

static void test_process_lifetime(void **state)
{
    (void)state;
    vise_error err = {0};
    void *a = NULL, *b = NULL;
    assert_int_equal(vise_alloc(0, &a, &err), VISE_OK);
    assert_int_equal(vise_alloc(0, &b, &err), VISE_OK);
    assert_non_null(a);
    assert_ptr_not_equal(a, b);
    vise_free(a);
    vise_free(b);
    assert_int_equal(vise_calloc(SIZE_MAX / 2, 3, &a, &err), VISE_ERESOURCE);
    err = (vise_error){0};
    int *numbers = NULL;
    assert_int_equal(vise_calloc(10, sizeof *numbers, (void **)&numbers, &err), VISE_OK);
    for (int i = 0; i < 10; i++)
        assert_int_equal(numbers[i], 0);
    assert_int_equal(vise_realloc((void **)&numbers, SIZE_MAX / 2, 8, &err), VISE_ERESOURCE);
    assert_non_null(numbers); /* a failed realloc leaves the block */
    vise_free(numbers);

    err = (vise_error){0};
    char *text = NULL;
    assert_int_equal(vise_strfmt(&text, &err, "%s-%03d", "shard", 7), VISE_OK);
    assert_string_equal(text, "shard-007");
    char *copy = NULL;
    assert_int_equal(vise_strdup(text, &copy, &err), VISE_OK);
    assert_string_equal(copy, text);
    vise_free(text);
    vise_free(copy);
}

static void test_grow(void **state)
{
    (void)state;
    vise_error err = {0};
    uint64_t *list = NULL;
    size_t capacity = 0, moves = 0;
    for (size_t i = 0; i < 10000; i++) {
        size_t before = capacity;
        assert_int_equal(vise_grow((void **)&list, &capacity, i + 1, sizeof *list, &err), VISE_OK);
        moves += capacity != before;
        list[i] = i;
    }
    assert_true(moves < 25);
    for (size_t i = 0; i < 10000; i++)
        assert_int_equal(list[i], i);
    vise_free(list);
}

static void test_checked_arithmetic(void **state)
{
    (void)state;
    size_t out;
    assert_true(vise_add_size(SIZE_MAX - 1, 1, &out));
    assert_false(vise_add_size(SIZE_MAX, 1, &out));
    assert_true(vise_mul_size(SIZE_MAX / 2, 2, &out));
    assert_false(vise_mul_size(SIZE_MAX / 2 + 1, 2, &out));
}

static void test_injected_failures(void **state)
{
    (void)state;
    vise_arena *arena = NULL;
    vise_pool *pool = NULL;
    vise_error err = {0};
    void *block = NULL;
    assert_int_equal(vise_arena_new(&arena, &err), VISE_OK);
    assert_int_equal(vise_pool_new(0, &pool, &err), VISE_OK);

    vise_alloc_fail_after(2);
    assert_int_equal(vise_alloc(1, &block, &err), VISE_OK);
    vise_free(block);
    assert_int_equal(vise_alloc(1, &block, &err), VISE_ERESOURCE);
    assert_int_equal(vise_alloc(1, &block, &err), VISE_OK); /* once */
    vise_free(block);

    vise_alloc_fail_after(1);
    assert_int_equal(vise_arena_take(arena, 8, &block, &err), VISE_ERESOURCE);
    vise_alloc_fail_after(1);
    assert_int_equal(vise_pool_take(pool, 8, "a test", &block, &err), VISE_ERESOURCE);
    assert_int_equal(vise_pool_used(pool), 0);
    vise_alloc_fail_after(3);
    vise_alloc_fail_after(0);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(vise_alloc(1, &block, &err), VISE_OK);
        vise_free(block);
    }
    vise_arena_free(arena);
    vise_pool_free(pool);
}

static void test_arena(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_arena *arena = NULL;
    assert_int_equal(vise_arena_new(&arena, &err), VISE_OK);
    static const size_t sizes[] = {0, 1, 15, 16, 17, 4000, 5000, 100000, 3 << 20, 1};
    unsigned char *taken[2000];
    for (size_t i = 0; i < 2000; i++) {
        size_t size = i % 200 ? sizes[i % 6] : sizes[i % 10];
        assert_int_equal(vise_arena_take(arena, size, (void **)&taken[i], &err), VISE_OK);
        assert_int_equal((uintptr_t)taken[i] % 16, 0);
        for (size_t j = 0; j < size; j += 7)
            assert_int_equal(taken[i][j], 0);
        memset(taken[i], (int)(i % 251), size);
    }
    for (size_t i = 1; i < 2000; i++)
        if (i % 6 && i % 200)
            assert_int_equal(taken[i][0], i % 251);
    void *out;
    assert_int_equal(vise_arena_take(arena, SIZE_MAX - 4, &out, &err), VISE_ERESOURCE);

    err = (vise_error){0};
    const char *text = NULL;
    assert_int_equal(vise_arena_strdup(arena, "embedded", 3, &text, &err), VISE_OK);
    assert_string_equal(text, "emb");
    assert_int_equal(vise_arena_strdup(arena, NULL, 0, &text, &err), VISE_OK);
    assert_string_equal(text, "");
    assert_int_equal(vise_arena_strfmt(arena, &text, &err, "layers.%d", 12), VISE_OK);
    assert_string_equal(text, "layers.12");
    vise_arena_free(arena);
    vise_arena_free(NULL);
}

static void test_pool_alignment_and_accounting(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, 256 * 1024 - 1, 256 * 1024, 1 << 20, (4 << 20) + 1, 9 << 20};
    enum { N = sizeof sizes / sizeof *sizes };
    vise_error err = {0};
    vise_pool *pool = NULL;
    assert_int_equal(vise_pool_new(0, &pool, &err), VISE_OK);
    assert_int_equal(vise_pool_limit(pool), 0);
    void *blocks[N];
    size_t counted = 0;
    for (size_t i = 0; i < N; i++) {
        assert_int_equal(vise_pool_take(pool, sizes[i], "a test", &blocks[i], &err), VISE_OK);
        assert_int_equal((uintptr_t)blocks[i] % 64, 0);
        memset(blocks[i], 0xAB, sizes[i]);
        counted += sizes[i] ? (sizes[i] + 63) / 64 * 64 : 64;
        assert_int_equal(vise_pool_used(pool), counted);
    }
    assert_int_equal(vise_pool_peak(pool), counted);
    for (size_t i = 0; i < N; i++)
        vise_pool_give(pool, blocks[i]);
    vise_pool_give(pool, NULL);
    assert_int_equal(vise_pool_used(pool), 0);
    vise_pool_free(pool);
    vise_pool_free(NULL);
}

static void test_pool_limit(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_pool *pool = NULL;
    void *a = NULL, *b = NULL, *c = NULL;
    assert_int_equal(vise_pool_new(10 * MIB, &pool, &err), VISE_OK);
    assert_int_equal(vise_pool_limit(pool), 10 * MIB);
    assert_int_equal(vise_pool_take(pool, 4 * MIB, "a", &a, &err), VISE_OK);
    assert_int_equal(vise_pool_take(pool, 6 * MIB, "b", &b, &err), VISE_OK); /* exactly full */
    assert_int_equal(vise_pool_take(pool, 1, "the activations of block 3", &c, &err), VISE_ERESOURCE);
    assert_non_null(strstr(err.message, "the activations of block 3"));
    assert_non_null(strstr(err.message, "--memory"));

    /* What is given back is kept, and evicted when the room is needed for another size. */
    err = (vise_error){0};
    vise_pool_give(pool, a);
    vise_pool_give(pool, b);
    assert_int_equal(vise_pool_take(pool, 10 * MIB, "all", &a, &err), VISE_OK);
    assert_int_equal(vise_pool_peak(pool), 10 * MIB);
    vise_pool_give(pool, a);

    /* A cached block that is a little too large is cut to size: the room beside it stays usable to the byte. */
    assert_int_equal(vise_pool_take(pool, 9 * MIB, "nine", &a, &err), VISE_OK);
    assert_int_equal(vise_pool_used(pool), 9 * MIB);
    assert_int_equal(vise_pool_take(pool, 1 * MIB, "one", &b, &err), VISE_OK);
    memset(a, 1, 9 * MIB);
    memset(b, 2, 1 * MIB);
    vise_pool_give(pool, a);
    vise_pool_give(pool, b);

    /* A charge takes room too. */
    assert_int_equal(vise_pool_charge(pool, 8 * MIB, "a library", &err), VISE_OK);
    assert_int_equal(vise_pool_used(pool), 8 * MIB);
    assert_int_equal(vise_pool_take(pool, 3 * MIB, "too much", &c, &err), VISE_ERESOURCE);
    err = (vise_error){0};
    assert_int_equal(vise_pool_charge(pool, 3 * MIB, "too much", &err), VISE_ERESOURCE);
    vise_pool_discharge(pool, 8 * MIB);
    assert_int_equal(vise_pool_used(pool), 0);
    assert_int_equal(vise_pool_peak(pool), 10 * MIB);

    err = (vise_error){0};
    assert_int_equal(vise_pool_take(pool, SIZE_MAX - 10, "overflow", &c, &err), VISE_ERESOURCE);
    vise_pool_free(pool);
}

static void test_pool_reuse(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_pool *pool = NULL;
    void *a = NULL, *b = NULL;
    assert_int_equal(vise_pool_new(0, &pool, &err), VISE_OK);
    assert_int_equal(vise_pool_take(pool, 8 * MIB, "a", &a, &err), VISE_OK);
    vise_pool_give(pool, a);
    assert_int_equal(vise_pool_take(pool, 8 * MIB, "b", &b, &err), VISE_OK);
    assert_ptr_equal(a, b);
    vise_pool_give(pool, b);
    /* A quarter too large is handed out, more is not. */
    assert_int_equal(vise_pool_take(pool, 7 * MIB, "b", &b, &err), VISE_OK);
    assert_ptr_equal(a, b);
    vise_pool_give(pool, b);
    assert_int_equal(vise_pool_take(pool, 4 * MIB, "b", &b, &err), VISE_OK);
    assert_ptr_not_equal(a, b);
    assert_int_equal(vise_pool_used(pool), 4 * MIB);
    vise_pool_give(pool, b);
    vise_pool_free(pool);
}

static void test_pool_returns_pages(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_pool *pool = NULL;
    void *a = NULL;
    assert_int_equal(vise_pool_new(0, &pool, &err), VISE_OK);
    size_t before = vise_resident_bytes();
    if (before == 0) {
        print_message("SKIP: the kernel does not tell the resident set\n");
        skip();
    }
    assert_int_equal(vise_pool_take(pool, 64 * MIB, "a", &a, &err), VISE_OK);
    memset(a, 1, 64 * MIB);
    assert_true(vise_resident_bytes() >= before + 60 * MIB);
    vise_pool_give(pool, a);
    vise_pool_trim(pool);
    assert_true(vise_resident_bytes() <= before + 8 * MIB);
    assert_true(vise_resident_peak_bytes() >= before + 60 * MIB);
    vise_pool_free(pool);
}

typedef struct hammer {
    vise_pool *pool;
} hammer;

static vise_status hammer_task(void *context, size_t index, int worker, vise_error *err)
{
    (void)worker;
    hammer *h = context;
    size_t bytes = 1000 + index % 7 * 300 * KIB;
    unsigned char *block = NULL;
    VISE_TRY(vise_pool_take(h->pool, bytes, "a hammer", (void **)&block, err));
    memset(block, (int)(index % 256), bytes);
    bool intact = block[0] == index % 256 && block[bytes - 1] == index % 256;
    vise_pool_give(h->pool, block);
    return intact ? VISE_OK : VISE_FAIL(err, VISE_EINTERNAL, "block %zu was shared", index);
}

static void test_pool_threads(void **state)
{
    (void)state;
    vise_error err = {0};
    hammer h = {0};
    vise_workers *workers = NULL;
    assert_int_equal(vise_pool_new(16 * MIB, &h.pool, &err), VISE_OK);
    assert_int_equal(vise_workers_new(4, &workers, &err), VISE_OK);
    assert_int_equal(vise_parallel(workers, 2000, hammer_task, &h, &err), VISE_OK);
    assert_int_equal(vise_pool_used(h.pool), 0);
    assert_true(vise_pool_peak(h.pool) <= 16 * MIB);
    vise_workers_free(workers);
    vise_pool_free(h.pool);
}

static void test_parse_size(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"4096B", 4096},
        {"300MB", 300000000},
        {"300 MB", 300000000},
        {"2kB", 2000},
        {"2KB", 2000},
        {"2KiB", 2048},
        {"1.5GiB", 1610612736},
        {"0.5MiB", 524288},
        {"1.60 GB", 1600000000},
        {"16GiB", 17179869184},
        {"5GB", 5000000000},
        {"1TiB", 1099511627776},
        {"18446744073709551615", UINT64_MAX},
    };
    static const char *const bad[] = {"",    "MB",   "-1",    "+1",   "1.5", "1.5B",          "1.MB",
                                      "1mb", "1 XB", "1e6",   "1MBx", "nan", "20000000000TB", ".5MB",
                                      "0x1", "0 ",   "1  MB", "18446744073709551616"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        uint64_t bytes = 1;
        vise_error err = {0};
        assert_int_equal(vise_parse_size(good[i].text, &bytes, &err), VISE_OK);
        assert_int_equal(bytes, good[i].bytes);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        uint64_t bytes = 77;
        vise_error err = {0};
        assert_int_equal(vise_parse_size(bad[i], &bytes, &err), VISE_EUSAGE);
        assert_int_equal(bytes, 77);
    }
}

static void test_format_size(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        const char *text;
    } rows[] = {
        {0, "0 B"},           {999, "999 B"},         {1000, "1.00 kB"},         {1604, "1.60 kB"},
        {9994, "9.99 kB"},    {9996, "10.0 kB"},      {99960, "100 kB"},         {999499, "999 kB"},
        {999500, "1.00 MB"},  {1600000000, "1.60 GB"}, {16000000000, "16.0 GB"}, {UINT64_MAX, "18.4 EB"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[VISE_SIZE_TEXT_MAX];
        assert_string_equal(vise_format_size(rows[i].bytes, text), rows[i].text);
    }
}

static void test_physical_memory(void **state)
{
    (void)state;
    assert_true(vise_physical_memory_bytes() > 64 * MIB);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_process_lifetime),
        cmocka_unit_test(test_grow),
        cmocka_unit_test(test_checked_arithmetic),
        cmocka_unit_test(test_injected_failures),
        cmocka_unit_test(test_arena),
        cmocka_unit_test(test_pool_alignment_and_accounting),
        cmocka_unit_test(test_pool_limit),
        cmocka_unit_test(test_pool_reuse),
        cmocka_unit_test(test_pool_returns_pages),
        cmocka_unit_test(test_pool_threads),
        cmocka_unit_test(test_parse_size),
        cmocka_unit_test(test_format_size),
        cmocka_unit_test(test_physical_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
