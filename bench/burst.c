// burst.c - what stays resident when a program that just used a large heap frees everything and goes to sleep?
//
// A nightly job, a request that came once, a document closed. Two figures: right after the last free, and after the
// sleep, during which the program makes no call. Bursts repeat, so that returning memory has its price in the time.

#include "bench.h"

static uint64_t mib = 100, low = 16, high = 2048, bursts = 4, idle_ms = 100;

static uint64_t burst_run(rng_t *rng, size_t *resident_full)
{
    heap_t heap = heap_fill(rng, mib * MIB, (sizes_t){low, high, false});
    *resident_full = resident_bytes();
    return heap_empty(&heap);
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"mib", &mib}, {"low", &low}, {"high", &high}, {"bursts", &bursts}, {"idle_ms", &idle_ms}, {NULL, NULL}});
    rng_t rng = rng_seed(0);
    size_t resident_full = 0, resident_free = 0;
    uint64_t busy_ns = 0, sum = 0;
    for (uint64_t burst = 0; burst < bursts; burst++) {
        uint64_t start = time_ns();
        sum += burst_run(&rng, &resident_full);
        busy_ns += time_ns() - start;
        resident_free = resident_bytes();
        sleep_ms(idle_ms);
    }
    report("busy_ns", busy_ns);
    report("rss_full_bytes", resident_full);
    report("rss_after_free_bytes", resident_free);
    report("rss_after_sleep_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
