// pool/survey_totals.c - see survey_totals.h.
#include "survey_totals.h"

#include <string.h>

#include "budget.h"
#include "heap.h"
#include "registry.h"
#include "survey_sums.h"
#include "zone.h"

// Newton's method: libm would be one more library. Half the exponent is a first guess that is off by 6 % at most, and each
// step squares the error: the fourth leaves 1e-24 of it.
static double square_root(double value)
{
    if (!(value > 0))
        return 0;
    uint64_t bits;
    double root;
    memcpy(&bits, &value, sizeof(bits));
    bits = (bits >> 1) + (((uint64_t)1023 << 52) >> 1); // the exponent's offset, halved
    memcpy(&root, &bits, sizeof(root));
    for (int i = 0; i < 4; i++)
        root = (root + value / root) / 2;
    return root;
}

static size_sample_t class_sample(unsigned class)
{
    size_sample_t sum = {0};
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap) {
        const size_sample_t *sizes = heap_sizes(heap, class);
        sum.count += sizes->count;
        sum.lent_gap += sizes->lent_gap;
        sum.gap += sizes->gap;
        sum.gap_square += sizes->gap_square;
    }
    return sum;
}

// The mean gap of the sampled requests stands for the live blocks'. Half the 95 % interval of the sum: 1.96 standard
// errors of the mean, times the blocks; with fewer than two samples, half of what a gap can be at most. Of the blocks lent to
// smaller classes as many are taken to live as of all, and it may be all of them or none. Returns what they may be off by: a part
// of the class's error that is no matter of chance.
static double class_estimate(survey_class_t *class, unsigned index)
{
    size_sample_t sample = class_sample(index);
    double live = (double)class->live_blocks, block_bytes = (double)size_class_table[index].block_bytes;
    double bytes = live * block_bytes;
    double widest = index <= SMALL_CLASSES ? GRANULE_BYTES - 1 : block_bytes / (MEDIUM_STEPS + 1);
    double mean = sample.count == 0 ? widest / 2 : (double)sample.gap / sample.count;
    double error = live * widest / 2;
    if (sample.count >= 2) {
        double variance = ((double)sample.gap_square - sample.count * mean * mean) / (sample.count - 1);
        error = live * 1.96 * square_root(variance / sample.count);
    }
    double lent = class->allocated_total == 0 ? 0 : sample.lent_gap * live / (double)class->allocated_total;
    double lent_error = sample.lent_gap < bytes ? sample.lent_gap : bytes;
    double gap = live * mean + lent;
    class->requested_bytes = gap < bytes ? (uint64_t)(bytes - gap) : 0;
    class->requested_error = error + lent_error;
    return lent_error;
}

// Hardened, an owner that moves blocks from the run to those behind it, or back, may be seen with some of them in both.
static uint64_t small_handed(const heap_t *heap, unsigned class)
{
    uint64_t handed = heap->small[class].handed, kept = survey_head_count(heap, class) + heap_harden_ahead(heap, class);
    return handed - size_min(kept, handed);
}

static uint64_t class_handed(unsigned class)
{
    uint64_t handed = 0;
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap) {
        if (class >= CLASS_FIRST_MEDIUM) {
            handed += heap_medium_handed(&heap->medium[class - CLASS_FIRST_MEDIUM]);
            continue;
        }
        handed += small_handed(heap, class);
    }
    return handed;
}

// What requested_bytes may be off by. What chance does in one class it does not do in all; but where a program frees and keeps,
// what was lent may be off to the same side in each.
typedef struct errors {
    double chance_squares, lent;
} errors_t;

static void class_finish(survey_t *out, unsigned index, errors_t *errors)
{
    survey_class_t *class = &out->classes[index - 1];
    uint64_t handed = class_handed(index);
    if (handed == 0 && class->pages == 0 && class->live_blocks == 0)
        return;
    // A head list that its owner was popping from may have been seen too short: then too many blocks count as live.
    class->allocated_total = handed > class->live_blocks ? handed : class->live_blocks;
    double lent_error = heap_requested_exact ? 0 : class_estimate(class, index);
    double by_chance = class->requested_error - lent_error;
    uint64_t live_bytes = class->live_blocks * size_class_table[index].block_bytes;
    class->rounding_bytes = live_bytes - size_min(class->requested_bytes, live_bytes);
    errors->chance_squares += by_chance * by_chance;
    errors->lent += lent_error;
    out->live_blocks += class->live_blocks;
    out->live_bytes += live_bytes;
    out->requested_bytes += class->requested_bytes;
    out->rounding_bytes += class->rounding_bytes;
    out->holes_bytes += class->holes_bytes;
    out->tail_bytes += class->tail_bytes;
    out->pending_bytes += class->pending_bytes;
    out->untouched_bytes += class->untouched_bytes;
    out->allocated_total += class->allocated_total;
}

void survey_totals(survey_t *out)
{
    errors_t errors = {0};
    for (unsigned class = 1; class < CLASS_COUNT; class++)
        class_finish(out, class, &errors);
    out->requested_error = square_root(errors.chance_squares) + errors.lent;
    out->requested_exact = heap_requested_exact;
    out->live_blocks += out->large_blocks;
    out->live_bytes += out->large_bytes;
    out->allocated_total += out->large_allocated_total;
    out->freed_total = out->allocated_total - out->live_blocks;
    out->mapped_bytes = budget_used();
    out->mapped_peak_bytes = budget_used_peak();
    out->purged_total_bytes = budget_purged_total();
    out->budget_bytes = budget_limit(BUDGET_WHOLE);
    out->heaps = heap_alive_count();
    out->heaps_orphaned = registry_orphans();
}
