// tools/successor.c - see successor.h.
#include "successor.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool successor_is(const recording_header_t *earlier, const recording_header_t *later)
{
    return later->magic == RECORDING_MAGIC && later->major == RECORDING_MAJOR && later->pid == earlier->pid &&
           later->start_ticks == earlier->start_ticks && earlier->start_ticks != 0 && !later->forked &&
           later->start_realtime_ns > earlier->start_realtime_ns;
}

static bool header_read(DIR *directory, const char *name, recording_header_t *header)
{
    int file = openat(dirfd(directory), name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (file < 0)
        return false;
    bool whole = pread(file, header, sizeof *header, 0) == (ssize_t)sizeof *header;
    close(file);
    return whole;
}

// --- without a recording ---------------------------------------------------------------------------------------------

// A line of /proc/PID/maps ends with the path. The process may know the file by another folder's name, so the names
// alone are compared.
static bool line_is_of(const char *line, const char *name)
{
    const char *slash = strrchr(line, '/');
    size_t length = slash != NULL ? strcspn(slash + 1, "\n") : 0;
    return length != 0 && length == strlen(name) && memcmp(slash + 1, name, length) == 0;
}

// Whether the process has no file of that name mapped; false where it cannot be seen what it has.
static bool is_without(pid_t pid, const char *name)
{
    char maps[32], *line = NULL;
    size_t room = 0;
    bool seen = false, found = false;
    snprintf(maps, sizeof maps, "/proc/%d/maps", (int)pid);
    FILE *file = fopen(maps, "re");
    if (file == NULL)
        return false;
    while (!found && getline(&line, &room, file) > 0) {
        seen = true;
        found = line_is_of(line, name);
    }
    free(line);
    fclose(file);
    return seen && !found;
}

char *successor_unrecorded(const char *path, pid_t pid)
{
    char link[32], executable[4096];
    const char *slash = strrchr(path, '/');
    if (!is_without(pid, slash != NULL ? slash + 1 : path))
        return NULL;
    snprintf(link, sizeof link, "/proc/%d/exe", (int)pid);
    ssize_t length = readlink(link, executable, sizeof executable - 1);
    if (length <= 0)
        return NULL;
    executable[length] = '\0';
    return strdup(strrchr(executable, '/') != NULL ? strrchr(executable, '/') + 1 : executable);
}

// --- with one --------------------------------------------------------------------------------------------------------

// A process may exec more than once: the next one is looked for.
static char *next_in(DIR *directory, const recording_header_t *header)
{
    recording_header_t next = {.start_realtime_ns = UINT64_MAX}, one;
    for (const struct dirent *entry; (entry = readdir(directory)) != NULL;)
        if ((entry->d_type == DT_REG || entry->d_type == DT_UNKNOWN) && header_read(directory, entry->d_name, &one) &&
            successor_is(header, &one) && one.start_realtime_ns < next.start_realtime_ns)
            next = one;
    return next.magic != 0 ? strndup(next.program, sizeof next.program) : NULL;
}

char *successor_program(const char *path, const recording_header_t *header)
{
    char *copy = strdup(path);
    DIR *directory = copy != NULL ? opendir(dirname(copy)) : NULL;
    char *program = directory != NULL ? next_in(directory, header) : NULL;
    if (directory != NULL)
        closedir(directory);
    free(copy);
    return program;
}
