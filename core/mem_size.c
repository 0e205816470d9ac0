/* Sizes: what the kernel says of this process and machine, and sizes as people write them. */
#include "core/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/sysfs.h"

/* The number behind "key:" in /proc/self/status, which counts kB of 1024 bytes. */
static size_t status_bytes(const char *key)
{
    char text[8192];
    if (!vise_sysfs_read("/proc/self/status", text, sizeof text))
        return 0;
    const char *line = strstr(text, key);
    return line ? (size_t)strtoull(line + strlen(key), NULL, 10) * 1024 : 0;
}

size_t vise_resident_bytes(void)
{
    return status_bytes("VmRSS:");
}

size_t vise_resident_peak_bytes(void)
{
    return status_bytes("VmHWM:");
}

size_t vise_physical_memory_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    long page = sysconf(_SC_PAGESIZE);
    if (pages <= 0 || page <= 0)
        return 0;
    size_t bytes = (size_t)pages * (size_t)page;

    /* A container's share is what its processes can have. */
    char text[64];
    if (vise_sysfs_read("/sys/fs/cgroup/memory.max", text, sizeof text) ||
        vise_sysfs_read("/sys/fs/cgroup/memory/memory.limit_in_bytes", text, sizeof text)) {
        char *end;
        unsigned long long share = strtoull(text, &end, 10);
        if (end != text && share > 0 && share < bytes)
            bytes = (size_t)share;
    }
    return bytes;
}

static const struct unit {
    const char *name;
    uint64_t bytes;
} units[] = {
    {"", 1},
    {"B", 1},
    {"kB", 1000},
    {"KB", 1000},
    {"MB", 1000000},
    {"GB", 1000000000},
    {"TB", 1000000000000},
    {"KiB", UINT64_C(1) << 10},
    {"MiB", UINT64_C(1) << 20},
    {"GiB", UINT64_C(1) << 30},
    {"TiB", UINT64_C(1) << 40},
};

/* Decimal digits without the detour over a double, which would round large sizes. False on overflow. */
static bool scale_decimal(const char *whole, size_t n_whole, const char *fraction, size_t n_fraction, uint64_t unit,
                          uint64_t *out)
{
    uint64_t value = 0;
    for (size_t i = 0; i < n_whole; i++)
        if (__builtin_mul_overflow(value, 10u, &value) ||
            __builtin_add_overflow(value, (uint64_t)(whole[i] - '0'), &value))
            return false;
    if (__builtin_mul_overflow(value, unit, &value))
        return false;
    /* Each digit is worth a tenth of the one before; what is left of a byte is dropped. */
    uint64_t place = unit;
    uint64_t rest = 0;
    uint64_t weight = 1;
    for (size_t i = 0; i < n_fraction && weight < 1000000; i++) {
        weight *= 10;
        rest = rest * 10 + (uint64_t)(fraction[i] - '0');
    }
    /* rest < 10^6 and place <= 2^40: the product fits. */
    return !__builtin_add_overflow(value, place * rest / weight, out);
}

vise_status vise_parse_size(const char *text, uint64_t *bytes, vise_error *err)
{
    size_t n_whole = strspn(text, "0123456789");
    const char *at = text + n_whole;
    const char *fraction = at;
    size_t n_fraction = 0;
    bool point = *at == '.';
    if (point) {
        fraction = at + 1;
        n_fraction = strspn(fraction, "0123456789");
        at = fraction + n_fraction;
    }
    bool digits = n_whole > 0 && (!point || n_fraction > 0);
    if (*at == ' ' && at[1])
        at++;
    for (size_t i = 0; digits && i < sizeof units / sizeof *units; i++) {
        if (strcmp(at, units[i].name) != 0)
            continue;
        if (point && units[i].bytes == 1)
            break; /* there are no parts of a byte */
        if (!scale_decimal(text, n_whole, fraction, n_fraction, units[i].bytes, bytes))
            return VISE_FAIL(err, VISE_EUSAGE, "size \"%.60s\" is too large", text);
        return VISE_OK;
    }
    return VISE_FAIL(err, VISE_EUSAGE, "\"%.60s\" is not a size; write 4096, 300MB (10^6) or 1.5GiB (2^30)", text);
}

char *vise_format_size(uint64_t bytes, char buffer[VISE_SIZE_TEXT_MAX])
{
    static const char *const names[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    if (bytes < 1000) {
        snprintf(buffer, VISE_SIZE_TEXT_MAX, "%d B", (int)bytes);
        return buffer;
    }
    /* Three digits; 999.5 and more of one unit is 1.00 of the next. */
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof names / sizeof *names) {
        value /= 1000.0;
        unit++;
    }
    int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    snprintf(buffer, VISE_SIZE_TEXT_MAX, "%.*f %s", decimals, value, names[unit]);
    return buffer;
}
