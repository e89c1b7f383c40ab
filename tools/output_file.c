// tools/output_file.c - see output_file.h. A name that is no regular file (/dev/stdout, a FIFO) is written to directly:
// it has no place that could be taken over.
#include "output_file.h"

#include "../preload/recording.h"
#include "memory.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int file_write(int file, const void *bytes, size_t length)
{
    const char *next = bytes;
    while (length != 0) {
        ssize_t written = write(file, next, length);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        next += written;
        length -= (size_t)written;
    }
    return 0;
}

// close tells of a full disk on some file systems.
static int file_fill(int file, const void *bytes, size_t length)
{
    int failed = file_write(file, bytes, length);
    int error = errno;
    if (close(file) != 0 && !failed) {
        failed = -1;
        error = errno;
    }
    errno = error;
    return failed;
}

static int output_failed(const char *who, const char *path)
{
    tool_error(who, "cannot write %s: %s", path, strerror(errno));
    return TOOL_BAD_INPUT;
}

static mode_t mode_usual(void)
{
    mode_t mask = umask(0);
    umask(mask);
    return 0666 & ~mask;
}

static int output_replace(const char *who, const char *path, mode_t mode, const void *bytes, size_t length)
{
    char *temporary = memory_format("%s.XXXXXX", path);
    int file = mkostemp(temporary, O_CLOEXEC);
    int status = 0;
    if (file < 0) {
        status = output_failed(who, path);
    } else if (fchmod(file, mode) != 0 || file_fill(file, bytes, length) != 0 || rename(temporary, path) != 0) {
        status = output_failed(who, path);
        unlink(temporary);
    }
    free(temporary);
    return status;
}

static int output_direct(const char *who, const char *path, const void *bytes, size_t length)
{
    int file = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    return file < 0 || file_fill(file, bytes, length) != 0 ? output_failed(who, path) : 0;
}

// `tarn report --html RECORDING` lacks a name: the recording, which nobody can take again, is not it.
static bool is_recording(const char *path)
{
    uint64_t magic = 0;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    bool read_whole = file >= 0 && read(file, &magic, sizeof magic) == (ssize_t)sizeof magic;
    if (file >= 0)
        close(file);
    return read_whole && magic == RECORDING_MAGIC;
}

int output_file_write(const char *who, const char *path, const void *bytes, size_t length)
{
    struct stat status;
    if (stat(path, &status) != 0)
        return output_replace(who, path, mode_usual(), bytes, length);
    if (!S_ISREG(status.st_mode))
        return output_direct(who, path, bytes, length);
    if (is_recording(path)) {
        tool_error(who, "cannot write %s: it is a recording", path);
        return TOOL_BAD_INPUT;
    }
    char *target = realpath(path, NULL); // through a symbolic link, so that the link stays
    int result = output_replace(who, target != NULL ? target : path, status.st_mode & 07777, bytes, length);
    free(target);
    return result;
}

int output_print(const char *who, const void *bytes, size_t length)
{
    if (file_write(STDOUT_FILENO, bytes, length) == 0)
        return 0;
    return output_failed(who, "standard output");
}
