// pool/sample.c - see sample.h; the part that heaps see is declared in heap.h.
#include "sample.h"

#include <stdatomic.h>

#include "heap.h"
#include "os_linux.h"

size_t heap_sample_bytes;

static uint64_t start_seed;
static _Atomic uint64_t heaps_begun; // each heap has a stream of its own

// --- chance ----------------------------------------------------------------------------------------------------------

// Steele, Lea and Flood's SplitMix64: any state will do.
uint64_t sample_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// Von Neumann's way to exponential variates, which needs no logarithm (and so no libm): the first of a falling run of
// odd length is one between 0 and 1; each run of even length before it adds 1.
double sample_gap(uint64_t *state)
{
    for (double whole = 0;; whole++) {
        uint64_t first = sample_random(state), last = first, next;
        unsigned length = 1;
        for (; (next = sample_random(state)) < last; last = next)
            length++;
        if (length % 2 == 1)
            return whole + (double)first * 0x1p-64;
    }
}

// 1 - exp(-x), by 1 - exp(-2 y) = q * (2 - q) with q = 1 - exp(-y): nothing cancels, however small x is.
static RARE double hit_chance(double x)
{
    const double largest = 40; // 1 - exp(-40) is 1 in a double
    const double smallest = 0x1p-10; // there the fourth term of the series is 1e-13 of the sum
    if (x > largest)
        return 1;
    if (x < smallest)
        return x * (1 - x / 2 * (1 - x / 3 * (1 - x / 4)));
    double half = hit_chance(x / 2);
    return half * (2 - half);
}

uint64_t sample_weight(size_t block_bytes, size_t rate_bytes)
{
    return (uint64_t)((double)SAMPLE_BLOCK / hit_chance((double)block_bytes / (double)rate_bytes) + 0.5);
}

// --- the table -------------------------------------------------------------------------------------------------------
//
// Open addressing, linear probing, at most half full. A key is a block's address, and its value the sample's number; or
// a descriptor's address with bit 0 set, and its value how many sampled blocks the page holds. A removal moves entries
// back; `version` is odd meanwhile, and who has looked for a key in vain looks whether it has changed. A table that has
// become too small stays mapped, since somebody may be reading it: together they are as large as the last one.

#define TABLE_ENTRIES_FIRST 256u // a page of 4 KiB
#define TABLES_MAX 32u           // each is twice as large as the one before

typedef struct entry {
    _Atomic uintptr_t key; // 0: none
    _Atomic uint32_t value;
} entry_t;

typedef struct table_range {
    char *start, *end;
} table_range_t;

static lock_t table_lock = {.rank = LOCK_SAMPLES};
static _Atomic(entry_t *) table_entries; // [table] written: release, after the mask
static _Atomic size_t table_mask;        // [table]
static _Atomic uint32_t version;         // [table] odd: entries are on the move
static _Atomic size_t table_count;       // [table] keys
_Atomic unsigned sample_table_count; // [table] written: release
static table_range_t table_ranges[TABLES_MAX]; // [table] all there ever were, for the survey
_Atomic uint8_t sample_crowds[SAMPLE_CROWDS]; // [table]
bool sample_marks_are_stale;

static uintptr_t page_key(const page_t *page)
{
    return (uintptr_t)page | 1;
}

static size_t key_place(uintptr_t key, size_t mask)
{
    return (size_t)sample_hash(key ^ (key & 1) << GRANULE_SHIFT) & mask; // bit 0 counts, too: see page_key
}

// NULL: not there.
static entry_t *entry_find(entry_t *entries, size_t mask, uintptr_t key)
{
    if (entries == NULL)
        return NULL;
    for (size_t at = key_place(key, mask);; at = (at + 1) & mask) {
        uintptr_t found = atomic_load_explicit(&entries[at].key, memory_order_acquire);
        if (found == key)
            return &entries[at];
        if (found == 0)
            return NULL;
    }
}

static entry_t *entry_find_locked(uintptr_t key)
{
    return entry_find(atomic_load_explicit(&table_entries, memory_order_relaxed),
                      atomic_load_explicit(&table_mask, memory_order_relaxed), key);
}

