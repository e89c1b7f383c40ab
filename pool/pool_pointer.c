// pool/pool_pointer.c - see pool_pointer.h.
#include "pool_pointer.h"

#include "mosaic.h"
#include "reserve.h"
#include "trap.h"

// Of a medium page: what is freed, and held back.
static uint64_t held_bits(const page_t *page)
{
    return likely(harden_level == 0) ? 0 : atomic_load_explicit(block_bits_held(page), memory_order_relaxed);
}

// Free list, carve steps and free bits are read while their owner writes them. What is asked of them is whether this one block is
// free. It is live, unless the caller is wrong; of a live block neither its bit nor its carve step changes, and it is not on the list.
GLANCES const char *pool_pointer_wrong(page_t *page, const void *address, unsigned *index)
{
    if (page->class == 0)
        return "not from this heap";
    if (page_owner(page) == NULL) {
        const char *wrong = "double free, or never allocated";
        if (page_is_mosaic(page))
            mosaic_block_bytes(page, address, &wrong);
        return wrong;
    }
    bool exact;
    *index = page_block_index(page, address, &exact);
    if (!exact)
        return "not the start of a block";
    if (!page_is_small(page))
        return (page_free_bits(page) | atomic_load_explicit(&page->remote, memory_order_relaxed) | held_bits(page)) >> *index & 1
                   ? "double free"
                   : NULL;
    bool carved = page->carved >> ((const char *)address - page->start) / CARVE_BYTES & 1;
    if (!carved)
        return "double free, or never allocated";
    if (unlikely(harden_level != 0))
        return block_bits_is_freed(page, *index) ? "double free" : NULL;
    return page->list == address ? "double free" : NULL;
}

const void *pool_block_start(const void *address)
{
    bool exact;
    page_t *page = zone_page_of(address);
    if (page == NULL || page->class == 0 || page_is_mosaic(page))
        return address;
    return page_block(page, page_block_index(page, address, &exact));
}

size_t pool_pointer_block_bytes(page_t *page)
{
    return page->class == 0 || page_is_mosaic(page) ? 0 : page_class(page)->block_bytes - harden_tail_bytes;
}

void pool_pointer_tell_trap(const char *function, const void *address, const char *wrong)
{
    trap_report_t report;
    misuse_tell(function, address, wrong, trap_explain(address, &report) ? report.size_bytes : 0);
}

// Level 1: usable bytes of a live small block of the calling thread's. 0: it may be any other.
static HARDENED size_t usable_own(const void *block, page_t **page_out)
{
    page_t *page = *page_out = zone_page_of_first(block);
    if (unlikely(page == NULL || !heap_harden_is_own(page_owner_word(page)) || !page_is_small(page)))
        return 0;
    const size_class_t *class = page_class(page);
    size_t offset = (size_t)((const char *)block - page->start);
    unsigned index = size_class_index_exact(class, offset);
    if (unlikely(index >= class->block_count || !(page->carved >> (offset >> CARVE_SHIFT) & 1) ||
                 block_bits_is_freed(page, index)))
        return 0;
    return class->block_bytes - HARDEN_TAIL_BYTES;
}

size_t pool_pointer_usable(const char *function, void *block, page_t **page)
{
    unsigned index;
    size_t own_bytes = unlikely(pool_draws()) ? usable_own(block, page) : 0;
    if (own_bytes != 0)
        return own_bytes;
    *page = zone_page_of(block);
    if (*page != NULL) {
        const char *wrong = NULL;
        size_t block_bytes = page_is_mosaic(*page) ? mosaic_block_bytes(*page, block, &wrong) : 0;
        if (block_bytes == 0 && wrong == NULL) {
            block_bytes = page_class(*page)->block_bytes - harden_tail_bytes; // of before, if it is becoming a mosaic
            wrong = pool_pointer_wrong(*page, block, &index);
        }
        if (wrong == NULL)
            return block_bytes;
        misuse_tell(function, block, wrong[0] == 'd' ? "not a live block" : wrong, pool_pointer_block_bytes(*page));
        return 0;
    }
    size_t bytes = 0;
    if (trap_has(block)) {
        const char *wrong;
        bytes = trap_usable(block, &wrong);
        if (wrong != NULL)
            pool_pointer_tell_trap(function, block, wrong[0] == 'd' ? "not a live block" : wrong);
        return bytes;
    }
    if (reserve_has(block)) {
        bytes = reserve_usable(block);
        if (bytes == 0)
            misuse_tell(function, block, "not a live block", 0);
        return bytes;
    }
    large_result_t result = large_usable(block, &bytes);
    if (result == LARGE_BUSY) // a fork does not finish; a live block's node changes at its holder's hands only
        return large_usable_unlocked(block);
    if (result == LARGE_DONE || (result == LARGE_FOREIGN && pool_hook_foreign && pool_hook_foreign(function, block)))
        return bytes;
    const char *wrong = result == LARGE_INTERIOR ? "not the start of a block" : "not a live block";
    misuse_tell(function, block, result == LARGE_FOREIGN ? "not from this heap" : wrong, 0);
    return 0;
}

size_t pool_usable_size(void *block)
{
    page_t *page;
    size_t bytes = pool_pointer_glance(block, &page);
    if (unlikely(bytes == 0) && block != NULL)
        bytes = pool_pointer_usable("malloc_usable_size", block, &page);
    return bytes;
}
