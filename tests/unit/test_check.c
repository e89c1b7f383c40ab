// tests/unit/test_check.c - the validator itself: a whole heap is found whole, and each damage, planted one at a time,
// is found and called by its name.
#include <criterion/criterion.h>

#include "budget.h"
#include "check.h"
#include "extent.h"
#include "support.h"

#define SIZE 128u
#define MIB  ((size_t)1 << 20)

static unsigned class, per_page;
static void *blocks[1024], *medium[2 * 64 + 1], *large[3];
static page_t *full, *half, *current, *empty; // small pages
static page_t *medium_full, *medium_listed, *medium_current;

static void free_one(void *block)
{
    pool_free(block);
}

// A heap with a page of each kind: full, listed, current, free; one of them in the inbox; large blocks around a hole.
static void heap_build(void)
{
    class = size_class_of(SIZE);
    pool_free(pool_malloc(SIZE));
    per_page = size_class_table[class].block_count;
    for (unsigned i = 0; i < 4 * per_page; i++)
        blocks[i] = pool_malloc(SIZE);
    full = support_page(blocks[0]);
    half = support_page(blocks[per_page]);
    empty = support_page(blocks[2 * per_page]);
    for (unsigned i = 0; i < per_page / 2; i++)
        pool_free(blocks[per_page + i]);
    for (unsigned i = 0; i < per_page; i++)
        pool_free(blocks[2 * per_page + i]);
    current = heap_self->small[class].current;

    size_t size = 8192;
    unsigned each = size_class_table[size_class_of(size)].block_count;
    for (unsigned i = 0; i < 2 * each + 1; i++)
        medium[i] = pool_malloc(size);
    medium_full = support_page(medium[0]);
    medium_listed = support_page(medium[each]);
    medium_current = support_page(medium[2 * each]);
    for (unsigned i = 0; i < each / 2; i++)
        pool_free(medium[each + i]);
    for (unsigned i = 0; i < 3; i++)
        large[i] = pool_malloc(MIB);
    pool_free(large[1]);
    support_thread(free_one, blocks[0]);
}

static void finds(const char *expected)
{
    const char *wrong = check_pool();
    cr_assert_not_null(wrong, "the damage is not found; it is: %s", expected);
    cr_assert_str_eq(wrong, expected);
}

static zone_t *zone_of(const page_t *page)
{
    return zone_get(page->zone);
}

static uint32_t index_of(const page_t *page)
{
    return (uint32_t)(page - zone_of(page)->pages);
}

TestSuite(check, .init = heap_build);

Test(check, a_whole_heap_is_found_whole)
{
    const char *wrong = check_pool();
    cr_assert_null(wrong, "%s", wrong);
    cr_assert_eq(full->place, PAGE_UNLISTED);
    cr_assert(remote_is_queued(full));
    cr_assert_eq(half->place, PAGE_LISTED);
    cr_assert_eq(empty->place, PAGE_FREE);
    cr_assert_eq(current->place, PAGE_CURRENT);
    cr_assert_eq(medium_full->place, PAGE_UNLISTED);
    cr_assert_eq(medium_listed->place, PAGE_LISTED);
    cr_assert_eq(medium_current->place, PAGE_CURRENT);
}

Test(check, finds_a_page_in_both_sets)
{
    bitset_add(&zone_of(empty)->clean, index_of(empty));
    finds("a page is in both sets of free pages");
}

Test(check, finds_an_owned_page_among_the_free_ones)
{
    bitset_add(&zone_of(full)->clean, index_of(full));
    finds("a page in a set of free pages has an owner");
}

Test(check, finds_a_page_that_nobody_has)
{
    bitset_remove(&zone_of(empty)->dirty, index_of(empty));
    finds("a page without an owner is in no set");
}

Test(check, finds_a_page_that_was_never_used_among_the_free_ones)
{
    bitset_add(&zone_of(empty)->dirty, atomic_load(&zone_of(empty)->fresh));
    finds("a page that was never used is in a set of free pages");
}

Test(check, finds_a_page_that_does_not_know_where_it_is)
{
    full->start += 16;
    finds("a page does not know where it is");
}

static front_entry_t *front_entry(size_t offset)
{
    return (front_entry_t *)(uintptr_t)&zone_front_map[offset / LOW_PAGE_BYTES];
}

Test(check, finds_a_small_page_that_the_front_map_does_not_lead_to)
{
    void *block = pool_malloc(SMALL_MAX_BYTES); // of a page that has several entries: the last one
    page_t *page = support_page(block);
    front_entry_t *last = front_entry((uintptr_t)page->start - zone_front_base + page_class(page)->page_bytes - 1), was = *last;
    cr_assert_null(check_pool());
    *last = 0;
    finds("a page is not found from its addresses");
    *last = was + (front_entry_t)sizeof(page_t);
    finds("a page is not found from its addresses");
}

Test(check, finds_a_medium_page_that_the_table_of_places_does_not_lead_to)
{
    zone_places[medium_full->zone].from++;
    finds("a page is not found from its addresses");
}

Test(check, finds_a_page_that_counts_as_never_used)
{
    zone_t *zone = zone_of(medium_full);
    zone_fresh_set(zone, index_of(medium_full));
    atomic_store(&zone->fresh, index_of(medium_full) + 1);
    finds("a page is not found from its addresses");
}

