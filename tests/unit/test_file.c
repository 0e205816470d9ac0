#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/mem.h"

/* Every test works in a fresh folder, removed afterwards. */
static char folder[] = "/tmp/vise-file-XXXXXX";

static int enter_folder(void **state)
{
    (void)state;
    memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static int leave_folder(void **state)
{
    (void)state;
    vise_error err = {0};
    return chdir("/") == 0 && vise_folder_remove(folder, &err) == VISE_OK && !vise_path_exists(folder) ? 0 : -1;
}

static void put(const char *path, const char *text)
{
    vise_error err = {0};
    assert_int_equal(vise_file_write_atomic(path, text, strlen(text), &err), VISE_OK);
}

static void assert_holds(const char *path, const char *text)
{
    vise_error err = {0};
    char *bytes = NULL;
    size_t length;
    assert_int_equal(vise_file_read_all(path, 1000, &bytes, &length, &err), VISE_OK);
    assert_int_equal(length, strlen(text));
    assert_string_equal(bytes, text);
    vise_free(bytes);
}

static size_t count_entries(void)
{
    vise_error err = {0};
    char **names = NULL;
    size_t count = 0;
    assert_int_equal(vise_folder_list(".", &names, &count, &err), VISE_OK);
    for (size_t i = 0; i < count; i++)
        vise_free(names[i]);
    vise_free(names);
    return count;
}

static void test_open_failures(void **state)
{
    (void)state;
    vise_file file;
    vise_error err = {0};
    assert_int_equal(vise_file_open("missing", &file, &err), VISE_EFORMAT);
    assert_string_equal(err.message, "missing: no such file");
    assert_int_equal(file.fd, -1);
    vise_file_close(&file); /* a failed open leaves something that can be closed */

    assert_int_equal(mkdir("sub", 0777), 0);
    err = (vise_error){0};
    assert_int_equal(vise_file_open("sub", &file, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "is a folder"));

    /* A pipe without a writer must not block. */
    assert_int_equal(mkfifo("pipe", 0666), 0);
    err = (vise_error){0};
    assert_int_equal(vise_file_open("pipe", &file, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "not a regular file"));

    if (geteuid() != 0) {
        put("secret", "x");
        assert_int_equal(chmod("secret", 0), 0);
        err = (vise_error){0};
        assert_int_equal(vise_file_open("secret", &file, &err), VISE_EFORMAT);
        assert_non_null(strstr(err.message, "permission"));
    }
}

static void test_read_at(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_file file;
    char bytes[16] = {0};
    put("data", "0123456789");
    assert_int_equal(vise_file_open("data", &file, &err), VISE_OK);
    assert_int_equal(file.bytes, 10);
    assert_int_equal(vise_file_read_at(&file, 3, bytes, 4, &err), VISE_OK);
    assert_string_equal(bytes, "3456");
    assert_int_equal(vise_file_read_at(&file, 10, bytes, 0, &err), VISE_OK);
    assert_int_equal(vise_file_read_at(&file, 8, bytes, 3, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "data: ends at byte 10"));
    err = (vise_error){0};
    assert_int_equal(vise_file_read_at(&file, UINT64_MAX - 1, bytes, 4, &err), VISE_EFORMAT);
    vise_file_will_need(&file, 0, 10);
    vise_file_dont_need(&file, 0, UINT64_MAX);
    vise_file_close(&file);
}

static void test_read_all(void **state)
{
    (void)state;
    vise_error err = {0};
    char *bytes = NULL;
    size_t length = 0;
    put("data", "0123456789");
    assert_int_equal(vise_file_read_all("data", 10, &bytes, &length, &err), VISE_OK);
    assert_int_equal(length, 10);
    assert_string_equal(bytes, "0123456789");
    vise_free(bytes);
    assert_int_equal(vise_file_read_all("data", 9, &bytes, &length, &err), VISE_EFORMAT);
    assert_non_null(strstr(err.message, "data"));
    put("empty", "");
    err = (vise_error){0};
    assert_int_equal(vise_file_read_all("empty", 0, &bytes, &length, &err), VISE_OK);
    assert_string_equal(bytes, "");
    vise_free(bytes);
}

static void test_write_at_and_reserve(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_file file;
    assert_int_equal(vise_file_create("out", &file, &err), VISE_OK);
    assert_int_equal(vise_file_reserve(&file, 20, &err), VISE_OK);
    assert_int_equal(vise_file_reserve(&file, 0, &err), VISE_OK);
    assert_int_equal(vise_file_write_at(&file, 5, "world", 5, &err), VISE_OK);
    assert_int_equal(vise_file_write_at(&file, 0, "hello", 5, &err), VISE_OK);
    assert_int_equal(vise_file_sync(&file, &err), VISE_OK);
    char back[11] = {0};
    assert_int_equal(vise_file_read_at(&file, 0, back, 10, &err), VISE_OK);
    assert_string_equal(back, "helloworld");
    vise_file_close(&file);

    assert_int_equal(vise_file_create("no/such/folder", &file, &err), VISE_EUSAGE);
    assert_non_null(strstr(err.message, "no/such/folder"));
}

/* /dev/full fails every write with ENOSPC. */
static void test_disk_full(void **state)
{
    (void)state;
    if (access("/dev/full", W_OK) != 0) {
        print_message("SKIP: there is no /dev/full\n");
        skip();
    }
    vise_error err = {0};
    vise_file file;
    assert_int_equal(vise_file_create("/dev/full", &file, &err), VISE_OK);
    assert_int_equal(vise_file_write_at(&file, 0, "hello", 5, &err), VISE_ERESOURCE);
    assert_string_equal(err.message, "/dev/full: the disk is full: 5 B (5 bytes) more were wanted");
    vise_file_close(&file);
}

static void test_write_atomic(void **state)
{
    (void)state;
    vise_error err = {0};
    put("a", "one");
    put("a", "two");
    assert_holds("a", "two");
    assert_int_equal(count_entries(), 1); /* nothing temporary is left */

    /* A failure leaves the old file and nothing else: the target is a folder. */
    assert_int_equal(mkdir("sub", 0777), 0);
    put("sub/x", "x");
    assert_int_equal(vise_file_write_atomic("sub", "y", 1, &err), VISE_EUSAGE);
    assert_int_equal(count_entries(), 1);
    err = (vise_error){0};
    assert_int_equal(vise_file_write_atomic("none/x", "y", 1, &err), VISE_EUSAGE);

    /* The permissions are those of any new file. */
    mode_t mask = umask(022);
    struct stat info;
    put("mode", "x");
    umask(mask);
    assert_int_equal(stat("mode", &info), 0);
    assert_int_equal(info.st_mode & 0777, 0644);

    /* An absolute path, and one through a folder. */
    char *path = NULL;
    assert_int_equal(vise_path_join(folder, "sub/z", &path, &err), VISE_OK);
    put(path, "zz");
    assert_holds("sub/z", "zz");
    vise_free(path);
}

static void test_copy(void **state)
{
    (void)state;
    vise_error err = {0};
    put("from", "contents");
    assert_int_equal(vise_file_copy("from", "to", &err), VISE_OK);
    assert_holds("to", "contents");
    assert_int_equal(vise_file_copy("from", "./from", &err), VISE_EUSAGE);
    assert_holds("from", "contents");
    err = (vise_error){0};
    assert_int_equal(vise_file_copy("missing", "to", &err), VISE_EFORMAT);
    assert_holds("to", "contents");

    /* Larger than one chunk. */
    size_t size = 3 * 1024 * 1024 + 17;
    char *big = NULL, *back = NULL;
    err = (vise_error){0};
    assert_int_equal(vise_alloc(size, (void **)&big, &err), VISE_OK);
    for (size_t i = 0; i < size; i++)
        big[i] = (char)(i * 31 + i / 1000);
    assert_int_equal(vise_file_write_atomic("big", big, size, &err), VISE_OK);
    assert_int_equal(vise_file_copy("big", "copy", &err), VISE_OK);
    size_t length;
    assert_int_equal(vise_file_read_all("copy", size, &back, &length, &err), VISE_OK);
    assert_int_equal(length, size);
    assert_memory_equal(big, back, size);
    vise_free(big);
    vise_free(back);
}

static void test_temporary(void **state)
{
    (void)state;
    vise_error err = {0};
    vise_file file;
    assert_int_equal(vise_file_temporary(".", &file, &err), VISE_OK);
    assert_int_equal(vise_file_write_at(&file, 100, "x", 1, &err), VISE_OK);
    char c = 0;
    assert_int_equal(vise_file_read_at(&file, 100, &c, 1, &err), VISE_OK);
    assert_int_equal(c, 'x');
    assert_int_equal(count_entries(), 0);
    vise_file_close(&file);
    assert_int_equal(vise_file_temporary(NULL, &file, &err), VISE_OK);
    vise_file_close(&file);
    assert_int_equal(vise_file_temporary("none", &file, &err), VISE_EUSAGE);
}

static void test_paths(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool plain;
    } names[] = {{"a", true},   {"model.safetensors", true}, {"..a", true}, {"", false},    {".", false},
                 {"..", false}, {"a/b", false},              {"/a", false}, {"../a", false}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        assert_int_equal(vise_name_is_plain(names[i].name), names[i].plain);

    static const char *const joins[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"", "b", "b"}, {"/", "b", "/b"}, {"../x", "y", "../x/y"}};
    for (size_t i = 0; i < sizeof joins / sizeof *joins; i++) {
        vise_error err = {0};
        char *joined = NULL;
        assert_int_equal(vise_path_join(joins[i][0], joins[i][1], &joined, &err), VISE_OK);
        assert_string_equal(joined, joins[i][2]);
        vise_free(joined);
    }
    assert_string_equal(vise_path_base("/a/b.txt"), "b.txt");
    assert_string_equal(vise_path_base("b.txt"), "b.txt");
    put("f", "x");
    assert_int_equal(symlink("f", "link"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_true(vise_path_same("f", "link"));
    assert_true(vise_path_same("f", "./f"));
    assert_false(vise_path_same("f", "."));
    assert_false(vise_path_same("f", "missing"));
    assert_true(vise_path_exists("f") && vise_path_exists("dangling") && !vise_path_exists("missing"));
    assert_true(vise_path_is_folder(".") && !vise_path_is_folder("f") && !vise_path_is_folder("missing"));
}

static void test_folders(void **state)
{
    (void)state;
    vise_error err = {0};
    assert_int_equal(vise_folder_make("a", &err), VISE_OK);
    assert_int_equal(vise_folder_make("a/b", &err), VISE_OK);
    assert_int_equal(vise_folder_make("a", &err), VISE_EUSAGE);
    err = (vise_error){0};
    assert_int_equal(vise_folder_make("x/y", &err), VISE_EUSAGE);
    assert_int_equal(vise_folder_sync("a", NULL), VISE_OK);
    assert_int_equal(vise_folder_sync("missing", NULL), VISE_EUSAGE);

    put("a/3", "x");
    put("a/10", "x");
    put("a/b/deep", "x");
    put("outside", "x");
    assert_int_equal(symlink("../outside", "a/link"), 0);
    assert_int_equal(symlink("..", "a/up"), 0);
    char **names = NULL;
    size_t count = 0;
    err = (vise_error){0};
    assert_int_equal(vise_folder_list("a", &names, &count, &err), VISE_OK);
    assert_int_equal(count, 3); /* files and links to files, no folders */
    assert_string_equal(names[0], "10");
    assert_string_equal(names[1], "3");
    assert_string_equal(names[2], "link");
    for (size_t i = 0; i < count; i++)
        vise_free(names[i]);
    vise_free(names);
    assert_int_equal(vise_folder_list("missing", &names, &count, &err), VISE_EFORMAT);

    /* Removing follows no links. */
    err = (vise_error){0};
    assert_int_equal(vise_folder_remove("a", &err), VISE_OK);
    assert_false(vise_path_exists("a"));
    assert_holds("outside", "x");
    assert_int_equal(vise_folder_remove("a", &err), VISE_OK); /* missing is fine */
}

static void test_publish(void **state)
{
    (void)state;
    vise_error err = {0};
    assert_int_equal(vise_folder_make("new", &err), VISE_OK);
    put("new/model", "new");
    assert_int_equal(vise_path_publish("new", "out", false, &err), VISE_OK);
    assert_holds("out/model", "new");
    assert_false(vise_path_exists("new"));

    assert_int_equal(vise_folder_make("newer", &err), VISE_OK);
    put("newer/model", "newer");
    assert_int_equal(vise_path_publish("newer", "out", false, &err), VISE_EUSAGE);
    assert_non_null(strstr(err.message, "--force"));
    assert_holds("out/model", "new");
    assert_holds("newer/model", "newer");

    err = (vise_error){0};
    assert_int_equal(vise_path_publish("newer", "out", true, &err), VISE_OK);
    assert_holds("out/model", "newer");
    assert_false(vise_path_exists("newer"));

    /* With replace and nothing there; a slash at the end; a file in a folder's place. */
    assert_int_equal(vise_path_publish("out", "out2", true, &err), VISE_OK);
    assert_int_equal(vise_path_publish("out2", "out3/", false, &err), VISE_OK);
    put("file", "file");
    assert_int_equal(vise_path_publish("file", "out3", true, &err), VISE_OK);
    assert_holds("out3", "file");
    assert_int_equal(count_entries(), 1);

    assert_int_equal(vise_path_publish("missing", "out4", false, &err), VISE_EUSAGE);
    err = (vise_error){0};
    assert_int_equal(vise_path_publish("missing", "out3", true, &err), VISE_EUSAGE);
    assert_holds("out3", "file");
}

static void test_disk_free(void **state)
{
    (void)state;
    vise_error err = {0};
    struct statvfs info;
    uint64_t here = 0, below = 0;
    assert_int_equal(vise_disk_free(".", &here, &err), VISE_OK);
    assert_int_equal(vise_disk_free("not/there/yet", &below, &err), VISE_OK);
    assert_int_equal(statvfs(".", &info), 0);
    assert_true(here > 0 && here <= (uint64_t)info.f_blocks * info.f_frsize);
    assert_true(below > 0 && below <= (uint64_t)info.f_blocks * info.f_frsize);
    assert_int_equal(vise_disk_free("/not/there", &below, &err), VISE_OK);
}

/* Every allocation fails once: no crash, no leak (seen by the sanitizers), and a status that says so. */
static void test_injected_failures(void **state)
{
    (void)state;
    put("data", "0123456789");
    for (uint64_t n = 1; n < 20; n++) {
        char *bytes = NULL;
        char **names = NULL;
        size_t length = 0, count = 0;
        vise_alloc_fail_after(n);
        vise_status statuses[] = {
            vise_file_read_all("data", 100, &bytes, &length, NULL), vise_file_write_atomic("out", "x", 1, NULL),
            vise_file_copy("data", "copy", NULL), vise_folder_list(".", &names, &count, NULL),
            vise_path_publish("copy", "copy2", true, NULL),
        };
        vise_alloc_fail_after(0);
        size_t failures = 0;
        for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
            assert_true(statuses[i] == VISE_OK || statuses[i] == VISE_ERESOURCE || statuses[i] == VISE_EUSAGE);
            failures += statuses[i] == VISE_ERESOURCE;
        }
        assert_true(failures <= 1 && (n > 10 || failures == 1));
        vise_free(bytes);
        for (size_t i = 0; i < count; i++)
            vise_free(names[i]);
        vise_free(names);
    }
}

int main(void)
{
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(test_open_failures), IN_FOLDER(test_read_at),   IN_FOLDER(test_read_all),
        IN_FOLDER(test_write_at_and_reserve), IN_FOLDER(test_disk_full), IN_FOLDER(test_write_atomic),
        IN_FOLDER(test_copy),          IN_FOLDER(test_temporary), IN_FOLDER(test_paths),
        IN_FOLDER(test_folders),       IN_FOLDER(test_publish),   IN_FOLDER(test_disk_free),
        IN_FOLDER(test_injected_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
