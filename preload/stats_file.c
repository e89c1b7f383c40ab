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
static RARE_DATA char path[PATH_MAX], temporary[PATH_MAX];

// A rename onto a device or a pipe would put a file in its place.
static bool target_is_file(void)
{
    struct stat target;
    return stat(path, &target) != 0 || S_ISREG(target.st_mode);
}

// A descriptor, or -errno.
static int temporary_open(void)
{
    int fd = -EEXIST;
    for (int i = 0; i < NAMES_TRIED && fd == -EEXIST; i++) {
        writer_t writer = WRITER(temporary);
        writer_format(&writer, "%s.%d-%d.tmp", path, (int)process.pid, i);
        if (writer.truncated)
            return -ENAMETOOLONG;
        fd = kernel_open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, OWNER_ONLY);
    }
    return fd;
}

int stats_file_write(const char *pattern, const char *text, size_t length)
{
    writer_t writer = WRITER(path);
    if (!path_expand(&writer, pattern))
        return ENAMETOOLONG;
    if (!target_is_file())
        return EINVAL;
    int fd = temporary_open();
    if (fd < 0)
        return -fd;
    int error = output_write(fd, text, length);
    kernel_close(fd);
    if (error == 0)
        error = -kernel_rename(temporary, path);
    if (error != 0)
        kernel_unlink(temporary);
    return error;
}
