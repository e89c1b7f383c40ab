// pool/survey_sums.c - see survey_sums.h.
#include "survey_sums.h"

#include "block_bits.h"
#include "mosaic.h"
#include "remote.h"
#include "requested.h"

// --- lists -----------------------------------------------------------------------------------------------------------

static bool is_block_of(page_t *page, const block_t *block, unsigned class)
{
    bool exact;
    if (page_is_mosaic(page))
        return true;
    page_block_index(page, block, &exact);
    return exact && page->class == class;
}

// Blocks of the class on a list, of one page; NULL: of any. Another thread may be changing it: every link is checked.
static unsigned list_count(const block_t *list, page_t *page, unsigned class)
{
    unsigned count = 0;
    for (const block_t *block = list; block != NULL; block = block->next) {
        page_t *at = zone_page_of(block);
        if (at == NULL || (page != NULL && at != page) || !is_block_of(at, block, class) ||
            ++count > size_class_table[class].block_count)
            break;
    }
    return count;
}

head_kind_t survey_head_kind(const heap_t *heap, unsigned class)
{
    const page_t *page = heap->small[class].head_page;
    if (page == NULL)
        return HEAD_BORROWED;
    return page == heap->small[class].current ? HEAD_OWN : HEAD_MOSAIC;
}

unsigned survey_head_count(const heap_t *heap, unsigned class)
{
    const block_t *list = heap->head[class];
    return list == NULL ? 0 : list_count(list, heap->small[class].head_page, class);
}

// --- bytes by cause --------------------------------------------------------------------------------------------------

static void small_sums(page_t *page, heap_t *owner, page_sums_t *sums)
{
    const size_class_t *class = &size_class_table[sums->class];
    uint64_t block_bytes = class->block_bytes, carved = size_min(page_carved_count(page), class->block_count);
    bool has_head = page->place == PAGE_CURRENT && owner->small[sums->class].head_page == page;
    uint64_t heads = has_head ? survey_head_count(owner, sums->class) : 0;
    uint64_t used = size_min(page_used(page), carved);
    uint64_t waiting = unlikely(harden_level != 0) ? block_bits_waiting(page) : remote_pending(page);
    sums->pending = size_min(waiting, used);
    sums->live = used - sums->pending - size_min(heads, used - sums->pending);
    sums->free_blocks = carved - sums->live - sums->pending;
    sums->holes = sums->free_blocks * block_bytes;
    sums->pending_bytes = sums->pending * block_bytes;
    uint64_t carved_bytes = carved * block_bytes;
    uint64_t tail = class->page_bytes - class->block_count * block_bytes;
    if (sums->resident >= carved_bytes) {
        sums->tail = size_min(sums->resident - carved_bytes, tail);
        sums->holes += sums->resident - carved_bytes - sums->tail;
        return;
    }
    uint64_t missing = carved_bytes - sums->resident, from_live = size_min(missing, sums->live * block_bytes);
    sums->untouched = from_live;
    missing -= from_live;
    uint64_t from_holes = size_min(missing, sums->holes);
    sums->holes -= from_holes;
    sums->pending_bytes -= missing - from_holes;
}

// pending: a bit for each block that others have freed, or a level holds; free ones count as free.
static void medium_blocks(page_t *page, residency_t *residency, uintptr_t most, uint64_t pending, page_sums_t *sums)
{
    const size_class_t *class = &size_class_table[sums->class];
    uint64_t free = page_free_bits(page);
    for (unsigned i = 0; i < class->block_count; i++) {
        uintptr_t start = (uintptr_t)page->start + (size_t)i * class->block_bytes;
        size_t resident = residency_bytes(residency, start, start + class->block_bytes, most);
        if (free >> i & 1) {
            sums->free_blocks++;
            sums->holes += resident;
        } else if (pending >> i & 1) {
            sums->pending++;
            sums->pending_bytes += resident;
        } else {
            sums->live++;
            sums->untouched += class->block_bytes - resident;
        }
    }
}

// The same of a page all of whose blocks are resident, as most are: half of a survey went from block to block.
static void medium_blocks_resident(const page_t *page, uint64_t pending, page_sums_t *sums)
{
    const size_class_t *class = &size_class_table[sums->class];
    uint64_t all = bits_mask(class->block_count), free = page_free_bits(page) & all;
    sums->free_blocks = bits_count(free);
    sums->pending = bits_count(pending & all & ~free);
    sums->live = class->block_count - sums->free_blocks - sums->pending;
    sums->holes = sums->free_blocks * class->block_bytes;
    sums->pending_bytes = sums->pending * class->block_bytes;
}

