#include "core/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/cpu_features.h"
#include "core/sysfs.h"

static const char *const level_names[VISE_CPU_LEVELS] = {"ref", "avx2", "avx512"};

static pthread_once_t detected = PTHREAD_ONCE_INIT;
static vise_cpu_level highest;
static char model[64];
static _Atomic int chosen; /* a vise_cpu_level */

/* Cuts out the value of the first "model name" line of /proc/cpuinfo. */
static void read_model(void)
{
    char text[4096];
    const char *value = NULL;
    if (vise_sysfs_read("/proc/cpuinfo", text, sizeof text) && (value = strstr(text, "model name")))
        value = strchr(value, ':');
    if (!value) {
        snprintf(model, sizeof model, "unknown");
        return;
    }
    value += 1 + strspn(value + 1, " \t");
    snprintf(model, sizeof model, "%.*s", (int)strcspn(value, "\n"), value);
}

/* The level that VISE_CPU names; VISE_CPU_LEVELS: none of them; the highest when unset or empty. */
static vise_cpu_level wanted(void)
{
    const char *text = getenv("VISE_CPU");
    if (!text || !*text)
        return highest;
    int level = 0;
    while (level < VISE_CPU_LEVELS && strcmp(text, level_names[level]) != 0)
        level++;
    return (vise_cpu_level)level;
}

static void detect(void)
{
    highest = vise_cpu_features().level;
    read_model();
    vise_cpu_level level = wanted();
    atomic_store(&chosen, (int)(level <= highest ? level : highest));
}

vise_cpu_level vise_cpu(void)
{
    pthread_once(&detected, detect);
    return (vise_cpu_level)atomic_load_explicit(&chosen, memory_order_relaxed);
}

vise_cpu_level vise_cpu_highest(void)
{
    pthread_once(&detected, detect);
    return highest;
}

void vise_cpu_force(vise_cpu_level level)
{
    pthread_once(&detected, detect);
    atomic_store(&chosen, (int)level);
}

vise_status vise_cpu_check(vise_error *err)
{
    pthread_once(&detected, detect);
    vise_cpu_level level = wanted();
    if (level == VISE_CPU_LEVELS)
        return VISE_FAIL(err, VISE_EUSAGE, "VISE_CPU is \"%.40s\"; it can be ref, avx2 or avx512", getenv("VISE_CPU"));
    if (level > highest)
        return VISE_FAIL(err, VISE_EUNSUPPORTED, "VISE_CPU asks for %s, but this machine has %s at most",
                         level_names[level], level_names[highest]);
    return VISE_OK;
}

const char *vise_cpu_level_name(vise_cpu_level level)
{
    return (unsigned)level < VISE_CPU_LEVELS ? level_names[level] : "unknown";
}

const char *vise_cpu_model(void)
{
    pthread_once(&detected, detect);
    return model;
}

/* Cores granted by a quota file "QUOTA PERIOD" (cgroup 2), rounded up; 0: no quota. */
static int quota_cores(const char *path)
{
    char text[64];
    if (!vise_sysfs_read(path, text, sizeof text))
        return 0;
    char *end;
    long long quota = strtoll(text, &end, 10); /* "max" gives 0 */
    long long period = strtoll(end, NULL, 10);
    if (quota <= 0 || period <= 0 || quota / period >= INT32_MAX)
        return 0;
    return (int)((quota + period - 1) / period);
}

static int quota_cores_v1(void)
{
    char quota[32], period[32];
    if (!vise_sysfs_read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", quota, sizeof quota) ||
        !vise_sysfs_read("/sys/fs/cgroup/cpu/cpu.cfs_period_us", period, sizeof period))
        return 0;
    long long q = strtoll(quota, NULL, 10); /* -1: none */
    long long p = strtoll(period, NULL, 10);
    return q > 0 && p > 0 && q / p < INT32_MAX ? (int)((q + p - 1) / p) : 0;
}

/* The quota of this process's own control group, as /proc/self/cgroup names it ("0::/path"). */
static int quota_cores_own(void)
{
    char text[4096], path[4200];
    if (!vise_sysfs_read("/proc/self/cgroup", text, sizeof text))
        return 0;
    const char *own = strstr(text, "0::");
    if (!own)
        return 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup%.*s/cpu.max", (int)strcspn(own + 3, "\n"), own + 3);
    return quota_cores(path);
}

int vise_cpu_usable_cores(void)
{
    int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        cores = CPU_COUNT(&set);
    int quotas[] = {quota_cores("/sys/fs/cgroup/cpu.max"), quota_cores_own(), quota_cores_v1()};
    for (size_t i = 0; i < sizeof quotas / sizeof *quotas; i++)
        if (quotas[i] > 0 && quotas[i] < cores)
            cores = quotas[i];
    return cores > 0 ? cores : 1;
}
