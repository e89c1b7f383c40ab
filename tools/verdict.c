// tools/verdict.c - see verdict.h.
#include "verdict.h"

#include "amount.h"
#include "memory.h"
#include "strings.h"

#include <stdlib.h>
#include <string.h>

// The same figures as in preload/report_verdict.c: from here on memory is called somebody's; a cause that takes less is
// not worth a name; a class that has this share of a cause is named alone.
#define MOST_PERCENT 75
#define CAUSE_MIN_PERCENT 15
#define HALF_PERCENT 50

// A second cause is named from here on: it is where rounding is worse than it needs be above 1 KiB (11 % at most).
#define SECOND_MIN_PERCENT 10

// A call site that has less of the cause than this is not the culprit: there are many.
#define CULPRIT_MIN_PERCENT 10

// A leak frees next to nothing, and goes on to the end: a tenth of what it has, or more, is from the last quarter of
// the allocations, and a tenth from before. An even leak has a quarter there.
#define LEAK_FREED_MAX_PERCENT 5
#define LEAK_SPREAD_MIN_PERCENT 10
#define LEAK_LATE_FRACTION 4

// With fewer samples it may be chance that none is from the last quarter (0.75^11 is 4 %): then the sum of what lives
// is asked, which is exact, but not of this call site alone.
#define LEAK_SAMPLES_MIN 11

// When at the last snapshot less than half of the largest heap is left, the program has tidied up: the verdict is about
// the time before.
#define TIDIED_UP_PERCENT 50

// A process that was killed was seen for the last time before that: this long, and this part of its life, may have changed
// what the verdict says.
#define UNSEEN_MS_MIN 100
#define UNSEEN_PERCENT_MIN 10

// So may what its samples have done since: this part of the larger figure, if that rests on PROFILE_SAMPLES_FEW samples.
#define SINCE_PERCENT_MIN 25

static const struct {
    const char *name, *field;
    int metric; // that its culprits are ranked by; -1: it has none
} causes[] = {
    [CAUSE_OTHER] = {"other", "other_rss_bytes", -1},
    [CAUSE_HELD] = {"held", "requested_bytes", METRIC_LIVE_BYTES},
    [CAUSE_LEAK] = {"leak", "requested_bytes", METRIC_LIVE_BYTES},
    [CAUSE_ROUNDING] = {"rounding", "rounding_bytes", METRIC_ROUNDING},
    [CAUSE_HOLES] = {"holes", "holes_bytes", METRIC_PINNED},
    [CAUSE_TAIL] = {"tail", "tail_bytes", -1},
    [CAUSE_RETAINED] = {"retained", "retained_bytes", -1},
    [CAUSE_PENDING] = {"pending", "pending_bytes", -1},
    [CAUSE_METADATA] = {"metadata", "metadata_bytes", -1},
};

static uint64_t cause_bytes(const balance_t *balance, verdict_cause_t cause)
{
    return balance_value(balance, balance_field(causes[cause].field));
}

static uint64_t held_bytes(const balance_t *balance)
{
    return balance->requested_bytes > balance->untouched_bytes ? balance->requested_bytes - balance->untouched_bytes
                                                               : 0;
}

static verdict_t cause_find(const balance_t *balance)
{
    verdict_cause_t largest = CAUSE_ROUNDING, cause;
    uint64_t heap = balance->heap_rss_bytes, held = held_bytes(balance);
    for (verdict_cause_t i = CAUSE_ROUNDING; i <= CAUSE_METADATA; i++)
        if (cause_bytes(balance, i) > cause_bytes(balance, largest))
            largest = i;
    if (amount_percent(balance->other_rss_bytes, balance->rss_bytes) >= MOST_PERCENT)
        cause = CAUSE_OTHER;
    else if (amount_percent(held, heap) >= MOST_PERCENT ||
             amount_percent(cause_bytes(balance, largest), heap) < CAUSE_MIN_PERCENT)
        cause = CAUSE_HELD;
    else
        cause = largest;
    return (verdict_t){
        .cause = cause,
        .bytes = cause == CAUSE_HELD ? held : cause_bytes(balance, cause),
        .of_bytes = cause == CAUSE_OTHER ? balance->rss_bytes : heap,
    };
}

