// pool/requested.c - see requested.h.
#include "requested.h"

#include "os_linux.h"

static RARE_DATA uint32_t *tables[ZONES_MAX]; // a word for each slot of a zone: as many a page as it can hold blocks

static size_t slots_per_page(const zone_t *zone)
{
    if (zone->kind == 0)
        return SMALL_BLOCKS_MAX;
    return zone->kind < SMALL_ZONES ? HIGH_PAGE_BYTES / (LOW_CLASSES * GRANULE_BYTES) : 64; // medium: 56 blocks at most
}

static size_t table_bytes(const zone_t *zone)
{
    return align_up(zone->bound * slots_per_page(zone) * sizeof(uint32_t), os_page_bytes());
}

static uint32_t *table_get(unsigned index)
{
    return __atomic_load_n(&tables[index], __ATOMIC_ACQUIRE);
}

// A block's page is not begun under the lock, nor is the block noted there.
static APART void table_make(unsigned index)
{
    zone_t *zone = zone_get(index);
    if (!lock_take(&zone_lock))
        return; // and the block is not noted
    if (tables[index] == NULL) { // else two threads wanted it at once
        char *table = zone_sides_add(zone, 1, slots_per_page(zone) * sizeof(uint32_t), table_bytes(zone));
        __atomic_store_n(&tables[index], (uint32_t *)table, __ATOMIC_RELEASE);
    }
    lock_give(&zone_lock);
}

static uint32_t *slot_of(const page_t *page, unsigned index)
{
    zone_t *zone = zone_get(page->zone);
    uint32_t *table = table_get(page->zone);
    return table == NULL ? NULL : &table[(size_t)(page - zone->pages) * slots_per_page(zone) + index];
}

void requested_start(bool exact)
{
    heap_requested_exact = exact;
    heap_one_by_one |= exact;
}

static APART void exact_note(const void *block, size_t size_bytes)
{
    bool exact;
    page_t *page = zone_page_of(block);
    if (table_get(page->zone) == NULL)
        table_make(page->zone);
    uint32_t *slot = slot_of(page, page_block_index(page, block, &exact));
    if (slot != NULL)
        *slot = (uint32_t)size_bytes + 1; // 0: never noted
}

void requested_note(heap_t *heap, unsigned class, const void *block, size_t size_bytes)
{
    if (heap_requested_exact) {
        exact_note(block, size_bytes);
        return;
    }
    size_sample_t *sample = heap_sizes(heap, class);
    uint64_t gap = size_class_table[class].block_bytes - size_bytes;
    if (++sample->count == REQUESTED_NOTED_FIRST && class < CLASS_FIRST_MEDIUM)
        heap->small[class].short_refills = !heap_one_by_one;
    sample->gap += gap;
    sample->gap_square += gap * gap;
}

size_t requested_of(const page_t *page, unsigned index)
{
    const uint32_t *slot = slot_of(page, index);
    return slot == NULL || *slot == 0 ? page_class(page)->block_bytes : *slot - 1;
}

bool requested_bounds(unsigned index, char **start, char **end)
{
    if (index >= zone_count())
        return false;
    *start = (char *)table_get(index);
    *end = *start == NULL ? NULL : *start + table_bytes(zone_get(index));
    return true;
}
