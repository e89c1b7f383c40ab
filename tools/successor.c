// tools/successor.c - see successor.h.
#include "successor.h"

#include <dirent.h>
#include <fcntl.h>
#include <libgen.h>
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
