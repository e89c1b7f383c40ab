// pool/block_bits.c - see block_bits.h.
#include "block_bits.h"

#include <assert.h>

#include "os_linux.h"

unsigned harden_level;
size_t harden_tail_bytes;
uint64_t harden_key;
block_bits_table_t block_bits_tables[ZONES_MAX];
uintptr_t block_bits_front[SMALL_ZONES];
uintptr_t harden_quick_mark = HARDEN_NEVER_QUICK;

void block_bits_start(unsigned level)
{
    __atomic_store_n(&harden_level, level, __ATOMIC_RELAXED); // pool_malloc_slow may be reading it
    harden_tail_bytes = level != 0 ? HARDEN_TAIL_BYTES : 0;
    harden_key = level != 0 ? os_random() : 0;
}

// --- the tables ------------------------------------------------------------------------------------------------------

static unsigned words_of(const zone_t *zone)
{
    if (zone->kind >= SMALL_ZONES)
        return 1;
    size_t smallest = zone->kind == 0 ? GRANULE_BYTES : (LOW_CLASSES + 1) * GRANULE_BYTES;
    return (unsigned)((((size_t)1 << zone->shift) / smallest + 63) / 64);
}

static unsigned stride_of(const zone_t *zone)
{
    return zone->kind < SMALL_ZONES ? SMALL_BLOCKS_MAX / 64 : 1;
}

#define PLANES 3u

static size_t plane_bytes(const zone_t *zone)
{
    return align_up((size_t)zone->bound * stride_of(zone) * sizeof(uint64_t), os_page_bytes());
}

static size_t table_bytes(const zone_t *zone)
{
    return PLANES * plane_bytes(zone);
}

static bool table_make_locked(zone_t *zone)
{
    block_bits_table_t *table = &block_bits_tables[zone->index];
    if (table->base != NULL) // two threads wanted it at once
        return true;
    char *base = zone_sides_add(zone, PLANES, stride_of(zone) * sizeof(uint64_t), plane_bytes(zone));
    if (base == NULL)
        return false;
    __atomic_store_n(&table->pages, zone->pages, __ATOMIC_RELAXED);
    __atomic_store_n(&table->plane_words, plane_bytes(zone) / sizeof(uint64_t), __ATOMIC_RELAXED);
    __atomic_store_n(&table->words, words_of(zone), __ATOMIC_RELAXED);
    __atomic_store_n(&table->stride, stride_of(zone), __ATOMIC_RELAXED);
    __atomic_store_n(&table->base, base, __ATOMIC_RELEASE);
    return true;
}

static bool table_make(zone_t *zone)
{
    bool inside = lock_is_mine(&zone_lock);
    if (!inside && !lock_take(&zone_lock))
        return false;
    bool done = table_make_locked(zone);
    if (!inside)
        lock_give(&zone_lock);
    return done;
}

_Static_assert(SMALL_BLOCKS_MAX / 8 == 2 * sizeof(page_t), "block_bits_free_front");

APART void block_bits_tables_start(void)
{
    for (unsigned i = 0; i < SMALL_ZONES; i++) {
        if (!table_make(zone_get(i)))
            return;
        block_bits_front[i] = (uintptr_t)block_bits_tables[i].base - (uintptr_t)zone_get(i)->pages * 2;
    }
    if (harden_level == HARDEN_SHORT)
        __atomic_store_n(&harden_quick_mark, PAGE_MARK, __ATOMIC_RELAXED);
}

// A block that two threads freed at once, the owner as its page's last one, may have left its bit: it would free a block of
// the page's next life. Only looked at where there is none, so that the planes stay untouched.
static void waiting_end(page_t *page)
{
    block_word_t *pending = block_bits_pending(page), *held = block_bits_held(page);
    for (unsigned i = 0; i < block_bits_words(page); i++) {
        if (unlikely(atomic_load_explicit(&pending[i], memory_order_relaxed) != 0))
            atomic_store_explicit(&pending[i], 0, memory_order_relaxed);
        if (unlikely(atomic_load_explicit(&held[i], memory_order_relaxed) != 0))
            atomic_store_explicit(&held[i], 0, memory_order_relaxed);
    }
}

bool block_bits_begin(page_t *page)
{
    zone_t *zone = zone_get(page->zone);
    if (__atomic_load_n(&block_bits_tables[page->zone].base, __ATOMIC_ACQUIRE) == NULL && !table_make(zone))
        return false;
    block_word_t *words = block_bits_free(page);
    for (unsigned i = 0; i < block_bits_words(page); i++)
        atomic_store_explicit(&words[i], 0, memory_order_relaxed);
    waiting_end(page);
    return true;
}

bool block_bits_bounds(unsigned index, char **start, char **end)
{
    if (harden_level == 0 || index >= zone_count())
        return false;
    *start = __atomic_load_n(&block_bits_tables[index].base, __ATOMIC_ACQUIRE);
    *end = *start == NULL ? NULL : *start + table_bytes(zone_get(index));
    return true;
}

// --- carving ---------------------------------------------------------------------------------------------------------

