// tools/provenance.c - the machine and its settings, as /proc and /sys tell them.
#include "provenance.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

static const char unknown[] = "unknown";

static char *fact_add(provenance_t *provenance, const char *name)
{
    fact_t *fact = &provenance->facts[provenance->count++];
    fact->name = name;
    snprintf(fact->value, sizeof fact->value, "%s", unknown);
    return fact->value;
}

// What follows `key` in a file's first such line, without quotes; an empty key means the whole first line.
static void line_read(const char *path, const char *key, char *value)
{
    char line[1024];
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return;
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, key, strlen(key)) != 0)
            continue;
        const char *text = line + strlen(key);
        text += strspn(text, " \t:=\"");
        snprintf(value, PROVENANCE_FACT_BYTES, "%.*s", (int)strcspn(text, "\"\n"), text);
        break;
    }
    fclose(file);
}

// "always [madvise] never" -> "madvise"
static void chosen_read(const char *path, char *value)
{
    char line[PROVENANCE_FACT_BYTES];
    snprintf(line, sizeof line, "%s", unknown);
    line_read(path, "", line);
    const char *open = strchr(line, '['), *close = strchr(line, ']');
    if (open != NULL && close != NULL && close > open)
        snprintf(value, PROVENANCE_FACT_BYTES, "%.*s", (int)(close - open - 1), open + 1);
    else
        snprintf(value, PROVENANCE_FACT_BYTES, "%s", line);
}

static void processor_read(char *value)
{
    line_read("/proc/cpuinfo", "model name", value);
    if (strcmp(value, unknown) == 0) // as on ARM
        line_read("/proc/device-tree/model", "", value);
}

static void cpus_count(char *value)
{
    cpu_set_t ours;
    int usable = sched_getaffinity(0, sizeof ours, &ours) == 0 ? CPU_COUNT(&ours) : -1;
    long all = sysconf(_SC_NPROCESSORS_ONLN);
    if (usable >= 0 && usable != all)
        snprintf(value, PROVENANCE_FACT_BYTES, "%d of %ld", usable, all);
    else
        snprintf(value, PROVENANCE_FACT_BYTES, "%ld", all);
}

static void system_read(provenance_t *provenance)
{
    struct utsname system;
    line_read("/etc/os-release", "PRETTY_NAME", fact_add(provenance, "system"));
    char *kernel = fact_add(provenance, "kernel");
    if (uname(&system) == 0)
        snprintf(kernel, PROVENANCE_FACT_BYTES, "%.64s %.64s", system.release, system.machine);
}

void provenance_take(provenance_t *provenance)
{
    time_t now = time(NULL);
    struct tm calendar;
    double load = 0;
    provenance->count = 0;
    strftime(fact_add(provenance, "date"), PROVENANCE_FACT_BYTES, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &calendar));
    system_read(provenance);
    processor_read(fact_add(provenance, "processor"));
    cpus_count(fact_add(provenance, "cpus"));
    snprintf(fact_add(provenance, "memory"), PROVENANCE_FACT_BYTES, "%.1f GiB",
             (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / (1 << 30));
    chosen_read("/sys/kernel/mm/transparent_hugepage/enabled", fact_add(provenance, "transparent_huge_pages"));
    line_read("/proc/sys/vm/overcommit_memory", "", fact_add(provenance, "overcommit_memory"));
    line_read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "", fact_add(provenance, "frequency_governor"));
    if (getloadavg(&load, 1) == 1)
        snprintf(fact_add(provenance, "load_average"), PROVENANCE_FACT_BYTES, "%.2f", load);
}
