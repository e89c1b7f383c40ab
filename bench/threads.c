// threads.c - what does a thread's whole life cost: made, a few blocks taken and freed, gone?
//
// A server with a thread a request. Threads come `at_once` at a time; each takes some blocks of its own, frees all but
// one, and leaves that one to the main thread, so that it cannot end without a trace.

#include <errno.h>

#include "bench.h"

static uint64_t count = 20000, at_once = 8, blocks = 50, low = 16, high = 1024;

enum { BLOCKS_MAX = 1024 };

static void *thread_run(void *argument)
{
    rng_t rng = rng_seed((uint64_t)(uintptr_t)argument);
    void *taken[BLOCKS_MAX];
    for (uint64_t i = 0; i < blocks; i++) {
        taken[i] = block_take_touched(rng_between(&rng, low, high), i + 1);
    }
    uint64_t sum = 0;
    for (uint64_t i = 1; i < blocks; i++) {
        sum += block_give(taken[i]);
    }
    block_mark(taken[0], sum);
    return taken[0];
}

static uint64_t storm_run(uint64_t first)
{
    pthread_t handles[BLOCKS_MAX];
    uint64_t sum = 0;
    for (uint64_t i = 0; i < at_once; i++) {
        handles[i] = thread_start(thread_run, (void *)(uintptr_t)(first + i));
    }
    for (uint64_t i = 0; i < at_once; i++) {
        sum += block_give(thread_join(handles[i]));
    }
    return sum;
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"count", &count}, {"at_once", &at_once}, {"blocks", &blocks}, {"low", &low}, {"high", &high}, {NULL, NULL}});
    if (blocks == 0 || blocks > BLOCKS_MAX || at_once == 0 || at_once > BLOCKS_MAX) {
        errno = EINVAL;
        fail("blocks and at_once are 1 to 1024");
    }
    uint64_t sum = 0;
    for (uint64_t first = 0; first < count; first += at_once) {
        sum += storm_run(first);
    }
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
