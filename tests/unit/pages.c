// tests/unit/pages.c - see pages.h.
#include "pages.h"

#include <string.h>

zone_t *pages_zone(const page_t *page)
{
    return zone_get(page->zone);
}

void pages_touch(const page_t *page)
{
    memset(page->start, 0x5a, page_class(page)->page_bytes);
}

void pages_dirty(page_t *page)
{
    pages_touch(page);
    if (page_is_small(page)) {
        while (page_can_carve(page)) {
            page->list = NULL;
            page_carve(page);
        }
    } else {
        page->dirty_bits |= page->clean_bits;
        page->clean_bits = 0;
    }
}

void pages_block_dirty(page_t *page, unsigned index)
{
    page->dirty_bits |= (uint64_t)1 << index;
    page->clean_bits &= ~((uint64_t)1 << index);
    memset(page_block(page, index), 0x5a, page_class(page)->block_bytes);
}
