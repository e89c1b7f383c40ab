// server.c - how do server threads do that replace sessions at random and hand objects to one another?
//
// After Larson and Krishnan: each thread replaces random blocks in its table; then it ends, and a new thread inherits
// the table with blocks it did not allocate. Between running threads objects change hands through mailboxes: one step
// in `share` swaps a block with whatever lies there. So a good part of all blocks is freed by another thread.

#include <stdatomic.h>

#include "bench.h"

static uint64_t threads = 4, slots = 4000, low = 16, high = 512, generations = 20, steps = 60000, share = 8;

enum { MAILBOXES = 64 };

typedef struct worker {
    void **blocks; // this generation's table
    rng_t rng;
    uint64_t sum; // of the marks it freed
} worker_t;

static _Atomic(void *) mailboxes[MAILBOXES];

static void worker_drop(worker_t *worker, void *block)
{
    if (block != NULL) {
        worker->sum += block_give(block);
    }
}

static void worker_step(worker_t *worker, uint64_t step)
{
    void **slot = &worker->blocks[rng_below(&worker->rng, slots)];
    void *made = block_take_touched(rng_between(&worker->rng, low, high), step);
    if (rng_below(&worker->rng, share) == 0) {
        _Atomic(void *) *mailbox = &mailboxes[rng_below(&worker->rng, MAILBOXES)];
        made = atomic_exchange_explicit(mailbox, made, memory_order_acq_rel);
    }
    worker_drop(worker, *slot);
    *slot = made;
}

static void *worker_run(void *argument)
{
    for (uint64_t step = 0; step < steps; step++) {
        worker_step(argument, step);
    }
    return NULL;
}

// A generation: every thread works on the table that its neighbour had before.
static void generation_run(worker_t *workers, void ***tables, uint64_t generation)
{
    pthread_t *handles = array_map(threads, sizeof *handles);
    for (uint64_t i = 0; i < threads; i++) {
        workers[i].blocks = tables[(i + generation) % threads];
        handles[i] = thread_start(worker_run, &workers[i]);
    }
    for (uint64_t i = 0; i < threads; i++) {
        thread_join(handles[i]);
    }
    array_unmap(handles, threads, sizeof *handles);
}

static uint64_t server_finish(worker_t *workers, void ***tables)
{
    for (uint64_t i = 0; i < threads * slots; i++) {
        worker_drop(&workers[0], tables[i / slots][i % slots]);
    }
    for (uint64_t i = 0; i < MAILBOXES; i++) {
        worker_drop(&workers[0], mailboxes[i]);
    }
    uint64_t sum = 0;
    for (uint64_t i = 0; i < threads; i++) {
        sum += workers[i].sum;
    }
    return sum;
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"threads", &threads}, {"slots", &slots}, {"low", &low}, {"high", &high}, {"generations", &generations},
        {"steps", &steps}, {"share", &share}, {NULL, NULL}});
    worker_t *workers = array_map(threads, sizeof *workers);
    void ***tables = array_map(threads, sizeof *tables);
    for (uint64_t i = 0; i < threads; i++) {
        workers[i].rng = rng_seed(i);
        tables[i] = array_map(slots, sizeof(void *));
    }
    for (uint64_t generation = 0; generation < generations; generation++) {
        generation_run(workers, tables, generation);
    }
    uint64_t sum = server_finish(workers, tables);
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
