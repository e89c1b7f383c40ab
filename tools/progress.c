// tools/progress.c - see progress.h.
#include "progress.h"

#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define FIRST_MS 1000 // what is over by then needs no line
#define EACH_MS 200

static struct {
    int64_t begun_ms, shown_ms; // 0: not yet
    bool forbidden;
} progress;

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

void progress_show(const char *what, uint64_t done, uint64_t of)
{
    int64_t now = now_ms();
    if (progress.begun_ms == 0)
        progress.begun_ms = now;
    if (progress.forbidden || now - progress.begun_ms < FIRST_MS || now - progress.shown_ms < EACH_MS ||
        !isatty(STDERR_FILENO))
        return;
    fprintf(stderr, "\rtarn: %s, %u %%\033[K", what, of == 0 ? 0 : (unsigned)(done * 100 / of));
    fflush(stderr);
    progress.shown_ms = now;
}

void progress_end(void)
{
    if (progress.shown_ms != 0)
        fprintf(stderr, "\r\033[K");
    progress.begun_ms = progress.shown_ms = 0;
}

void progress_forbid(void)
{
    progress.forbidden = true;
}