// --- the culprit -----------------------------------------------------------------------------------------------------

// [unattributed] is nobody: it is the last stack and the last site.
static uint32_t site_first(const profile_t *profile, profile_moment_t moment, profile_metric_t metric)
{
    uint32_t first = 0;
    for (uint32_t i = 0; i + 1 < profile->site_count; i++)
        if (profile->sites[i].metrics[moment][metric] > profile->sites[first].metrics[moment][metric])
            first = i;
    return first;
}

static uint32_t stack_first(const profile_t *profile, uint32_t site, profile_moment_t moment, profile_metric_t metric)
{
    uint32_t first = 0;
    uint64_t most = 0;
    for (uint32_t i = 0; i < profile->stack_count; i++) {
        uint64_t value = profile->stacks[i].metrics[moment][metric];
        if (profile->stacks[i].site == site && value >= most) {
            most = value;
            first = i;
        }
    }
    return first;
}

static void blame(verdict_t *verdict, const profile_t *profile)
{
    int metric = causes[verdict->cause].metric;
    if (metric < 0 || profile->site_count < 2 || !profile_knows(verdict->moment, (profile_metric_t)metric))
        return;
    uint32_t site = site_first(profile, verdict->moment, (profile_metric_t)metric);
    uint64_t bytes = profile->sites[site].metrics[verdict->moment][metric];
    if (amount_percent(bytes, profile_total(profile, verdict->moment, (profile_metric_t)metric)) < CULPRIT_MIN_PERCENT)
        return;
    verdict->blames = true;
    verdict->metric = (profile_metric_t)metric;
    verdict->site = site;
    verdict->site_bytes = bytes;
    verdict->stack = stack_first(profile, site, verdict->moment, (profile_metric_t)metric);
    verdict->stack_bytes = profile->stacks[verdict->stack].metrics[verdict->moment][metric];
}

// By the samples of a site. False also when they are too few.
static bool grew_by_samples(const profile_t *profile, uint32_t site, uint32_t *samples)
{
    double all = 0, late = 0;
    *samples = 0;
    for (uint32_t i = 0; i < profile->sample_count; i++) {
        const profile_sample_t *sample = &profile->samples[i];
        double bytes = sample->weight * (double)sample->block_bytes;
        if (profile->stacks[sample->stack].site != site)
            continue;
        ++*samples;
        all += bytes;
        late += sample->age_bytes < profile->clock_bytes / LEAK_LATE_FRACTION ? bytes : 0;
    }
    return late * 100 >= all * LEAK_SPREAD_MIN_PERCENT && (all - late) * 100 >= all * LEAK_SPREAD_MIN_PERCENT;
}

// By the live bytes of all: since the last snapshot before the last quarter, in proportion to what was allocated since.
static bool grew_by_snapshots(const profile_t *profile)
{
    const balance_t *last = &profile_snapshot(profile, MOMENT_LAST)->balance, *before = NULL;
    for (uint32_t i = 0; i < profile->snapshot_count; i++) {
        const balance_t *each = &profile->snapshots[i].balance;
        if (each->allocated_total / (LEAK_LATE_FRACTION - 1) <= last->allocated_total / LEAK_LATE_FRACTION)
            before = each;
    }
    if (before == NULL || before->live_bytes >= last->live_bytes || last->allocated_total <= before->allocated_total)
        return false;
    double grown = (double)(last->live_bytes - before->live_bytes) / (double)last->live_bytes;
    double time = (double)(last->allocated_total - before->allocated_total) / (double)last->allocated_total;
    return grown * 100 >= time * LEAK_LATE_FRACTION * LEAK_SPREAD_MIN_PERCENT;
}

bool verdict_is_leak(const profile_t *profile, uint32_t site)
{
    const profile_site_t *suspect = &profile->sites[site];
    uint64_t freed = suspect->freed[GENERATION_YOUNG] + suspect->freed[GENERATION_MIDDLE] +
                     suspect->freed[GENERATION_OLD];
    uint32_t samples;
    if (suspect->allocated_blocks == 0 || amount_percent(freed, suspect->allocated_blocks) > LEAK_FREED_MAX_PERCENT)
        return false;
    bool grew = grew_by_samples(profile, site, &samples);
    return grew || ((samples < LEAK_SAMPLES_MIN || profile->sparse) && grew_by_snapshots(profile));
}

