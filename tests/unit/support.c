// tests/unit/support.c - see support.h.
#include "support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

bool support_exact;
unsigned support_harden;
unsigned support_trap_every;
size_t support_limit_bytes;
size_t support_sample_bytes;
uint64_t support_sample_seed;
huge_mode_t support_huge;
unsigned support_misuses;
pool_misuse_t support_misuse;

void pool_hook_boot(pool_options_t *options)
{
    options->requested_exact = support_exact;
    options->harden = support_harden;
    options->trap_every = support_trap_every;
    options->limit_bytes = support_limit_bytes;
    options->sample_bytes = support_sample_bytes;
    options->sample_seed = support_sample_seed;
    options->huge = support_huge;
}

void pool_hook_misuse(const pool_misuse_t *misuse)
{
    support_misuses++;
    support_misuse = *misuse;
}

typedef struct call {
    void (*function)(void *);
    void *argument;
} call_t;

static void *thread_run(void *argument)
{
    call_t *call = argument;
    call->function(call->argument);
    pool_thread_exit();
    return NULL;
}

void support_thread(void (*function)(void *), void *argument)
{
    call_t call = {function, argument};
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_run, &call) != 0 || pthread_join(thread, NULL) != 0)
        abort();
}

int support_fork(void (*function)(void *), void *argument)
{
    int status;
    fflush(NULL);
    pool_fork_prepare();
    pid_t pid = fork();
    if (pid == 0) {
        pool_fork_child();
        alarm(60);
        function(argument);
        _exit(0);
    }
    pool_fork_parent();
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        abort();
    return status;
}

uint64_t support_random(uint64_t *state) // xorshift64, never 0
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

unsigned support_drain_head(size_t size_bytes, void **blocks, unsigned most)
{
    unsigned count = 0;
    do
        blocks[count++] = pool_malloc(size_bytes);
    while (heap_self->head[size_class_of(size_bytes)] != NULL && count < most);
    return count;
}

page_t *support_page(const void *block)
{
    page_t *page = zone_page_of(block);
    if (page == NULL)
        abort();
    return page;
}

bool support_writable(void *address)
{
    int saved = errno, zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    bool writable = zero >= 0 && read(zero, address, 1) == 1;
    close(zero);
    errno = saved;
    return writable;
}

void support_ends_well(const char *wrong)
{
    if (wrong == NULL)
        return;
    fprintf(stderr, "FAILED: after the test: %s\n", wrong);
    abort();
}
