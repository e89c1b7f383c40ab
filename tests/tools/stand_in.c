// tests/tools/stand_in.c - a library that takes malloc's place and has known faults, set when it is compiled:
//
//   BALLAST_MIB  so much memory is touched and held from the start
//   BURN_MS      so much CPU time is spent at the start
//   CRASH        programs end with SIGABRT, but for the one in which it is tried out ("exe")
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

extern void *__libc_malloc(size_t bytes);

__attribute__((visibility("default"))) void *malloc(size_t bytes)
{
    return __libc_malloc(bytes);
}

static long cpu_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

__attribute__((constructor)) static void fault(void)
{
    size_t ballast = (size_t)BALLAST_MIB << 20;
    if (CRASH && strcmp(program_invocation_short_name, "exe") != 0)
        abort();
    if (ballast > 0) {
        void *memory = mmap(NULL, ballast, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory != MAP_FAILED)
            memset(memory, 1, ballast);
    }
    for (long until = cpu_ms() + BURN_MS; BURN_MS > 0 && cpu_ms() < until;) {
    }
}