static void medium_sums(page_t *page, residency_t *residency, uintptr_t most, page_sums_t *sums)
{
    const size_class_t *class = &size_class_table[sums->class];
    uintptr_t start = (uintptr_t)page->start, tail = start + (size_t)class->block_count * class->block_bytes;
    uint64_t pending = atomic_load_explicit(&page->remote, memory_order_relaxed);
    if (unlikely(harden_level != 0))
        pending |= atomic_load_explicit(block_bits_held(page), memory_order_relaxed);
    if (residency_has(residency, start, tail))
        medium_blocks_resident(page, pending, sums);
    else
        medium_blocks(page, residency, most, pending, sums);
    sums->tail = residency_bytes(residency, tail, start + class->page_bytes, most);
    // What the parts have, and not what the page had a moment before: other threads touch memory meanwhile.
    uint64_t live_bytes = sums->live * class->block_bytes - sums->untouched;
    sums->resident = live_bytes + sums->holes + sums->pending_bytes + sums->tail;
}

// --- exact sizes -----------------------------------------------------------------------------------------------------

// Which blocks of a small page are not live: a bit each.
typedef struct block_bits {
    uint64_t word[SMALL_BLOCKS_MAX / 64];
} dead_bits_t;

static void bits_add_list(dead_bits_t *bits, const page_t *page, const block_t *list)
{
    unsigned most = page_class(page)->block_count;
    for (bool exact; list != NULL && most-- > 0; list = list->next) {
        page_t *at = zone_page_of(list);
        if (at == NULL)
            return;
        if (at != page) // in the ring there are others
            continue;
        unsigned index = page_block_index(page, list, &exact);
        if (!exact)
            return;
        bits->word[index / 64] |= (uint64_t)1 << (index % 64);
    }
}

static void bits_add_rings(dead_bits_t *bits, const page_t *page)
{
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        bits_add_list(bits, page, heap_ring_slot(heap, page->class)->first);
}

static void bits_add_freed(dead_bits_t *bits, const page_t *page)
{
    for (unsigned i = 0; i < page_class(page)->block_count; i++)
        bits->word[i / 64] |= (uint64_t)block_bits_is_freed(page, i) << (i % 64);
}

static void bits_add_all(dead_bits_t *bits, page_t *page, heap_t *owner)
{
    bits_add_list(bits, page, page->list);
    bits_add_list(bits, page, remote_first(atomic_load_explicit(&page->remote, memory_order_relaxed)));
    bits_add_list(bits, page, page->place == PAGE_CURRENT ? owner->head[page->class] : NULL);
    bits_add_rings(bits, page);
}

static uint64_t small_requested(page_t *page, heap_t *owner)
{
    dead_bits_t dead = {0};
    uint64_t requested = 0;
    if (harden_level != 0)
        bits_add_freed(&dead, page);
    else
        bits_add_all(&dead, page, owner);
    for (unsigned step = 0; step < page_steps(page); step++)
        for (unsigned i = page_step_first(page, step); i < page_step_first(page, step + 1); i++)
            if (page->carved >> step & 1 && !(dead.word[i / 64] >> (i % 64) & 1))
                requested += requested_of(page, i);
    return requested;
}

static uint64_t medium_requested(page_t *page)
{
    uint64_t live = bits_mask(page_class(page)->block_count) & ~page_free_bits(page) &
                    ~atomic_load_explicit(&page->remote, memory_order_relaxed);
    if (unlikely(harden_level != 0))
        live &= ~atomic_load_explicit(block_bits_held(page), memory_order_relaxed);
    uint64_t requested = 0;
    for (; live != 0; live &= live - 1)
        requested += requested_of(page, bits_lowest(live));
    return requested;
}

// --- both ------------------------------------------------------------------------------------------------------------

void survey_page_sums(page_t *page, heap_t *owner, residency_t *residency, uintptr_t most, page_sums_t *sums)
{
    bool small = sums->class <= SMALL_CLASSES;
    if (small) {
        uintptr_t start = (uintptr_t)page->start;
        sums->resident = residency_bytes(residency, start, start + size_class_table[sums->class].page_bytes, most);
        small_sums(page, owner, sums);
    } else {
        medium_sums(page, residency, most, sums);
    }
    if (heap_requested_exact)
        sums->requested = small ? small_requested(page, owner) : medium_requested(page);
}