// The site that holds most may be one that only takes.
static bool leak_find(verdict_t *verdict, const profile_t *profile)
{
    if (verdict->moment != MOMENT_LAST || profile->site_count < 2)
        return false;
    uint32_t site = site_first(profile, MOMENT_LAST, METRIC_LIVE_BYTES);
    uint64_t live = profile->sites[site].metrics[MOMENT_LAST][METRIC_LIVE_BYTES];
    const balance_t *balance = &profile_snapshot(profile, MOMENT_LAST)->balance;
    if (amount_percent(live, balance->heap_rss_bytes) < CAUSE_MIN_PERCENT || !verdict_is_leak(profile, site))
        return false;
    *verdict = (verdict_t){.cause = CAUSE_LEAK, .bytes = held_bytes(balance), .of_bytes = balance->heap_rss_bytes};
    return true;
}

// What is wrong besides: of a program that holds its memory, the waste in it; of one that wastes it, a leak.
static verdict_t second_find(const verdict_t *first, const profile_t *profile)
{
    const balance_t *balance = &profile_snapshot(profile, first->moment)->balance;
    verdict_t second = {.moment = first->moment};
    if (first->cause == CAUSE_HELD || first->cause == CAUSE_LEAK) {
        second.cause = balance->rounding_bytes >= balance->holes_bytes ? CAUSE_ROUNDING : CAUSE_HOLES;
        second.bytes = cause_bytes(balance, second.cause);
        second.of_bytes = balance->heap_rss_bytes;
        if (amount_percent(second.bytes, second.of_bytes) < SECOND_MIN_PERCENT)
            return second;
    } else if (first->cause == CAUSE_OTHER || !leak_find(&second, profile)) {
        return second;
    }
    blame(&second, profile);
    return second;
}

// --- words -----------------------------------------------------------------------------------------------------------

static uint64_t class_share(const profile_class_t *class, verdict_cause_t cause)
{
    return cause == CAUSE_ROUNDING ? class->rounding_bytes
           : cause == CAUSE_HOLES  ? class->holes_bytes : class->tail_bytes;
}

// ", most of it in 512-byte pages", of the class that has most of the cause.
static char *class_text(const profile_snapshot_t *snapshot, verdict_cause_t cause, uint64_t bytes)
{
    const profile_class_t *most = snapshot->classes;
    for (uint32_t i = 0; i < snapshot->class_count; i++)
        if (class_share(&snapshot->classes[i], cause) > class_share(most, cause))
            most = &snapshot->classes[i];
    if (snapshot->class_count == 0 || class_share(most, cause) == 0)
        return memory_format("%s", "");
    bool alone = amount_percent(class_share(most, cause), bytes) >= HALF_PERCENT;
    return memory_format(", %s in %lu-byte %s", alone ? "most of it" : "more than elsewhere", most->block_bytes,
                         cause == CAUSE_ROUNDING ? "blocks" : "pages");
}

static char *cause_text(const verdict_t *verdict, const profile_snapshot_t *snapshot)
{
    const balance_t *balance = &snapshot->balance;
    unsigned percent = amount_percent(verdict->bytes, verdict->of_bytes);
    uint64_t held = balance->live_bytes > balance->untouched_bytes ? balance->live_bytes - balance->untouched_bytes : 0;
    double ratio = held == 0 ? 0 : (double)balance->heap_rss_bytes / (double)held;
    amount_t amount = amount_bytes(verdict->bytes);
    switch (verdict->cause) {
    case CAUSE_OTHER:
        return memory_format("resident memory is not the heap's: %u %% is program, libraries, stacks and mappings",
                             percent);
    case CAUSE_HELD:
        return memory_format("resident memory is what the program holds: not fragmentation (%u %% of the heap)",
                             percent);
    case CAUSE_LEAK:
        return memory_format("a leak: the program holds %u %% of the heap", percent);
    case CAUSE_ROUNDING:
        return memory_format("rounded up: %u %% of the heap, %s, is more than was asked for", percent, amount.text);
    case CAUSE_HOLES:
        return memory_format("resident %.1fx live: %u %% of the heap, %s, is holes", ratio, percent, amount.text);
    case CAUSE_TAIL:
        return memory_format("%u %% of the heap is page ends that fit no block", percent);
    case CAUSE_RETAINED:
        return memory_format("kept for reuse, not lost: %u %% of the heap, %s, holds no live block", percent,
                             amount.text);
    case CAUSE_PENDING:
        return memory_format("freed by other threads and not yet taken back: %u %% of the heap, %s", percent,
                             amount.text);
    case CAUSE_METADATA:
        return memory_format("a small heap: %u %% of it, %s, is the allocator's own tables", percent, amount.text);
    }
    return memory_format("%s", "");
}

