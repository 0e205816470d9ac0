/* The first line of a result that may be quoted: machine, date and commit. */
#ifndef VISE_BENCH_MACHINE_H
#define VISE_BENCH_MACHINE_H

#include <stdio.h>
#include <time.h>

#include "core/cpu.h"
#include "core/version.h"

static inline void print_machine(const char *note)
{
    char date[32] = "";
    time_t now = time(NULL);
    struct tm utc;
    if (gmtime_r(&now, &utc))
        strftime(date, sizeof date, "%Y-%m-%d", &utc);
    printf("%s, %d cores, %s; %s; vise %s, %s\n", vise_cpu_model(), vise_cpu_usable_cores(),
           vise_cpu_level_name(vise_cpu()), note, vise_commit(), date);
}

#endif
