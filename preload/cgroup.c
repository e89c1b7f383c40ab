// preload/cgroup.c - see cgroup.h.
#include "cgroup.h"

#include "kernel.h"
#include "text.h"
#include "writer.h"

// Version 1 writes the highest number that is a multiple of an OS page where there is no limit; no machine has so much.
static const uint64_t unlimited_bytes = (uint64_t)1 << 60;

// Of a longer path the folders above count alone. With room for PATH_MAX it would need an OS page of its own.
#define GROUP_PATH_BYTES 1000

// A group's folder, and its version.
typedef struct group {
    bool first;
    char path[GROUP_PATH_BYTES];
} group_t;

// Cuts the last folder off. False: it is the mount's own.
static RARE bool group_leave(group_t *group)
{
    static const char mount[] = "/sys/fs/cgroup";
    size_t length = 0, cut = 0;
    for (; group->path[length] != '\0'; length++)
        cut = group->path[length] == '/' ? length : cut;
    if (cut < sizeof mount - 1)
        return false;
    group->path[cut] = '\0';
    return true;
}

// What a container sees of its group's path may not be there in its /sys: then the folders above are what there is.
// 4:memory:/path or 5:cpu,memory:/path (version 1), 0::/path (version 2). Where both are mounted, version 1 has the
// memory if it is in the list.
static RARE bool line_read(const char *line, void *context)
{
    group_t *group = context;
    const char *controllers = text_find(line, ':');
    const char *path = *controllers == '\0' ? controllers : text_find(++controllers, ':');
    if (*path == '\0')
        return true;
    bool second = path == controllers, first = false;
    for (const char *word = controllers; word < path; word = text_find(word, ',') < path ? text_find(word, ',') + 1 : path)
        first |= text_begins(word, "memory") && (word[6] == ',' || word[6] == ':');
    if (!first && (!second || group->path[0] != '\0'))
        return true;
    writer_t writer = WRITER(group->path);
    writer_text(&writer, first ? "/sys/fs/cgroup/memory" : "/sys/fs/cgroup");
    writer_text(&writer, path + 1);
    group->first = first;
    if (writer.truncated && !group_leave(group))
        group->path[0] = '\0';
    return !first && !writer.truncated;
}

// 0: there is no such file, or no number in it ("max").
static RARE uint64_t file_number(const char *folder, const char *name)
{
    char path[GROUP_PATH_BYTES + sizeof "/memory.limit_in_bytes"], text[32] = "";
    writer_t writer = WRITER(path);
    writer_format(&writer, "%s/%s", folder, name);
    int file = kernel_open(path, O_RDONLY, 0);
    if (file < 0)
        return 0;
    kernel_read(file, text, sizeof text - 1);
    kernel_close(file);
    uint64_t value = 0;
    for (const char *digit = text; *digit >= '0' && *digit <= '9'; digit++)
        value = value * 10 + (uint64_t)(*digit - '0');
    return value < unlimited_bytes ? value : 0;
}

uint64_t cgroup_limit_bytes(procfs_buffer_t *buffer)
{
    static REPORT_DATA("group") group_t group; // one report at a time
    uint64_t least = 0;
    group.path[0] = '\0';
    if (!procfs_lines("/proc/self/cgroup", buffer, line_read, &group) || group.path[0] == '\0')
        return 0;
    do {
        uint64_t limit = file_number(group.path, group.first ? "memory.limit_in_bytes" : "memory.max");
        least = limit != 0 && (least == 0 || limit < least) ? limit : least;
    } while (group_leave(&group));
    return least;
}