static char *culprit_of_site_text(const verdict_t *verdict, const profile_t *profile, const char *site)
{
    unsigned percent = amount_percent(verdict->site_bytes,
                                      profile_total(profile, verdict->moment, verdict->metric));
    amount_t amount = amount_bytes(verdict->site_bytes);
    switch (verdict->cause) {
    case CAUSE_LEAK:
        return memory_format("; %u %% of its live bytes, %s, are from %s, which grew to the end and freed nothing",
                             percent, amount.text, site);
    case CAUSE_HELD:
        return memory_format("; %u %% of its live bytes, %s, are from %s", percent, amount.text, site);
    case CAUSE_HOLES:
        return memory_format("; %u %% of them, %s, are pinned by blocks from %s", percent, amount.text, site);
    default:
        return memory_format("; %u %% of that, %s, is from %s", percent, amount.text, site);
    }
}

// "cache_insert (cache.c:41)", and what the figure rests on if that is little.
static char *site_text(const verdict_t *verdict, const profile_t *profile)
{
    const profile_site_t *site = &profile->sites[verdict->site];
    if (verdict->moment != MOMENT_LAST || site->live_samples >= PROFILE_SAMPLES_FEW || site->live_samples == 0)
        return memory_format("%s", site->text);
    return memory_format("%s (a rough estimate, from %u sample%s)", site->text, site->live_samples,
                         site->live_samples == 1 ? "" : "s");
}

static char *culprit_text(const verdict_t *verdict, const profile_t *profile)
{
    char *site = site_text(verdict, profile);
    char *text = culprit_of_site_text(verdict, profile, site);
    free(site);
    return text;
}

// "; besides, 11 % of the heap is rounding: 96 % of that, 4.10 MiB, is from record_new (records.c:17)"
static char *second_text(const verdict_t *second, const profile_t *profile)
{
    if (!second->blames)
        return memory_format("%s", "");
    char *who = culprit_text(second, profile);
    char *text = second->cause == CAUSE_LEAK
                     ? memory_format("; besides, it leaks%s", who)
                     : memory_format("; besides, %u %% of the heap, %s, is %s%s",
                                     amount_percent(second->bytes, second->of_bytes), amount_bytes(second->bytes).text,
                                     causes[second->cause].name, who);
    free(who);
    return text;
}

// ", 1.3 s before the end", of a process that was killed; or nothing.
static char *unseen_text(const profile_t *profile, const profile_snapshot_t *snapshot)
{
    uint64_t unseen_ms = profile->duration_ms > snapshot->time_ms ? profile->duration_ms - snapshot->time_ms : 0;
    if (strcmp(profile->ended_by, "unknown") != 0 || unseen_ms < UNSEEN_MS_MIN ||
        amount_percent(unseen_ms, profile->duration_ms) < UNSEEN_PERCENT_MIN)
        return memory_format("%s", "");
    return memory_format(", %.1f s before the end", (double)unseen_ms / 1000);
}

// ", before live bytes fell by 31.50 MiB", of a process whose last snapshot is older than its samples; or nothing.
static char *since_text(const profile_t *profile, const profile_snapshot_t *snapshot)
{
    uint64_t then = snapshot->weighted_bytes, now = profile->weighted_bytes, most = then > now ? then : now;
    uint64_t samples = then > now ? snapshot->live_samples : profile->live_samples;
    if ((strcmp(profile->ended_by, "unknown") != 0 && strcmp(profile->ended_by, "running") != 0) ||
        samples < PROFILE_SAMPLES_FEW || amount_percent(2 * most - then - now, most) < SINCE_PERCENT_MIN)
        return memory_format("%s", "");
    return memory_format(", before live bytes %s by %s", now < then ? "fell" : "rose",
                         amount_bytes(2 * most - then - now).text);
}

