// turns.c - does memory that one thread freed serve the next?
//
// handover=0: threads take turns at holding `mib`; each frees it all before the next one starts, and lives on. At any
// time `mib` is live: what is resident beyond that lies idle in the caches of threads that wait.
// handover=1: thread A allocates, thread B frees, and so on, `rounds` times. Blocks that came back to nobody pile up.

#include <semaphore.h>

#include "bench.h"

static uint64_t mib = 32, threads = 8, rounds = 3, handover = 0, low = 16, high = 2048;

// [baton] whoever holds the baton: one thread works at a time
static heap_t heap;
static rng_t rng;
static uint64_t sum;

typedef struct turn_taker {
    sem_t start;
    sem_t done;
    uint64_t index;
    bool over;
} turn_taker_t;

static void turn_run(const turn_taker_t *taker)
{
    bool takes = !handover || taker->index == 0, gives = !handover || taker->index == 1;
    if (takes) {
        heap = heap_fill(&rng, mib * MIB, (sizes_t){low, high, false});
    }
    if (gives) {
        sum += heap_empty(&heap);
    }
}

static void *taker_run(void *argument)
{
    turn_taker_t *taker = argument;
    for (;;) {
        sem_wait(&taker->start);
        if (taker->over) {
            return NULL;
        }
        turn_run(taker);
        sem_post(&taker->done);
    }
}

static void taker_signal(turn_taker_t *taker, bool over)
{
    taker->over = over;
    sem_post(&taker->start);
    if (!over) {
        sem_wait(&taker->done);
    }
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"mib", &mib}, {"threads", &threads}, {"rounds", &rounds}, {"handover", &handover}, {"low", &low},
        {"high", &high}, {NULL, NULL}});
    threads = handover ? 2 : threads;
    rng = rng_seed(0);
    turn_taker_t *takers = array_map(threads, sizeof *takers);
    pthread_t *handles = array_map(threads, sizeof *handles);
    for (uint64_t i = 0; i < threads; i++) {
        takers[i].index = i;
        sem_init(&takers[i].start, 0, 0);
        sem_init(&takers[i].done, 0, 0);
        handles[i] = thread_start(taker_run, &takers[i]);
    }
    for (uint64_t turn = 0; turn < rounds * threads; turn++) {
        taker_signal(&takers[turn % threads], false);
    }
    report("rss_after_free_bytes", resident_bytes());
    for (uint64_t i = 0; i < threads; i++) {
        taker_signal(&takers[i], true);
        thread_join(handles[i]);
    }
    report("checksum", sum);
    return 0;
}