static void entry_set(entry_t *entries, size_t mask, uintptr_t key, uint32_t value)
{
    size_t at = key_place(key, mask);
    while (atomic_load_explicit(&entries[at].key, memory_order_relaxed) != 0)
        at = (at + 1) & mask;
    atomic_store_explicit(&entries[at].value, value, memory_order_relaxed);
    atomic_store_explicit(&entries[at].key, key, memory_order_release);
}

static void version_step(void)
{
    atomic_fetch_add_explicit(&version, 1, memory_order_seq_cst);
}

static bool table_grow(void)
{
    entry_t *old = atomic_load_explicit(&table_entries, memory_order_relaxed);
    size_t old_mask = atomic_load_explicit(&table_mask, memory_order_relaxed);
    size_t count = old == NULL ? TABLE_ENTRIES_FIRST : (old_mask + 1) * 2;
    size_t bytes = align_up(count * sizeof(entry_t), os_page_bytes());
    unsigned index = atomic_load_explicit(&sample_table_count, memory_order_relaxed);
    entry_t *entries = index == TABLES_MAX ? NULL : os_map(bytes, os_page_bytes());
    if (entries == NULL)
        return false;
    os_name(entries, bytes, "tarn metadata");
    table_ranges[index] = (table_range_t){(char *)entries, (char *)entries + bytes};
    atomic_store_explicit(&sample_table_count, index + 1, memory_order_release);
    __atomic_store_n(&harden_quick_mark, HARDEN_NEVER_QUICK, __ATOMIC_RELAXED); // from now on each is looked up
    for (size_t i = 0; old != NULL && i <= old_mask; i++) {
        uintptr_t key = atomic_load_explicit(&old[i].key, memory_order_relaxed);
        if (key != 0)
            entry_set(entries, count - 1, key, atomic_load_explicit(&old[i].value, memory_order_relaxed));
    }
    version_step(); // who reads the new mask with the old table would leave it
    atomic_store_explicit(&table_entries, entries, memory_order_release);
    atomic_store_explicit(&table_mask, count - 1, memory_order_release);
    version_step();
    return true;
}

static bool entry_add(uintptr_t key, uint32_t value)
{
    size_t count = atomic_load_explicit(&table_count, memory_order_relaxed);
    entry_t *entries = atomic_load_explicit(&table_entries, memory_order_relaxed);
    size_t mask = atomic_load_explicit(&table_mask, memory_order_relaxed);
    if ((entries == NULL || count > mask / 2) && !table_grow())
        return false;
    entry_set(atomic_load_explicit(&table_entries, memory_order_relaxed),
              atomic_load_explicit(&table_mask, memory_order_relaxed), key, value);
    atomic_store_explicit(&table_count, count + 1, memory_order_relaxed);
    return true;
}

// The entries behind it move up, so that no probe ends before its key.
static void entry_remove(entry_t *entry)
{
    entry_t *entries = atomic_load_explicit(&table_entries, memory_order_relaxed);
    size_t mask = atomic_load_explicit(&table_mask, memory_order_relaxed);
    size_t hole = (size_t)(entry - entries);
    version_step();
    for (size_t at = (hole + 1) & mask;; at = (at + 1) & mask) {
        uintptr_t key = atomic_load_explicit(&entries[at].key, memory_order_relaxed);
        if (key == 0)
            break;
        if (((at - key_place(key, mask)) & mask) < ((at - hole) & mask))
            continue; // it would come to stand before its place
        uint32_t value = atomic_load_explicit(&entries[at].value, memory_order_relaxed);
        atomic_store_explicit(&entries[hole].value, value, memory_order_relaxed);
        atomic_store_explicit(&entries[hole].key, key, memory_order_release);
        hole = at;
    }
    atomic_store_explicit(&entries[hole].key, 0, memory_order_release);
    version_step();
    atomic_fetch_sub_explicit(&table_count, 1, memory_order_relaxed);
}

