#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/cpu.h"

static void test_names(void **state)
{
    (void)state;
    assert_string_equal(vise_cpu_level_name(VISE_CPU_REF), "ref");
    assert_string_equal(vise_cpu_level_name(VISE_CPU_AVX2), "avx2");
    assert_string_equal(vise_cpu_level_name(VISE_CPU_AVX512), "avx512");
    assert_string_equal(vise_cpu_level_name(VISE_CPU_LEVELS), "unknown");
    assert_true(strlen(vise_cpu_model()) > 0);
    assert_null(strchr(vise_cpu_model(), '\n'));
}

/* The compiler's own detection is a second opinion. */
static void test_level_agrees_with_compiler(void **state)
{
    (void)state;
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
    bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    vise_cpu_level level = avx2 && avx512 ? VISE_CPU_AVX512 : avx2 ? VISE_CPU_AVX2 : VISE_CPU_REF;
    assert_int_equal(vise_cpu_highest(), level);
#else
    assert_int_equal(vise_cpu_highest(), VISE_CPU_REF);
#endif
}

static void test_force(void **state)
{
    (void)state;
    vise_cpu_level before = vise_cpu();
    for (int level = VISE_CPU_REF; level <= (int)vise_cpu_highest(); level++) {
        vise_cpu_force((vise_cpu_level)level);
        assert_int_equal(vise_cpu(), level);
    }
    vise_cpu_force(before);
}

/* Detection happens once a process, so every value of VISE_CPU needs a process of its own. The child answers
 * 10 * status of vise_cpu_check + level. */
static int ask_child(const char *value)
{
    pid_t child = fork();
    if (child == 0) {
        setenv("VISE_CPU", value, 1);
        execl("/proc/self/exe", "test_cpu", "--answer", (char *)NULL);
        _exit(99);
    }
    int status = 0;
    assert_true(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_environment(void **state)
{
    (void)state;
    int highest = (int)vise_cpu_highest();
    assert_int_equal(ask_child("ref"), 10 * VISE_OK + VISE_CPU_REF);
    assert_int_equal(ask_child(""), 10 * VISE_OK + highest);
    assert_int_equal(ask_child("AVX2"), 10 * VISE_EUSAGE + highest);
    assert_int_equal(ask_child("sse"), 10 * VISE_EUSAGE + highest);
    assert_int_equal(ask_child("avx2"), highest >= VISE_CPU_AVX2 ? VISE_CPU_AVX2 : 10 * VISE_EUNSUPPORTED + highest);
    assert_int_equal(ask_child("avx512"),
                     highest >= VISE_CPU_AVX512 ? VISE_CPU_AVX512 : 10 * VISE_EUNSUPPORTED + highest);
}

static void test_cores(void **state)
{
    (void)state;
    int cores = vise_cpu_usable_cores();
    assert_true(cores >= 1 && cores <= sysconf(_SC_NPROCESSORS_CONF));
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--answer") == 0)
        return 10 * (int)vise_cpu_check(NULL) + (int)vise_cpu();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_level_agrees_with_compiler),
        cmocka_unit_test(test_force), cmocka_unit_test(test_environment),
        cmocka_unit_test(test_cores),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
