// preload/process.c - see process.h.
#include "process.h"

#include <errno.h>

#include "kernel.h"
#include "procfs.h"
#include "text.h"

process_t process;

static enum { UNKNOWN, TOPMOST, BELOW } place;

// By the library's code (a debugger maps the file to read it), or where the file was renamed, by the names of the pool's
// memory.
static bool is_ours(const procfs_mapping_t *mapping)
{
    const char *file = mapping->name;
    for (const char *letter = mapping->name; *letter != '\0'; letter++)
        if (*letter == '/')
            file = letter;
    return (mapping->executable && text_begins(file, "/libtarn.so")) || text_begins(mapping->name, "[anon:tarn");
}

// A start can spend some 5 ms on this. A parent with more mappings counts as one without the library.
#define MAPPINGS_READ 8192

typedef struct look {
    bool found;
    unsigned mappings;
    uint64_t inode, device; // of the library's file; 0: not known
} look_t;

static RARE bool look_for_ours(const procfs_mapping_t *mapping, void *context)
{
    look_t *look = context;
    bool same_file = mapping->inode != 0 && mapping->inode == look->inode && mapping->device == look->device;
    look->found = same_file || is_ours(mapping);
    return !look->found && ++look->mappings < MAPPINGS_READ;
}

static RARE bool look_at_own(const procfs_mapping_t *mapping, void *context)
{
    look_t *look = context;
    look->inode = mapping->inode;
    look->device = mapping->device;
    return false;
}

// A kernel that is asked for code alone does not show the pool's memory: there a renamed file is told by its inode.
static bool parent_is_under_tarn(void)
{
    look_t look = {0};
    pid_t parent = kernel_getppid();
    if (parent == 0) // it lives in another pid namespace
        return false;
    if (!procfs_code(0, (uintptr_t)look_at_own, look_at_own, &look) || !procfs_code(parent, 0, look_for_ours, &look))
        procfs_mappings(parent, look_for_ours, &look);
    return look.found;
}

bool process_is_topmost(void)
{
    if (place == UNKNOWN)
        place = parent_is_under_tarn() ? BELOW : TOPMOST;
    return place == TOPMOST;
}

// A copy, for servers write what they are doing over their arguments; and fit for a terminal.
static void name_start(const char *name)
{
    for (size_t i = 0; name[i] != '\0' && i < sizeof process.name - 1; i++)
        process.name[i] = (unsigned char)name[i] < ' ' || name[i] == 0x7f ? '?' : name[i];
}

void process_start(void)
{
    process.pid = kernel_getpid();
    name_start(program_invocation_short_name);
}

void process_forked(void)
{
    process.pid = kernel_getpid();
    place = BELOW;
}

bool process_is_this(void)
{
    return process.pid == kernel_getpid();
}
