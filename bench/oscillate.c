// oscillate.c - what does returning memory cost when the same amount is wanted again soon after?
//
// A heap of `base_mib` stays; `mib` more come and go every `period_ms`: half the period in use, half idle. Who returns
// everything at once pays for the same OS pages over and over; who returns nothing holds what nobody uses. The work
// time and the resident memory while idle are the two sides of it.

#include "bench.h"

static uint64_t mib = 64, period_ms = 100, cycles = 5, base_mib = 16, low = 64, high = 16 * KIB;

typedef struct swing {
    rng_t rng;
    uint64_t busy_ns;
    uint64_t rss_after_free; // sums over the cycles
    uint64_t rss_after_sleep;
    uint64_t sum;
} swing_t;

static void sleep_until(uint64_t moment_ns)
{
    uint64_t now = time_ns();
    if (now < moment_ns) {
        sleep_ms((moment_ns - now) / 1000000);
    }
}

static void swing_cycle(swing_t *swing)
{
    const uint64_t half_ns = period_ms * 1000000 / 2;
    uint64_t start = time_ns();
    heap_t heap = heap_fill(&swing->rng, mib * MIB, (sizes_t){low, high, true});
    uint64_t filled = time_ns();
    sleep_until(start + half_ns);

    uint64_t again = time_ns();
    swing->sum += heap_empty(&heap);
    uint64_t freed = time_ns();
    swing->rss_after_free += resident_bytes();
    sleep_until(again + half_ns);
    swing->rss_after_sleep += resident_bytes();
    swing->busy_ns += (filled - start) + (freed - again);
}

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){
        {"mib", &mib}, {"period_ms", &period_ms}, {"cycles", &cycles}, {"base_mib", &base_mib}, {"low", &low},
        {"high", &high}, {NULL, NULL}});
    swing_t swing = {.rng = rng_seed(0)};
    heap_t base = heap_fill(&swing.rng, base_mib * MIB, (sizes_t){low, high, true});
    for (uint64_t cycle = 0; cycle < cycles; cycle++) {
        swing_cycle(&swing);
    }
    report("busy_ns", swing.busy_ns);
    report("rss_after_free_bytes", swing.rss_after_free / cycles);
    report("rss_after_sleep_bytes", swing.rss_after_sleep / cycles);
    report("live_bytes", base.bytes);
    report("checksum", swing.sum + heap_empty(&base));
    return 0;
}
