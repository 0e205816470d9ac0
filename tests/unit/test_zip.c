/* ZIP archives: what torch and others write, and every rule broken once. */
#include <string.h>

#include "formats/zip.h"
#include "tests/unit/formats_help.h"
#include "tests/unit/torch_help.h"

static vise_status parse(const char *bytes, size_t n, vise_arena **arena, vise_zip *zip)
{
    help_memory memory = {bytes, n};
    vise_st_input input = help_input(&memory, "test.pt");
    OK(vise_arena_new(arena, &help_error));
    return vise_zip_parse(&input, *arena, zip, &help_error);
}

static void make(help_zip *zip, bool zip64, bool sizes_in_front)
{
    help_zip_init(zip);
    zip->zip64 = zip64;
    zip->sizes_in_front = sizes_in_front;
    help_zip_add(zip, "m/data.pkl", "pickle", 6);
    help_zip_add(zip, "m/data/0", "0123456789", 10);
    help_zip_add(zip, "m/empty", "", 0);
    help_zip_end(zip);
}

static void test_crc(void **state)
{
    (void)state;
    assert_int_equal(vise_crc32("123456789", 9), 0xcbf43926u); /* the check value of the CRC catalogue */
    assert_int_equal(vise_crc32("", 0), 0);
}

static void test_archives(void **state)
{
    (void)state;
    for (int way = 0; way < 4; way++) {
        help_zip made;
        vise_zip zip;
        vise_arena *arena;
        char *bytes;
        make(&made, way & 1, way & 2);
        OK(parse(made.buf.data, made.buf.length, &arena, &zip));
        assert_int_equal(zip.n, 3);
        assert_null(vise_zip_find(&zip, "m/data"));
        assert_int_equal(vise_zip_find(&zip, "m/empty")->bytes, 0);
        const vise_zip_entry *entry = vise_zip_find(&zip, "m/data/0");
        assert_int_equal(entry->bytes, 10);
        assert_int_equal(entry->offset % 64, 0);
        assert_memory_equal(made.buf.data + entry->offset, "0123456789", 10);
        help_memory memory = {made.buf.data, made.buf.length};
        vise_st_input input = help_input(&memory, "test.pt");
        OK(vise_zip_check_stored(&input, &zip, &help_error));
        OK(vise_zip_read(&input, entry, 10, &bytes, &help_error));
        assert_string_equal(bytes, "0123456789");
        vise_free(bytes);
        FAILS(VISE_EFORMAT, "larger than can be", vise_zip_read(&input, entry, 9, &bytes, &help_error));
        made.buf.data[entry->offset] ^= 1;
        FAILS(VISE_EFORMAT, "does not have its checksum",
              vise_zip_read(&input, entry, 10, &bytes, &help_error));
        vise_arena_free(arena);
        help_zip_deinit(&made);
    }
}

/* Where things lie in the archive of make(): entries are padded to 64 bytes; the directory follows. */
enum { LOCAL0 = 0, CENTRAL = 46 };

/* Changes to the archive; `from` says from where the place counts. */
typedef struct change {
    const char *what;
    int from; /* 0: the start, 1: the directory, 2: the end */
    int at, bytes;
    uint64_t value;
    vise_status status;
    const char *say;
    bool zip64;
} change;

