// preload/output.c - see output.h.
#include "output.h"

#include <errno.h>
#include <signal.h>

#include "kernel.h"

#define LINE_BYTES 1000
#define FULL_PIPE_PATIENCE_MS 1000 // for a reader of a non-blocking pipe that is slow; then the rest is lost

// [const] after output_start
static struct {
    bool was_open;
    dev_t device;
    ino_t inode;
} start;

static int kept_fd = -1;

// Behind the numbers that programs count on being given next, where so many are allowed.
static const int kept_fd_lowest = 100, kept_fd_lowest_else = STDERR_FILENO + 1;

void output_start(void)
{
    struct stat now;
    start.was_open = kernel_file(STDERR_FILENO, &now);
    if (start.was_open) {
        start.device = now.st_dev;
        start.inode = now.st_ino;
    }
}

bool output_exists(void)
{
    return start.was_open;
}

static bool is_stderr(int fd)
{
    struct stat now;
    return start.was_open && kernel_file(fd, &now) && now.st_dev == start.device && now.st_ino == start.inode;
}

void output_keep(void)
{
    if (kept_fd >= 0 || !is_stderr(STDERR_FILENO))
        return;
    kept_fd = kernel_dup(STDERR_FILENO, kept_fd_lowest);
    if (kept_fd < 0)
        kept_fd = kernel_dup(STDERR_FILENO, kept_fd_lowest_else);
}

bool output_is_kept(void)
{
    return kept_fd >= 0;
}

void output_end(void)
{
    if (kept_fd >= 0 && is_stderr(kept_fd))
        kernel_close(kept_fd);
    kept_fd = -1;
}

// 0, or the errno of what came in between.
static int write_all(int fd, const char *text, size_t length)
{
    while (length > 0) {
        ssize_t written = kernel_write(fd, text, length);
        if (written > 0) {
            text += written;
            length -= (size_t)written;
        } else if (written == -EAGAIN) {
            if (!kernel_wait_writable(fd, FULL_PIPE_PATIENCE_MS))
                return EAGAIN;
        } else if (written != -EINTR) {
            return written == 0 ? EIO : (int)-written;
        }
    }
    return 0;
}

// A write may raise a signal in the writing thread. It is held back meanwhile and taken away after, unless one of the
// program's own was waiting before.
int output_write(int fd, const char *text, size_t length)
{
    static const int raised[] = {SIGPIPE, SIGXFSZ, SIGTTOU};
    sigset_t signals = kernel_signals_none(), before, pending = kernel_signals_pending();
    for (size_t i = 0; i < sizeof raised / sizeof *raised; i++)
        if (!kernel_signals_have(&pending, raised[i]))
            kernel_signals_add(&signals, raised[i]);
    kernel_signal_mask(SIG_BLOCK, &signals, &before);
    int error = write_all(fd, text, length);
    if (error != 0)
        kernel_signal_discard(&signals);
    kernel_signal_mask(SIG_SETMASK, &before, NULL);
    return error;
}

void output_stderr(const char *text, size_t length)
{
    if (is_stderr(STDERR_FILENO))
        output_write(STDERR_FILENO, text, length);
    else if (kept_fd >= 0 && is_stderr(kept_fd))
        output_write(kept_fd, text, length);
}

void output_line(const char *format, ...)
{
    char text[LINE_BYTES + 2];
    writer_t writer = {.buffer = text, .capacity = LINE_BYTES + 1};
    va_list values;
    writer_text(&writer, "tarn: ");
    va_start(values, format);
    writer_format_list(&writer, format, values);
    va_end(values);
    text[writer.length] = '\n';
    output_stderr(text, writer.length + 1);
}
