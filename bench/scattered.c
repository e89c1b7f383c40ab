// scattered.c - what stays resident when 95 % of a heap is freed and the survivors lie scattered all over it?
//
// A cache that was cut down, an index after its build: hardly any OS page is without a survivor, unless the allocator
// finds those that are. Survivors and the order of the frees are random, so nothing clusters.

#include "bench.h"

static uint64_t mib = 100, low = 16, high = 511, percent_kept = 5, rounds = 2;

static uint64_t round_run(rng_t *rng, bool last)
{
    heap_t heap = heap_fill(rng, mib * MIB, (sizes_t){low, high, false});
    size_t resident_full = resident_bytes();
    uint64_t sum = heap_thin(&heap, rng, percent_kept);
    if (last) {
        report("rss_full_bytes", resident_full);
        report("rss_after_free_bytes", resident_bytes());
        report("live_bytes", heap.bytes);
    }
    return sum + heap_empty(&heap);
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"mib", &mib}, {"low", &low}, {"high", &high}, {"percent_kept", &percent_kept}, {"rounds", &rounds},
        {NULL, NULL}});
    rng_t rng = rng_seed(0);
    uint64_t sum = 0;
    for (uint64_t round = 0; round < rounds; round++) {
        sum += round_run(&rng, round + 1 == rounds);
    }
    report("rss_end_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
