// replace.c - what does a steady heap cost whose blocks are replaced at random, in time and in holes?
//
// Each thread owns `slots` blocks and replaces one after the other by a block of another size: peak resident memory
// over what the slots hold is fragmentation. At the end the main thread frees all of it.

#include "bench.h"

static uint64_t slots = 10000, low = 16, high = 1024, log_uniform = 0, count = 8000000, threads = 1;

typedef struct worker {
    uint64_t seed;
    void **blocks;
    uint64_t sum;
} worker_t;

static void worker_replace(worker_t *worker, rng_t *rng, sizes_t sizes, uint64_t mark)
{
    void **slot = &worker->blocks[rng_below(rng, slots)];
    if (*slot != NULL) {
        worker->sum += block_give(*slot);
    }
    *slot = block_take_touched(size_pick(rng, sizes), mark);
}

static void *worker_run(void *argument)
{
    worker_t *worker = argument;
    rng_t rng = rng_seed(worker->seed);
    sizes_t sizes = {low, high, log_uniform};
    for (uint64_t i = 0; i < count / threads; i++) {
        worker_replace(worker, &rng, sizes, i);
    }
    return NULL;
}

static void worker_finish(worker_t *worker)
{
    for (uint64_t i = 0; i < slots; i++) {
        if (worker->blocks[i] != NULL) {
            worker->sum += block_give(worker->blocks[i]);
        }
    }
}

// The first worker is the main thread: with threads=1 the program stays single-threaded.
static void workers_run(worker_t *workers)
{
    pthread_t *handles = array_map(threads, sizeof *handles);
    for (uint64_t i = 1; i < threads; i++) {
        handles[i] = thread_start(worker_run, &workers[i]);
    }
    worker_run(&workers[0]);
    for (uint64_t i = 1; i < threads; i++) {
        thread_join(handles[i]);
    }
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"slots", &slots}, {"low", &low}, {"high", &high}, {"log", &log_uniform}, {"count", &count},
        {"threads", &threads}, {NULL, NULL}});
    worker_t *workers = array_map(threads, sizeof *workers);
    for (uint64_t i = 0; i < threads; i++) {
        workers[i] = (worker_t){.seed = i, .blocks = array_map(slots, sizeof(void *))};
    }
    workers_run(workers);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < threads; i++) {
        worker_finish(&workers[i]);
        sum += workers[i].sum;
    }
    report("rss_after_free_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