static const change changes[] = {
    {"end sign", 2, -22, 4, 0, VISE_EFORMAT, "no directory at its end", false},
    {"comment that is not there", 2, -2, 2, 5, VISE_EFORMAT, "no directory at its end", false},
    {"several disks", 2, -18, 2, 1, VISE_EUNSUPPORTED, "in several", false},
    {"entries on this disk", 2, -14, 2, 2, VISE_EUNSUPPORTED, "in several", false},
    {"too many entries", 2, -14, 4, 0x00FF00FF, VISE_EFORMAT, "more entries", false},
    {"one entry too many", 2, -14, 4, 0x00040004, VISE_EFORMAT, "more entries", false},
    {"one entry less", 2, -14, 4, 0x00020002, VISE_EFORMAT, "more than its entries", false},
    {"no entry", 2, -14, 4, 0, VISE_EFORMAT, "more than its entries", false},
    {"directory too long", 2, -10, 4, 1 << 20, VISE_EFORMAT, "does not end where", false},
    {"directory beyond the end", 2, -6, 4, 1 << 20, VISE_EFORMAT, "does not end where", false},
    {"directory moved", 2, -6, 4, 1, VISE_EFORMAT, "does not end where", false},
    {"central sign", 1, 0, 4, 0, VISE_EFORMAT, "breaks off", false},
    {"encrypted", 1, 8, 2, 9, VISE_EUNSUPPORTED, "is encrypted", false},
    {"deflated in one place", 1, 10, 2, 8, VISE_EFORMAT, "contradicts", false},
    {"stored size", 1, 20, 4, 5, VISE_EFORMAT, "more or fewer bytes", false},
    {"both sizes huge", 1, 20, 8, 0x7FFFFFFF7FFFFFFF, VISE_EFORMAT, "reaches into the directory", false},
    {"sizes without ZIP64", 1, 20, 8, UINT64_MAX, VISE_EFORMAT, "broken ZIP64", false},
    {"name length", 1, 28, 2, 60000, VISE_EFORMAT, "breaks off", false},
    {"empty name", 1, 28, 2, 0, VISE_EFORMAT, "leads outside", false},
    {"other disk", 1, 34, 2, 1, VISE_EUNSUPPORTED, "another file", false},
    {"local header elsewhere", 1, 42, 4, 1, VISE_EFORMAT, "not where the directory says", false},
    {"local header beyond", 1, 42, 4, 1 << 30, VISE_EFORMAT, "beyond the directory", false},
    {"absolute name", 1, CENTRAL, 1, '/', VISE_EFORMAT, "leads outside", false},
    {"name upwards", 1, CENTRAL, 3, 0x2f2e2e, VISE_EFORMAT, "leads outside", false},
    {"name with a backslash", 1, CENTRAL, 1, '\\', VISE_EFORMAT, "leads outside", false},
    {"name with NUL", 1, CENTRAL, 1, 0, VISE_EFORMAT, "no UTF-8", false},
    {"name no UTF-8", 1, CENTRAL, 1, 0xFF, VISE_EFORMAT, "no UTF-8", false},
    {"another name", 1, CENTRAL, 1, 'x', VISE_EFORMAT, "contradicts", false},
    {"local sign", 0, 0, 4, 0, VISE_EFORMAT, "not where the directory says", false},
    {"local encrypted", 0, 6, 2, 9, VISE_EFORMAT, "contradicts", false},
    {"local deflated", 0, 8, 2, 8, VISE_EFORMAT, "contradicts", false},
    {"local sizes wanted", 0, 6, 2, 0, VISE_EFORMAT, "contradicts", false},
    {"local name", 0, 30, 1, 'x', VISE_EFORMAT, "contradicts", false},
    {"local name length", 0, 26, 2, 9, VISE_EFORMAT, "contradicts", false},
    {"local extra length", 0, 28, 2, 60000, VISE_EFORMAT, "reaches into the directory", false},
    {"ZIP64 end elsewhere", 2, -34, 8, 3, VISE_EFORMAT, "not where its locator says", true},
    {"ZIP64 end beyond", 2, -34, 8, UINT64_MAX, VISE_EFORMAT, "beyond the end", true},
    {"ZIP64 contradiction", 2, -12, 2, 9, VISE_EFORMAT, "contradict each other", true},
    {"ZIP64 count", 2, -98 + 24, 8, 1ull << 60, VISE_EUNSUPPORTED, "in several", true},
    {"ZIP64 directory", 2, -98 + 48, 8, UINT64_MAX - 8, VISE_EFORMAT, "does not end where", true},
    {"ZIP64 field too short", 1, CENTRAL + 10 + 2, 2, 8, VISE_EFORMAT, "broken ZIP64", true},
    {"ZIP64 field beyond", 1, CENTRAL + 10 + 2, 2, 999, VISE_EFORMAT, "broken ZIP64", true},
    {"ZIP64 header", 1, CENTRAL + 10 + 4 + 16, 8, UINT64_MAX, VISE_EFORMAT, "beyond the directory", true},
    {"ZIP64 sizes", 1, CENTRAL + 10 + 4, 8, UINT64_MAX, VISE_EFORMAT, "more or fewer bytes", true},
};

