// preload/stats_file.c - see stats_file.h.
#include "stats_file.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#include "kernel.h"
#include "output.h"
#include "path.h"
#include "process.h"

#define OWNER_ONLY (S_IRUSR | S_IWUSR)
#define NAMES_TRIED 8 // files of a process that died in the midst, with this pid, may be in the way

// Static: one report at a time (exit_report.c), and two paths are much for a small stack.
static char path[PATH_MAX], temporary[PATH_MAX];

// A rename onto a device or a pipe would put a file in its place.
static bool target_is_file(void)
{
    struct stat target;
    if (stat(path, &target) != 0 || S_ISREG(target.st_mode))
        return true;
    errno = EINVAL;
    return false;
}

static int temporary_open(void)
{
    int fd = -1;
    for (int i = 0; i < NAMES_TRIED && fd < 0; i++) {
        writer_t writer = WRITER(temporary);
        writer_format(&writer, "%s.%d-%d.tmp", path, (int)process.pid, i);
        if (writer.truncated) {
            errno = ENAMETOOLONG;
            return -1;
        }
        fd = kernel_open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, OWNER_ONLY);
        if (fd < 0 && errno != EEXIST)
            return -1;
    }
    return fd;
}

bool stats_file_write(const char *pattern, const char *text, size_t length)
{
    writer_t writer = WRITER(path);
    if (!path_expand(&writer, pattern) || !target_is_file())
        return false;
    int fd = temporary_open();
    if (fd < 0)
        return false;
    bool written = output_write(fd, text, length);
    int error = errno;
    kernel_close(fd);
    if (written && kernel_rename(temporary, path) == 0)
        return true;
    errno = written ? errno : error;
    error = errno;
    kernel_unlink(temporary);
    errno = error;
    return false;
}
