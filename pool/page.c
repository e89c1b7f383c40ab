// pool/page.c - see page.h.
#include "page.h"

#include <assert.h>

unsigned page_block_index(const page_t *page, const void *address, bool *exact)
{
    const size_class_t *class = page_class(page);
    size_t offset = (size_t)((const char *)address - page->start);
    unsigned index = size_class_index(class, offset);
    *exact = (size_t)index * class->block_bytes == offset && index < class->block_count;
    return index;
}

void page_init(page_t *page, unsigned class, bool clean)
{
    page->class = (uint8_t)class;
    page->left = 0;
    page->floor = 0;
    page->scanned = 0;
    page->purged = PURGED_NEVER;
    page->bucket = 0;
    page->place = PAGE_UNLISTED;
    page->next = page->prev = 0;
    if (page_is_small(page)) {
        page->list = NULL;
        page->carved_count = page->carved = 0;
        page->soiled = clean ? 0 : page->soiled;
    } else {
        uint64_t all = bits_mask(page_class(page)->block_count);
        page->dirty_bits = clean ? 0 : all;
        page->clean_bits = clean ? all : 0;
    }
}

static void owner_word_change(page_t *page, uintptr_t keep, uintptr_t set)
{
    heap_t *old = page_owner_word(page), *new;
    do
        new = (heap_t *)(((uintptr_t)old & keep) | set);
    while (!atomic_compare_exchange_weak_explicit(&page->owner, &old, new, memory_order_seq_cst, memory_order_relaxed));
}

void page_mark(page_t *page)
{
    owner_word_change(page, ~PAGE_MARK, PAGE_MARK);
}

void page_unmark(page_t *page)
{
    owner_word_change(page, ~PAGE_MARK, 0);
}

void page_owner_change(page_t *page, heap_t *owner)
{
    owner_word_change(page, PAGE_MARK, (uintptr_t)owner);
}

void page_owner_mosaic(page_t *page)
{
    owner_word_change(page, PAGE_MARK, PAGE_IN_MOSAIC);
}

bool page_can_carve(const page_t *page)
{
    return page->carved_count != page_class(page)->block_count;
}

bool page_carve(page_t *page)
{
    assert(page->list == NULL && page_can_carve(page));
    unsigned soiled = page->soiled & ~page->carved;
    unsigned step = bits_lowest(soiled != 0 ? soiled : ~(uint64_t)page->carved);
    unsigned first = page_step_first(page, step), end = page_step_first(page, step + 1);
    size_t block_bytes = page_class(page)->block_bytes;
    page->carved |= (uint16_t)(1u << step);
    page->soiled |= (uint16_t)(1u << step);
    page->carved_count += end - first;
    char *at = page_block(page, first);
    page->list = (block_t *)at;
    for (unsigned i = first; i + 1 < end; i++, at += block_bytes)
        ((block_t *)at)->next = (block_t *)(at + block_bytes);
    ((block_t *)at)->next = NULL;
    return soiled == 0;
}

void page_arm(page_t *page, unsigned floor)
{
    unsigned used = page_used(page);
    assert(floor <= used);
    page_arm_used(page, used, floor);
}

block_t *page_take_list(page_t *page, unsigned *count)
{
    block_t *list = page->list;
    *count = page_carved_count(page) - page_used_counted(page);
    page->list = NULL;
    page_arm_used(page, page_carved_count(page), 0);
    return list;
}

const block_t *page_list_mend(page_t *page, const block_t **before)
{
    unsigned carved = page_carved_count(page), most = carved - page_used(page), good = 0;
    block_t **link = &page->list;
    for (*before = NULL; *link != NULL && good < most; good++) {
        const size_class_t *class = page_class(page);
        size_t offset = (size_t)((char *)*link - page->start);
        if (offset >= class->page_bytes || size_class_index_exact(class, offset) >= class->block_count)
            break;
        *before = *link;
        link = &(*link)->next;
    }
    const block_t *wrong = *link;
    *link = NULL;
    page->left = (uint16_t)(carved - good - page->floor);
    return wrong;
}

void page_put_list(page_t *page, block_t *first, block_t *last, unsigned count)
{
    assert(count <= page_used(page));
    unsigned used = page_used(page) - count;
    assert(last != NULL || page->list == NULL);
    if (last != NULL)
        last->next = page->list;
    page->list = first;
    page_arm_used(page, used, (unsigned)size_min(page->floor, used));
}

unsigned page_fullness(const page_t *page)
{
    unsigned quarters = page_used(page) * BUCKETS, count = page_class(page)->block_count;
    _Static_assert(BUCKETS == 4, "without a division");
    return (quarters > count) + (quarters > 2 * count) + (quarters > 3 * count);
}

static const char *small_check(const page_t *page)
{
    unsigned length = 0, carved = page_carved_count(page);
    for (const block_t *block = page->list; block != NULL; block = block->next) {
        bool exact;
        page_block_index(page, block, &exact);
        if (!exact)
            return "a free list leaves its page";
        if (++length > carved)
            return "a free list is longer than its page, or a circle";
    }
    if (carved != page_steps_count(page, page->carved))
        return "the count of carved blocks is not that of the carved steps";
    return page_used(page) + length == carved ? NULL : "used + free != carved";
}

const char *page_check(const page_t *page)
{
    if (page->class == 0 || page->class >= CLASS_COUNT)
        return "no such class";
    if (page_is_small(page))
        return small_check(page);
    if (page_free_bits(page) & ~bits_mask(page_class(page)->block_count))
        return "bits beyond the last block";
    if (page->clean_bits & page->dirty_bits)
        return "a free block is both clean and dirty";
    return page->place == PAGE_CURRENT || page->floor + page->left == (int)page_used(page) ? NULL : "used + free != blocks";
}
