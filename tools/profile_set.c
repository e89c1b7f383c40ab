// tools/profile_set.c - see profile_set.h.
#include "profile_set.h"

#include "memory.h"
#include "profile_build.h"
#include "tool.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static uint64_t size_of(const profile_t *profile)
{
    return profile_snapshot(profile, MOMENT_LAST)->balance.peak_rss_bytes;
}

// The heap maps are most of a profile, and shown of the biggest alone: a directory can have thousands of them.
static void maps_forget(profile_t *profile)
{
    for (uint32_t i = 0; i < profile->snapshot_count; i++) {
        free(profile->snapshots[i].pages);
        profile->snapshots[i].pages = NULL;
        profile->snapshots[i].page_count = 0;
    }
}

// The biggest so far stands first.
static void set_add(profile_set_t *set, profile_t *profile)
{
    set->profiles = memory_push(set->profiles, set->count, sizeof profile);
    set->profiles[set->count++] = profile;
    if (set->count == 1)
        return;
    if (size_of(profile) > size_of(set->profiles[0])) {
        set->profiles[set->count - 1] = set->profiles[0];
        set->profiles[0] = profile;
    }
    maps_forget(set->profiles[set->count - 1]);
}

static int read_file(const char *who, const char *path, profile_set_t *set, bool pass_over_foreign)
{
    bool foreign;
    char *fault_text;
    profile_t *profile = profile_read(path, &foreign, &fault_text);
    if (profile != NULL) {
        set_add(set, profile);
        return 0;
    }
    if (!foreign || !pass_over_foreign)
        tool_error(who, "%s", fault_text);
    free(fault_text);
    return TOOL_BAD_INPUT;
}

static int read_directory(const char *who, const char *path, profile_set_t *set)
{
    struct dirent **entries;
    int count = scandir(path, &entries, NULL, alphasort);
    if (count < 0) {
        tool_error(who, "cannot read %s: %s", path, strerror(errno));
        return TOOL_BAD_INPUT;
    }
    set->is_directory = true;
    for (int i = 0; i < count; i++) {
        struct stat status;
        char *file = memory_format("%s/%s", path, entries[i]->d_name);
        if (stat(file, &status) == 0 && S_ISREG(status.st_mode))
            read_file(who, file, set, true);
        free(file);
        free(entries[i]);
    }
    free(entries);
    if (set->count != 0)
        return 0;
    tool_error(who, "no recording that can be read in %s", path);
    return TOOL_BAD_INPUT;
}

static int profiles_compare(const void *left, const void *right)
{
    const profile_t *const *first = left, *const *second = right;
    uint64_t one = size_of(*first), other = size_of(*second);
    return one != other ? (one < other) - (one > other) : strcmp((*first)->recording, (*second)->recording);
}

int profile_set_read(const char *who, const char *path, profile_set_t *set)
{
    struct stat status;
    *set = (profile_set_t){0};
    bool is_directory = stat(path, &status) == 0 && S_ISDIR(status.st_mode);
    int failed = is_directory ? read_directory(who, path, set) : read_file(who, path, set, false);
    if (failed == 0)
        qsort(set->profiles, set->count, sizeof *set->profiles, profiles_compare);
    return failed;
}
