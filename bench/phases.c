// phases.c - what stays resident when a program's block sizes shift, phase by phase, and each phase leaves a little?
//
// Twelve phases of one size each, from 24 to 6000 B; of each, 5 % stay, drawn at random. Size classes cannot use the
// holes of one phase for the sizes of the next: what is resident at the end over what is live says how badly.

#include "bench.h"

static uint64_t mib = 48, percent_kept = 5;

// About a factor of 1.65 each.
static const size_t phase_bytes[] = {24, 40, 64, 108, 176, 296, 488, 800, 1328, 2192, 3624, 6000};
enum { PHASES = sizeof phase_bytes / sizeof phase_bytes[0] };

int main(int argc, char **argv)
{
    options_read(argc, argv, (option_t[]){{"mib", &mib}, {"percent_kept", &percent_kept}, {NULL, NULL}});
    rng_t rng = rng_seed(0);
    heap_t heaps[PHASES];
    uint64_t sum = 0, live = 0;
    for (size_t i = 0; i < PHASES; i++) {
        heaps[i] = heap_fill(&rng, mib * MIB, (sizes_t){phase_bytes[i], phase_bytes[i], false});
        sum += heap_thin(&heaps[i], &rng, percent_kept);
        live += heaps[i].bytes;
    }
    report("rss_after_free_bytes", resident_bytes());
    report("live_bytes", live);
    for (size_t i = 0; i < PHASES; i++) {
        sum += heap_empty(&heaps[i]);
    }
    report("rss_end_bytes", resident_bytes());
    report("checksum", sum);
    return 0;
}