// False in a signal handler that interrupted its holder, too.
static bool table_lock_take(void)
{
    return !lock_is_mine(&table_lock) && lock_take(&table_lock);
}

static uint32_t find_under_lock(uintptr_t key)
{
    if (!table_lock_take())
        return 0;
    entry_t *entry = entry_find_locked(key);
    uint32_t value = entry == NULL ? 0 : atomic_load_explicit(&entry->value, memory_order_relaxed);
    lock_give(&table_lock);
    return value;
}

// A mask without its table, or a table without its mask: the smaller of two masks is safe with either table, and the
// version tells that it was so.
static uint32_t find(uintptr_t key)
{
    uint32_t before = atomic_load_explicit(&version, memory_order_acquire);
    size_t mask = atomic_load_explicit(&table_mask, memory_order_acquire);
    entry_t *entries = atomic_load_explicit(&table_entries, memory_order_acquire);
    if (unlikely(before % 2 != 0))
        return find_under_lock(key);
    entry_t *entry = entry_find(entries, mask, key);
    uint32_t value = entry == NULL ? 0 : atomic_load_explicit(&entry->value, memory_order_acquire);
    if (unlikely(atomic_load_explicit(&version, memory_order_acquire) != before))
        return find_under_lock(key);
    return value;
}

#define CROWD_MOST UINT8_MAX

static void crowd_gain(const void *block)
{
    uint8_t count = atomic_load_explicit(sample_crowd(block), memory_order_relaxed);
    if (count < CROWD_MOST)
        atomic_store_explicit(sample_crowd(block), count + 1, memory_order_relaxed);
}

static void crowd_lose(const void *block)
{
    uint8_t count = atomic_load_explicit(sample_crowd(block), memory_order_relaxed);
    if (count < CROWD_MOST)
        atomic_store_explicit(sample_crowd(block), count - 1, memory_order_relaxed);
}

uint32_t sample_find(const void *block)
{
    return sample_may_be(block) ? find((uintptr_t)block) : 0;
}

// --- marks -----------------------------------------------------------------------------------------------------------

static bool page_gains(page_t *page)
{
    entry_t *entry = entry_find_locked(page_key(page));
    if (entry != NULL) {
        atomic_fetch_add_explicit(&entry->value, 1, memory_order_relaxed);
        return true;
    }
    if (!entry_add(page_key(page), 1))
        return false;
    page_mark(page);
    return true;
}

static void page_loses(page_t *page)
{
    entry_t *entry = entry_find_locked(page_key(page));
    if (entry == NULL || atomic_fetch_sub_explicit(&entry->value, 1, memory_order_relaxed) > 1)
        return;
    entry_remove(entry);
    if (harden_level == 0)
        page_unmark(page);
}

// A child of fork has marks of its parent's samples; each goes with the page's first free.
void heap_sample_unmark_stale(page_t *page)
{
    if (unlikely(sample_marks_are_stale) && harden_level == 0 && find(page_key(page)) == 0)
        page_unmark(page);
}

// --- births and deaths -----------------------------------------------------------------------------------------------

static bool insert(const void *block, uint32_t number, page_t *page)
{
    if (!table_lock_take())
        return false;
    bool done = entry_find_locked((uintptr_t)block) == NULL && entry_add((uintptr_t)block, number);
    if (done && page != NULL && !page_gains(page)) {
        entry_remove(entry_find_locked((uintptr_t)block));
        done = false;
    }
    if (done)
        crowd_gain(block);
    lock_give(&table_lock);
    return done;
}

static uint32_t take_out(const void *block)
{
    if (!table_lock_take())
        return 0;
    entry_t *entry = entry_find_locked((uintptr_t)block);
    uint32_t number = entry == NULL ? 0 : atomic_load_explicit(&entry->value, memory_order_relaxed);
    if (entry != NULL) {
        entry_remove(entry);
        crowd_lose(block);
        page_t *page = zone_page_of(block);
        if (page != NULL)
            page_loses(page);
    }
    lock_give(&table_lock);
    return number;
}