static void test_changes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        const change *c = &changes[i];
        help_zip made;
        vise_zip zip;
        vise_arena *arena;
        make(&made, c->zip64, false);
        const size_t end = made.buf.length,
                     directory = end - 22 - (c->zip64 ? 76 : 0) - made.directory.length;
        const size_t at = (size_t)((ptrdiff_t)(c->from == 0   ? LOCAL0
                                               : c->from == 1 ? directory
                                                              : end) +
                                   c->at);
        for (int b = 0; b < c->bytes; b++)
            made.buf.data[at + (size_t)b] = (char)(c->value >> (8 * b) & 0xFF);
        print_message("  %s\n", c->what);
        FAILS(c->status, c->say, parse(made.buf.data, end, &arena, &zip));
        vise_arena_free(arena);
        help_zip_deinit(&made);
    }
}

static void test_whole(void **state)
{
    (void)state;
    help_zip made;
    vise_zip zip;
    vise_arena *arena;
    make(&made, true, false);
    for (size_t n = 0; n < made.buf.length; n++) { /* cut anywhere */
        vise_status status = parse(made.buf.data, n, &arena, &zip);
        assert_int_equal(status, VISE_EFORMAT);
        vise_arena_free(arena);
        help_error = (vise_error){0};
    }
    help_zip_deinit(&made);

    help_zip_init(&made); /* the same name twice */
    help_zip_add(&made, "a", "1", 1);
    help_zip_add(&made, "a", "2", 1);
    help_zip_end(&made);
    FAILS(VISE_EFORMAT, "there twice", parse(made.buf.data, made.buf.length, &arena, &zip));
    vise_arena_free(arena);
    help_zip_deinit(&made);

    help_zip_init(&made); /* two entries of one local header */
    help_zip_add(&made, "a", "1", 1);
    const size_t n = made.directory.length;
    char again[128];
    memcpy(again, made.directory.data, n);
    vise_buf_add(&made.directory, again, n);
    made.entries++;
    help_zip_end(&made);
    FAILS(VISE_EFORMAT, "overlaps", parse(made.buf.data, made.buf.length, &arena, &zip));
    vise_arena_free(arena);
    help_zip_deinit(&made);

    help_zip_init(&made); /* a longer entry that covers the next */
    help_zip_add(&made, "a", "1", 1);
    help_zip_add(&made, "b", "1", 1);
    memset(made.directory.data + 20, 70, 1);
    memset(made.directory.data + 24, 70, 1);
    help_zip_end(&made);
    FAILS(VISE_EFORMAT, "overlaps", parse(made.buf.data, made.buf.length, &arena, &zip));
    vise_arena_free(arena);
    help_zip_deinit(&made);

    make(&made, false, false); /* compressed in both places */
    const size_t directory = made.buf.length - 22 - made.directory.length;
    made.buf.data[8] = made.buf.data[directory + 10] = 8;
    OK(parse(made.buf.data, made.buf.length, &arena, &zip));
    help_memory memory = {made.buf.data, made.buf.length};
    vise_st_input input = help_input(&memory, "test.pt");
    char *bytes;
    FAILS(VISE_EUNSUPPORTED, "is compressed", vise_zip_check_stored(&input, &zip, &help_error));
    FAILS(VISE_EUNSUPPORTED, "zip -0 -r",
          vise_zip_read(&input, vise_zip_find(&zip, "m/data.pkl"), 99, &bytes, &help_error));
    vise_arena_free(arena);
    help_zip_deinit(&made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc),
        cmocka_unit_test(test_archives),
        cmocka_unit_test(test_changes),
        cmocka_unit_test(test_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
