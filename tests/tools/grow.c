// tests/tools/grow.c - `grow MIB MS [CHILD_MIB]`: a program of known size and duration, for what measures programs.
//
// Takes MIB of memory, touches it, holds it for MS milliseconds, gives it back and works on for as long again. With
// CHILD_MIB, a child holds that much of its own at the same time.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

// Mapped, so that no allocator decides what is resident.
static void hold(size_t bytes, long ms)
{
    char *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        exit(1);
    memset(memory, 1, bytes);
    pause_ms(ms);
    munmap(memory, bytes);
    pause_ms(ms);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    long ms = atol(argv[2]);
    pid_t child = argc > 3 ? fork() : -1;
    hold((size_t)atol(argv[child == 0 ? 3 : 1]) << 20, ms);
    if (child > 0)
        waitpid(child, NULL, 0);
    return 0;
}
