// pool/zone_sets.c - see zone_sets.h.
#include "zone_sets.h"

#include "budget.h"

// Pages that came back while a fork that did not finish held the lock, linked by page->next. Pushed by anyone, taken whole
// by the next holder of the lock.
static _Atomic page_id_t late_pages;

static void put_late(page_t *page)
{
    page_id_t first = atomic_load_explicit(&late_pages, memory_order_relaxed), id = zone_page_id(page);
    do
        page->next = first;
    while (!atomic_compare_exchange_weak_explicit(&late_pages, &first, id, memory_order_release,
                                                  memory_order_relaxed));
}

// Of a page in a huge region all is resident, whatever its owner knew of.
static void page_soil_all(page_t *page)
{
    if (page_is_small(page)) {
        page->soiled = (uint16_t)bits_mask(page_steps(page));
    } else {
        page->dirty_bits = bits_mask(page_class(page)->block_count);
        page->clean_bits = 0;
    }
}

void zone_sets_put(page_t *page)
{
    zone_t *zone = &zones[page->zone];
    uint32_t index = (uint32_t)(page - zone->pages);
    if (unlikely(zone->huge.backed != 0) && huge_state(&zone->huge, index >> zone_region_shift(zone)) == HUGE_RESIDENT)
        page_soil_all(page);
    size_t dirty_bytes = page_dirty_bytes(page);
    bitset_add(dirty_bytes != 0 ? &zone->dirty : &zone->clean, index);
    budget_retain(dirty_bytes);
    if (unlikely(zone->huge.backed != 0))
        huge_note_free(&zone->huge, index >> zone_region_shift(zone), dirty_bytes);
}

bool zone_sets_lock(void)
{
    if (!lock_take(&zone_lock))
        return false;
    if (likely(atomic_load_explicit(&late_pages, memory_order_relaxed) == 0))
        return true;
    page_id_t id = atomic_exchange_explicit(&late_pages, 0, memory_order_acquire);
    for (page_t *page; id != 0; zone_sets_put(page)) {
        page = zone_page_by_id(id);
        id = page->next;
    }
    return true;
}

void zone_sets_return(page_t *page, bool locked)
{
    if (locked)
        zone_sets_put(page);
    else
        put_late(page);
}

void zone_sets_remove_dirty(zone_t *zone, uint32_t index)
{
    size_t bytes = page_dirty_bytes(&zone->pages[index]);
    bitset_remove(&zone->dirty, index);
    budget_release(bytes);
    if (unlikely(zone->huge.backed != 0))
        huge_note_taken(&zone->huge, index >> zone_region_shift(zone), bytes);
}