// As block_bits_put of each of the blocks first..end-1.
static void put_all(page_t *page, unsigned first, unsigned end)
{
    block_word_t *words = block_bits_free(page);
    for (unsigned at = first / 64; at * 64 < end; at++) {
        unsigned low = at * 64 < first ? first % 64 : 0, high = (unsigned)size_min(end - at * 64, 64);
        uint64_t bits = bits_mask(high) & ~bits_mask(low);
        atomic_store_explicit(&words[at], atomic_load_explicit(&words[at], memory_order_relaxed) | bits,
                              memory_order_relaxed);
        page->free_words |= (uint64_t)1 << at;
    }
}

APART bool block_bits_carve(page_t *page, uint64_t random)
{
    assert(page->free_words == 0 && page_can_carve(page));
    uint64_t all = bits_mask(page_steps(page)), soiled = page->soiled & ~page->carved & all;
    unsigned step = block_bits_within(soiled != 0 ? soiled : ~(uint64_t)page->carved & all, (unsigned)(random >> 58));
    unsigned first = page_step_first(page, step), end = page_step_first(page, step + 1);
    page->carved |= (uint16_t)(1u << step);
    page->soiled |= (uint16_t)(1u << step);
    page->carved_count += end - first;
    put_all(page, first, end);
    return soiled == 0;
}

void block_bits_forget(page_t *page, unsigned steps)
{
    block_word_t *words = block_bits_free(page);
    for (; steps != 0; steps &= steps - 1) {
        unsigned step = bits_lowest(steps);
        for (unsigned i = page_step_first(page, step); i < page_step_first(page, step + 1); i++)
            atomic_fetch_and_explicit(&words[i / 64], ~block_bits_of(i), memory_order_relaxed);
    }
    page->free_words = 0;
    for (unsigned i = 0; i < block_bits_words(page); i++)
        page->free_words |= (uint64_t)(atomic_load_explicit(&words[i], memory_order_relaxed) != 0) << i;
}

// --- frees by others -------------------------------------------------------------------------------------------------

bool block_bits_free_remote(page_t *page, unsigned index, bool *already)
{
    uint64_t bit = block_bits_of(index), want = REMOTE_QUEUED | (uint64_t)1 << index / 64;
    block_word_t *word = block_bits_pending(page) + index / 64;
    *already = atomic_fetch_or_explicit(word, bit, memory_order_seq_cst) & bit;
    uint64_t old = atomic_load_explicit(&page->remote, memory_order_seq_cst);
    if (*already || (old & want) == want)
        return false;
    while (!atomic_compare_exchange_weak_explicit(&page->remote, &old, old | want, memory_order_seq_cst,
                                                  memory_order_relaxed))
        continue;
    return remote_must_queue(old);
}

unsigned block_bits_collect(page_t *page, uint64_t word, unsigned *twice, unsigned *twice_count)
{
    block_word_t *free = block_bits_free(page), *pending = block_bits_pending(page);
    unsigned count = 0;
    *twice_count = 0;
    for (word &= ~REMOTE_QUEUED; word != 0; word &= word - 1) {
        unsigned at = bits_lowest(word);
        uint64_t taken = atomic_exchange_explicit(&pending[at], 0, memory_order_seq_cst);
        uint64_t before = atomic_load_explicit(&free[at], memory_order_relaxed), both = taken & before;
        if (both != 0)
            *twice = at * 64 + bits_lowest(both);
        *twice_count += bits_count(both);
        count += bits_count(taken & ~before);
        atomic_store_explicit(&free[at], before | taken, memory_order_relaxed);
        page->free_words |= (uint64_t)((before | taken) != 0) << at;
    }
    return count;
}

unsigned block_bits_waiting(const page_t *page)
{
    const block_word_t *words = block_bits_free(page);
    unsigned count = 0;
    for (unsigned i = 0; i < block_bits_words(page); i++)
        count += bits_count(block_bits_elsewhere(page, &words[i]));
    return count;
}

// --- self-help -------------------------------------------------------------------------------------------------------

static bool is_carved(const page_t *page, unsigned index)
{
    return page->carved >> ((size_t)index * page_class(page)->block_bytes >> CARVE_SHIFT) & 1;
}

const char *block_bits_check(const page_t *page)
{
    const block_word_t *words = block_bits_free(page);
    unsigned count = 0;
    for (unsigned i = 0; i < block_bits_words(page); i++)
        if ((atomic_load_explicit(&words[i], memory_order_relaxed) != 0) != (page->free_words >> i & 1))
            return "a page's word of words does not know which of them are 0";
    for (unsigned i = 0; i < 64 * block_bits_words(page); i++) {
        bool free = atomic_load_explicit(&words[i / 64], memory_order_relaxed) >> (i % 64) & 1;
        if (free && (i >= page_class(page)->block_count || !is_carved(page, i)))
            return "a block is free that was never carved";
        count += free;
    }
    if (page_carved_count(page) != page_steps_count(page, page->carved))
        return "the count of carved blocks is not that of the carved steps";
    return page_used(page) + count == page_carved_count(page) ? NULL : "used + free != carved";
}