static void born(const sample_t *sample, page_t *page)
{
    uint32_t number = sample_hook_birth ? sample_hook_birth(sample) : 0;
    if (number != 0 && !insert(sample->block, number, page))
        sample_hook_death(number, sample->block);
}

void heap_sample_dies(const void *block)
{
    uint32_t number = sample_find(block) == 0 ? 0 : take_out(block);
    if (number != 0 && sample_hook_death)
        sample_hook_death(number, block);
}

bool sample_forget(const void *block)
{
    return take_out(block) != 0;
}

// --- gaps ------------------------------------------------------------------------------------------------------------

static uint32_t gap_blocks(sample_gaps_t *gaps, unsigned class)
{
    double blocks = sample_gap(&gaps->random) * (double)gaps->rate_bytes / size_class_table[class].block_bytes;
    return blocks < UINT32_MAX ? (uint32_t)blocks : UINT32_MAX;
}

static uint64_t gap_large(sample_gaps_t *gaps)
{
    return (uint64_t)(sample_gap(&gaps->random) * (double)gaps->rate_bytes);
}

static void gap_draw(heap_t *heap, unsigned class)
{
    sample_gaps_t *gaps = &heap->gaps;
    if (class == 0) {
        gaps->large_bytes = gap_large(gaps);
    } else if (class >= CLASS_FIRST_MEDIUM) {
        medium_bin_t *bin = &heap->medium[class - CLASS_FIRST_MEDIUM];
        gaps->medium_at[class - CLASS_FIRST_MEDIUM] = heap_medium_handed(bin) + gap_blocks(gaps, class) + 1;
        heap_medium_arm(heap, class);
    } else {
        gaps->small_at[class] = heap->small[class].handed + gap_blocks(gaps, class) + 1;
    }
}

// A new rate may begin at any moment that does not depend on the gaps: they have no memory.
static void gaps_draw(heap_t *heap)
{
    heap->gaps.rate_bytes = heap_sample_bytes;
    for (unsigned class = 0; class < CLASS_COUNT; class++)
        gap_draw(heap, class);
}

void heap_sample_begin(heap_t *heap)
{
    if (heap->gaps.rate_bytes != 0)
        return; // it was another thread's
    uint64_t number = atomic_fetch_add_explicit(&heaps_begun, 1, memory_order_relaxed);
    heap->gaps.random = start_seed + number * 0xd1342543de82ef95u;
    gaps_draw(heap);
}

// The class's next block is sampled. It keeps the rate that its gap was drawn for.
static void gap_ends(heap_t *heap, unsigned class)
{
    heap->gaps.due_bytes = heap->gaps.rate_bytes;
    if (unlikely(heap->gaps.rate_bytes != heap_sample_bytes && heap_sample_bytes != 0))
        gaps_draw(heap);
    else
        gap_draw(heap, class);
}

unsigned heap_sample_cut(heap_t *heap, unsigned class, unsigned count)
{
    uint64_t *sampled_at = &heap->gaps.small_at[class], handed = heap->small[class].handed;
    if (*sampled_at == handed + 1) {
        gap_ends(heap, class);
        ++*sampled_at; // the gap begins behind the block that is not counted yet
    }
    uint64_t before = *sampled_at - handed - 1;
    return before < count ? (unsigned)before : count;
}

void heap_sample_medium(heap_t *heap, unsigned class)
{
    gap_ends(heap, class);
}

void heap_sample_block(heap_t *heap, unsigned class, void *block, size_t size_bytes)
{
    size_t block_bytes = size_class_table[class].block_bytes;
    sample_t sample = {.block = block, .requested_bytes = size_bytes, .block_bytes = block_bytes, .class = class,
                       .weight = sample_weight(block_bytes, heap->gaps.due_bytes)};
    heap->gaps.due_bytes = 0;
    if (heap_sample_bytes != 0)
        born(&sample, zone_page_of(block));
}

// --- large blocks ----------------------------------------------------------------------------------------------------

// Whether a point falls into the next `bytes`.
static bool large_is_hit(heap_t *heap, size_t bytes)
{
    if (bytes <= heap->gaps.large_bytes) {
        heap->gaps.large_bytes -= bytes;
        return false;
    }
    gap_ends(heap, 0);
    return true;
}