// The time that it is about, where that is not the end: "before it tidied up, at 0.4 s: "
static char *when_text(const verdict_t *verdict, const profile_t *profile, const profile_snapshot_t *snapshot)
{
    if (verdict->moment != MOMENT_LAST)
        return memory_format("before it tidied up, at %.1f s: ", (double)snapshot->time_ms / 1000);
    if (profile == NULL)
        return memory_format("%s", "");
    char *unseen = unseen_text(profile, snapshot), *since = since_text(profile, snapshot);
    char *text = *unseen != '\0' || *since != '\0' ? memory_format("as last seen%s%s: ", unseen, since)
                                                  : memory_format("%s", "");
    free(unseen);
    free(since);
    return text;
}

// What a verdict about the heap leaves out, where that is more than the heap: a runtime's own pools, mapped files.
static char *outside_text(const verdict_t *verdict, const balance_t *balance)
{
    unsigned percent = amount_percent(balance->other_rss_bytes, balance->rss_bytes);
    if (verdict->cause == CAUSE_OTHER || percent < HALF_PERCENT)
        return memory_format("%s", "");
    return memory_format("; but %u %% of resident memory, %s, is not the heap's", percent,
                         amount_bytes(balance->other_rss_bytes).text);
}

static void verdict_word(verdict_t *verdict, const verdict_t *second, const profile_t *profile,
                         const profile_snapshot_t *snapshot)
{
    verdict->name = causes[verdict->cause].name;
    verdict->field = causes[verdict->cause].field;
    bool by_class = !verdict->blames && verdict->cause >= CAUSE_ROUNDING && verdict->cause <= CAUSE_TAIL;
    char *cause = cause_text(verdict, snapshot);
    char *who = verdict->blames ? culprit_text(verdict, profile)
                : by_class      ? class_text(snapshot, verdict->cause, verdict->bytes) : memory_format("%s", "");
    char *when = when_text(verdict, profile, snapshot);
    char *besides = second_text(second, profile);
    char *outside = outside_text(verdict, &snapshot->balance);
    char *text = memory_format("%s%s%s%s%s", when, cause, who, besides, outside);
    verdict->text = strings_keep(text);
    free(cause);
    free(who);
    free(when);
    free(besides);
    free(outside);
    free(text);
}

verdict_t verdict_of_snapshot(const profile_snapshot_t *snapshot)
{
    verdict_t verdict = cause_find(&snapshot->balance);
    verdict_word(&verdict, &(verdict_t){0}, NULL, snapshot);
    return verdict;
}

static profile_moment_t moment_find(const profile_t *profile)
{
    const balance_t *last = &profile_snapshot(profile, MOMENT_LAST)->balance;
    const balance_t *peak = &profile_snapshot(profile, MOMENT_PEAK)->balance;
    if (peak->heap_rss_bytes == 0 ||
        amount_percent(last->heap_rss_bytes, peak->heap_rss_bytes) >= TIDIED_UP_PERCENT)
        return MOMENT_LAST;
    const balance_t *worst = &profile_snapshot(profile, MOMENT_WORST)->balance;
    bool holes = cause_find(worst).cause == CAUSE_HOLES &&
                 amount_percent(worst->heap_rss_bytes, peak->heap_rss_bytes) >= TIDIED_UP_PERCENT;
    return holes ? MOMENT_WORST : MOMENT_PEAK;
}

verdict_t verdict_of(const profile_t *profile)
{
    profile_moment_t moment = moment_find(profile);
    const profile_snapshot_t *snapshot = profile_snapshot(profile, moment);
    verdict_t verdict = cause_find(&snapshot->balance);
    verdict.moment = moment;
    if (verdict.cause == CAUSE_HELD)
        leak_find(&verdict, profile);
    blame(&verdict, profile);
    verdict_t second = second_find(&verdict, profile);
    verdict_word(&verdict, &second, profile, snapshot);
    return verdict;
}
