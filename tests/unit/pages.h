// tests/unit/pages.h - pages of the zones in the states in which their owners leave them.
#ifndef TARN_TEST_PAGES_H
#define TARN_TEST_PAGES_H

#include "pool.h"
#include "zone_page.h"

// A class of small blocks, in the first zone, and one of medium blocks.
#define PAGES_SMALL  4u
#define PAGES_MEDIUM (CLASS_FIRST_MEDIUM + 2)

zone_t *pages_zone(const page_t *page);
// Writes to all of its memory.
void pages_touch(const page_t *page);
// As a heap leaves it: everything was used, nothing is.
void pages_dirty(page_t *page);
// A block of a medium page was used, and is free again.
void pages_block_dirty(page_t *page, unsigned index);

#endif