static size_t large_bytes(size_t size_bytes)
{
    return align_up(size_max(size_bytes, 1), os_page_bytes());
}

static sample_t large_sample(const void *block, size_t size_bytes, size_t rate_bytes)
{
    size_t bytes = large_bytes(size_bytes);
    return (sample_t){.block = block, .requested_bytes = size_bytes, .block_bytes = bytes,
                      .weight = sample_weight(bytes, rate_bytes)};
}

static void large_born(heap_t *heap, void *block, size_t size_bytes, size_t new_bytes)
{
    if (heap == &heap_none || heap->gaps.rate_bytes == 0 || heap_sample_bytes == 0 || !large_is_hit(heap, new_bytes))
        return;
    sample_t sample = large_sample(block, size_bytes, heap->gaps.due_bytes);
    heap->gaps.due_bytes = 0;
    born(&sample, NULL);
}

void heap_sample_large(heap_t *heap, void *block, size_t size_bytes)
{
    large_born(heap, block, size_bytes, large_bytes(size_bytes));
}

// Taken out of the table while realloc is at work: the old address may be another's before it returns.
uint32_t heap_sample_hold(const void *block)
{
    return sample_find(block) == 0 ? 0 : take_out(block);
}

void heap_sample_unhold(uint32_t number, const void *block)
{
    if (!insert(block, number, NULL))
        sample_hook_death(number, block);
}

// It stays the sample that it is, under its new address and with the chance that its new size has.
static void large_resampled(uint32_t number, const void *old_block, const sample_t *sample)
{
    if (!insert(sample->block, number, NULL))
        sample_hook_death(number, old_block);
    else if (sample_hook_resize)
        sample_hook_resize(number, old_block, sample);
}

// A block that grows by less than its size is as likely to be sampled afterwards as one that began so long, if points
// are looked for in what it gained, and its stack stays that of its birth: a vector that grows by small steps would
// else be unwound at each. Any other change counts as a free and a new block.
void heap_sample_resized(heap_t *heap, uint32_t number, void *old_block, size_t old_bytes, void *block,
                         size_t size_bytes)
{
    size_t bytes = large_bytes(size_bytes);
    size_t rate_bytes = heap->gaps.rate_bytes != 0 ? heap->gaps.rate_bytes : heap_sample_bytes;
    bool anew = bytes < old_bytes || bytes / 2 >= old_bytes || rate_bytes == 0;
    if (number != 0 && !anew) {
        sample_t sample = large_sample(block, size_bytes, rate_bytes);
        large_resampled(number, old_block, &sample);
        return;
    }
    if (number != 0 && sample_hook_death)
        sample_hook_death(number, old_block);
    if (anew || bytes > old_bytes)
        large_born(heap, block, size_bytes, anew ? bytes : bytes - old_bytes);
}

void sample_bounds(unsigned index, char **start, char **end)
{
    *start = table_ranges[index].start;
    *end = table_ranges[index].end;
}

// --- start, fork -----------------------------------------------------------------------------------------------------

void sample_start(size_t rate_bytes, uint64_t seed)
{
    start_seed = seed != 0 ? seed : os_random(); // asks the kernel itself: a sanitizer's clock may not be ready yet
    heap_sample_bytes = rate_bytes;
}

void sample_rate_set(size_t rate_bytes)
{
    __atomic_store_n(&heap_sample_bytes, rate_bytes, __ATOMIC_RELAXED);
}

void sample_fork_child(void)
{
    sample_marks_are_stale |= atomic_load_explicit(&table_count, memory_order_relaxed) != 0;
    atomic_store_explicit(&table_entries, NULL, memory_order_relaxed);
    atomic_store_explicit(&table_mask, 0, memory_order_relaxed);
    atomic_store_explicit(&table_count, 0, memory_order_relaxed);
    atomic_store_explicit(&version, 0, memory_order_relaxed);
    table_lock = (lock_t){.rank = LOCK_SAMPLES};
    sample_rate_set(0);
}
