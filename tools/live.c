// tools/live.c - see live.h. A recording is a shared mapping of a file that begins as a recording does. Where its name
// is gone (a memfd, a deleted file, another mount namespace), the kernel's own links lead to it.
#include "live.h"

#include "../preload/recording.h"
#include "memory.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// In a namespace of its own a process knows itself by another number, so that is not compared.
static bool is_recording(const char *path)
{
    uint64_t magic;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return false;
    bool is = pread(file, &magic, sizeof magic, 0) == (ssize_t)sizeof magic && magic == RECORDING_MAGIC;
    close(file);
    return is;
}

// The line of /proc/PID/maps is "start-end rw-s offset device inode   path".
static char *path_of(const char *line, pid_t pid)
{
    unsigned long start, end, inode;
    char rights[5];
    int path_at = 0;
    if (sscanf(line, "%lx-%lx %4s %*x %*s %lu %n", &start, &end, rights, &inode, &path_at) < 4 || path_at == 0 ||
        rights[3] != 's' || inode == 0)
        return NULL;
    char *candidates[] = {
        memory_format("%.*s", (int)strcspn(line + path_at, "\n"), line + path_at),
        memory_format("/proc/%d/root%.*s", pid, (int)strcspn(line + path_at, "\n"), line + path_at),
        memory_format("/proc/%d/map_files/%lx-%lx", pid, start, end),
    };
    char *found = NULL;
    for (size_t i = 0; i < sizeof candidates / sizeof candidates[0]; i++) {
        if (found == NULL && *candidates[i] == '/' && is_recording(candidates[i]))
            found = candidates[i];
        else
            free(candidates[i]);
    }
    return found;
}

static void explain(const char *who, pid_t pid, int error)
{
    if (error == ENOENT || error == ESRCH)
        tool_error(who, "no process %d", pid);
    else if (error != 0)
        tool_error(who, "cannot look into process %d: %s", pid, strerror(error));
    else
        tool_error(who, "process %d has no recording: start its program with `tarn run', or with record=PATH in "
                   "TARN_OPTIONS", pid);
}

char *live_find(const char *who, pid_t pid)
{
    char maps[40], *line = NULL, *found = NULL;
    size_t room = 0;
    snprintf(maps, sizeof maps, "/proc/%d/maps", pid);
    FILE *file = fopen(maps, "re");
    int error = file == NULL ? errno : 0;
    errno = 0;
    while (file != NULL && found == NULL && getline(&line, &room, file) > 0)
        found = path_of(line, pid);
    if (file != NULL && found == NULL && ferror(file))
        error = EACCES; // the kernel lets the file be opened, and refuses to show it
    if (file != NULL)
        fclose(file);
    free(line);
    if (found == NULL)
        explain(who, pid, error);
    return found;
}

// Fields 20 and 24 of /proc/PID/stat, of which the second may hold any byte but ends with the last parenthesis.
live_t live_look(pid_t pid)
{
    char path[40], line[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return (live_t){0};
    line[fread(line, 1, sizeof line - 1, file)] = '\0';
    fclose(file);
    unsigned long threads = 0, resident_pages = 0;
    const char *rest = strrchr(line, ')');
    if (rest == NULL || sscanf(rest + 1, " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %lu "
                                         "%*s %*s %*s %lu", &threads, &resident_pages) != 2)
        return (live_t){0};
    return (live_t){resident_pages * (uint64_t)sysconf(_SC_PAGESIZE), threads};
}