Test(check, finds_an_owner_where_no_page_ever_was)
{
    *front_entry(0) = sizeof(front_entry_t); // a descriptor that begins with the entry of page 1
    finds("what stands for no page has an owner");
}

Test(check, finds_used_blocks_in_a_free_page)
{
    empty->left = 1;
    finds("a free page has used blocks");
}

Test(check, finds_a_circle_in_a_free_list)
{
    half->list->next->next = half->list;
    finds("a free list is longer than its page, or a circle");
}

Test(check, finds_an_overwritten_link)
{
    memset(half->list, 0x5a, sizeof(void *));
    // A wild link is not followed, only looked at.
    finds("a free list leaves its page");
}

Test(check, finds_a_lost_free)
{
    half->list = half->list->next;
    finds("used + free != carved");
}

Test(check, finds_a_used_count_that_is_off_by_one)
{
    full->left--;
    finds("used + free != carved");
}

Test(check, finds_a_carve_step_that_was_forgotten)
{
    full->carved &= (uint8_t)~1u;
    finds("the count of carved blocks is not that of the carved steps");
}

Test(check, finds_a_clean_bit_that_was_not_cleared)
{
    medium_full->clean_bits |= 1;
    finds("used + free != blocks");
}

Test(check, finds_a_dirty_block_that_is_marked_clean)
{
    medium_listed->clean_bits |= medium_listed->dirty_bits;
    finds("a free block is both clean and dirty");
}

Test(check, finds_a_free_bit_that_was_lost)
{
    medium_listed->dirty_bits &= medium_listed->dirty_bits - 1;
    finds("used + free != blocks");
}

Test(check, finds_bits_beyond_the_last_block)
{
    medium_listed->dirty_bits |= (uint64_t)1 << page_class(medium_listed)->block_count;
    finds("bits beyond the last block");
}

Test(check, finds_a_page_in_a_list_of_another_class)
{
    heap_self->small[class + 1].bucket[half->bucket] = zone_page_id(half);
    finds("a page is in a list of another heap or class");
}

Test(check, finds_a_page_that_was_never_filed_anew)
{
    cr_assert_eq(half->bucket, 1);
    half->bucket = 0;
    heap_self->small[class].bucket[1] = 0;
    heap_self->small[class].bucket[0] = zone_page_id(half);
    finds("a listed page has nothing to give");
}

Test(check, finds_a_page_in_another_bucket_than_it_says)
{
    half->bucket = 3;
    finds("a page is in the wrong bucket");
}

Test(check, finds_a_broken_list_of_pages)
{
    half->prev = zone_page_id(full);
    finds("a list of pages is not whole");
}

Test(check, finds_a_full_page_that_is_listed)
{
    medium_full->place = PAGE_LISTED;
    medium_full->prev = zone_page_id(medium_listed);
    medium_listed->next = zone_page_id(medium_full);
    finds("a listed page has nothing to give");
}

Test(check, finds_a_head_list_that_leaves_its_page)
{
    pool_malloc(SIZE);
    heap_self->head[class]->next = blocks[1];
    finds("a head list leaves its page");
}

Test(check, finds_a_head_list_that_leads_into_a_block)
{
    pool_malloc(SIZE);
    heap_self->head[class] = (block_t *)((char *)heap_self->head[class] + 16);
    finds("a head list leads into a block");
}

Test(check, finds_a_head_list_that_is_a_circle)
{
    pool_malloc(SIZE);
    heap_self->head[class]->next = heap_self->head[class];
    finds("a head list is longer than its page has used blocks");
}

Test(check, finds_a_current_page_that_says_it_is_not)
{
    current->place = PAGE_UNLISTED;
    finds("the current page is not in its place");
}

Test(check, finds_a_medium_current_page_that_says_it_is_not)
{
    medium_current->place = PAGE_LISTED; // whose frees would be counted
    finds("used + free != blocks");
}

Test(check, finds_idle_bytes_that_are_off)
{
    heap_self->idle_bytes += 4096;
    finds("a heap's idle bytes are not what its pages hold");
}

Test(check, finds_a_queued_page_that_is_not_marked)
{
    atomic_fetch_and(&full->remote, ~REMOTE_QUEUED);
    finds("a page in an inbox is not marked as queued");
}

Test(check, finds_a_marked_page_that_is_in_no_inbox)
{
    atomic_store(&heap_self->inbox, 0);
    finds("a page marked as queued is in no inbox");
}

Test(check, finds_a_budget_that_counts_wrong)
{
    budget_retain(4096);
    finds("the budget's retained bytes are not what is retained");
}

Test(check, finds_an_extent_that_shrank_without_a_trace)
{
    extent_node(extent_at(large[0]))->grains--;
    finds("the table does not lead to an extent");
}

Test(check, finds_an_extent_that_is_not_where_the_one_before_ends)
{
    extent_node(extent_at(large[0]))->start += LARGE_GRAIN_BYTES;
    finds("extents do not tile the range");
}

Test(check, finds_a_large_block_longer_than_its_extent)
{
    extent_node(extent_at(large[0]))->used_bytes = 2 * MIB;
    finds("a block is longer than its extent");
}

Test(check, finds_free_extents_that_touch)
{
    pool_trim(0);
    cr_assert_null(check_pool());
    extent_node(extent_at(large[0]))->state = EXTENT_FREE;
    finds("two free extents touch");
}
