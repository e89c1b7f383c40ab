// tests/unit/test_refill.c - the short ways of a refill: what each takes, how it leaves pages behind, and what it leaves to
// heap_refill.
#include <criterion/criterion.h>

#include "fixture.h"
#include "support.h"

#define SIZE 128u
#define PAGES 4u

static void *blocks[2048];
static unsigned class, per_page, returns;
static small_bin_t *bin;

// PAGES full pages, by page, and the head list is empty; the class is known well enough for short refills.
static void refill_test_begin(void)
{
    pool_free(pool_malloc(1)); // the thread has its heap
    class = size_class_of(SIZE);
    per_page = size_class_table[class].block_count;
    returns = per_page >> FULL_PAGE_RETURN_SHIFT;
    bin = &heap_self->small[class];
    for (unsigned i = 0; i < PAGES * per_page; i++)
        blocks[i] = pool_malloc(SIZE);
    cr_assert(bin->short_refills);
    cr_assert_null(heap_self->head[class]);
}

TestSuite(refill, .init = refill_test_begin, .fini = fixture_end, .timeout = 30);

static page_t *page_of(unsigned number)
{
    return support_page(blocks[number * per_page]);
}

static void free_of_page(unsigned number, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        pool_free(blocks[number * per_page + i]);
}

Test(refill, the_current_pages_own_frees_are_all_taken_at_once)
{
    uint64_t handed = bin->handed;
    free_of_page(PAGES - 1, 3);
    cr_assert_eq(refill_from_current(SIZE, heap_self), blocks[(PAGES - 1) * per_page + 2], "freed last");
    cr_assert_eq(heap_self->head[class], blocks[(PAGES - 1) * per_page + 1]);
    cr_assert_null(bin->current->list);
    cr_assert_eq(page_used(bin->current), per_page);
    cr_assert_eq(bin->handed, handed + 3);
}

Test(refill, the_next_page_is_the_fullest_one_that_was_freed_into)
{
    uint64_t handed = bin->handed;
    uint32_t turns = heap_self->turns;
    free_of_page(0, per_page / 2 + 1);
    free_of_page(1, returns);
    page_of(1)->scanned = (uint16_t)per_page; // as if it had been nearly empty once
    cr_assert_eq(refill_turned(SIZE, heap_self), blocks[per_page + returns - 1]);
    cr_assert_eq(bin->current, page_of(1));
    cr_assert_eq(page_of(1)->scanned, 0);
    cr_assert_eq(page_of(1)->place, PAGE_CURRENT);
    cr_assert_eq(page_used(page_of(1)), per_page);
    cr_assert_eq(bin->handed, handed + returns);
    cr_assert_eq(heap_self->turns, turns + 1);
    cr_assert_eq(bin->turn, heap_self->turns);
    cr_assert_eq(page_of(0)->place, PAGE_LISTED);
}

Test(refill, the_page_that_is_left_is_full_and_returns_when_an_eighth_is_freed)
{
    page_t *left = page_of(PAGES - 1);
    free_of_page(0, returns);
    cr_assert_not_null(refill_turned(SIZE, heap_self));
    cr_assert_eq(left->place, PAGE_UNLISTED);
    free_of_page(PAGES - 1, returns - 1);
    cr_assert_eq(left->place, PAGE_UNLISTED);
    pool_free(blocks[PAGES * per_page - 1]);
    cr_assert_eq(left->place, PAGE_LISTED);
    cr_assert_eq(left->bucket, BUCKETS - 1);
}

Test(refill, a_page_with_steps_left_to_carve_waits_for_that)
{
    blocks[0] = pool_malloc(SIZE); // of a fresh page, of whose steps one is carved
    page_t *left = bin->current;
    while (heap_self->head[class] != NULL)
        pool_malloc(SIZE);
    cr_assert(page_can_carve(left));
    free_of_page(1, returns);
    cr_assert_eq(support_page(refill_turned(SIZE, heap_self)), page_of(1));
    cr_assert_eq(left->bucket, BUCKET_UNCARVED);
    cr_assert_eq(bin->uncarved, zone_page_id(left));
}

Test(refill, pages_behind_the_first_of_a_bucket_stay_in_it)
{
    for (unsigned i = 0; i < PAGES - 1; i++)
        free_of_page(i, returns);
    for (unsigned i = 0; i < PAGES - 1; i++) {
        void *block = refill_turned(SIZE, heap_self);
        cr_assert_eq(support_page(block), page_of(PAGES - 2 - i), "the one that came last first");
        require_whole(); // the others' links
        while (heap_self->head[class] != NULL)
            pool_malloc(SIZE);
    }
    cr_assert_null(refill_turned(SIZE, heap_self));
}

Test(refill, a_nearly_empty_page_is_left_to_the_long_way)
{
    free_of_page(0, per_page - per_page / BUCKETS);
    cr_assert_eq(page_of(0)->bucket, BUCKET_SCANNED);
    page_t *current = bin->current;
    cr_assert_null(refill_turned(SIZE, heap_self));
    cr_assert_eq(bin->current, current);
    heap_enter(heap_self);
    cr_assert_eq(support_page(heap_refill(heap_self, class)), page_of(0));
    heap_leave(heap_self);
}

Test(refill, a_page_that_a_purge_will_look_at_is_left_to_the_long_way)
{
    free_of_page(0, per_page - page_steps(page_of(0)));
    cr_assert_eq(page_of(0)->bucket, 0);
    cr_assert_null(refill_turned(SIZE, heap_self));
    cr_assert_eq(page_of(0)->place, PAGE_LISTED);
}

static void turn_of_many_remote(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < PAGES * per_page; i++)
        blocks[i] = pool_malloc(SIZE);
    bin = &heap_self->small[class];
    bin->handover = (handover_t){.handed = per_page, .remote = per_page};
    free_of_page(0, returns);
    cr_assert_eq(support_page(refill_turned(SIZE, heap_self)), page_of(0));
    cr_assert_eq(page_owner(page_of(PAGES - 1)), &heap_commons);
}

Test(refill, the_page_that_is_left_goes_to_the_commons_if_others_free_most)
{
    support_thread(turn_of_many_remote, NULL);
}

Test(refill, a_class_of_which_few_sizes_are_known_is_left_to_the_long_way)
{
    free_of_page(0, returns);
    bin->short_refills = false;
    cr_assert_null(refill_quick(SIZE, heap_self));
    cr_assert_eq(bin->current, page_of(PAGES - 1));
    bin->short_refills = true;
    cr_assert_not_null(refill_quick(SIZE, heap_self));
}

Test(refill, each_eighth_is_noted)
{
    uint32_t noted = heap_sizes(heap_self, class)->count;
    uint64_t refills = heap_self->refills;
    for (unsigned i = 0; i < 16; i++) {
        pool_free(blocks[PAGES * per_page - 1]);
        cr_assert_not_null(refill_quick(SIZE - 1, heap_self));
    }
    cr_assert_eq(heap_self->refills, refills + 16);
    cr_assert_eq(heap_sizes(heap_self, class)->count, noted + 2);
}

Test(refill, a_class_without_a_page_is_left_to_the_long_way)
{
    cr_assert_null(refill_from_current(2 * SIZE, heap_self));
    cr_assert_null(refill_turned(2 * SIZE, heap_self));
    cr_assert_null(refill_quick(0, heap_self));
    cr_assert_null(refill_quick(SIZE, &heap_none));
}

Test(refill, a_list_with_the_next_sample_is_left_to_the_long_way)
{
    heap_self->gaps.small_at[class] = bin->handed + returns;
    free_of_page(0, returns);
    cr_assert_null(refill_turned(SIZE, heap_self));
    cr_assert_null(heap_self->head[class]);
    heap_self->gaps.small_at[class] = HEAP_SAMPLE_NEVER;
    cr_assert_eq(support_page(pool_malloc(SIZE)), page_of(0));
}

Test(refill, a_sample_among_the_current_pages_own_frees_keeps_it_current)
{
    free_of_page(0, returns);
    free_of_page(PAGES - 1, 2);
    heap_self->gaps.small_at[class] = bin->handed + 1;
    cr_assert_null(refill_quick(SIZE, heap_self));
    cr_assert_eq(bin->current, page_of(PAGES - 1));
    heap_self->gaps.small_at[class] = HEAP_SAMPLE_NEVER;
}

Test(refill, a_damaged_list_is_left_to_the_long_way)
{
    void *inside = (char *)blocks[0] + GRANULE_BYTES;
    free_of_page(0, returns - 1);
    heap_free_small(page_of(0), inside); // as the fast path would
    cr_assert_null(refill_turned(SIZE, heap_self));
    unsigned misuses = support_misuses;
    pool_malloc(SIZE);
    cr_assert_eq(support_misuses, misuses + 1);
    cr_assert_eq(support_misuse.address, inside);
}

static void free_one(void *block)
{
    pool_free(block);
}

Test(refill, others_frees_come_before_the_next_page)
{
    free_of_page(0, returns);
    support_thread(free_one, blocks[(PAGES - 1) * per_page]);
    page_id_t queued = atomic_exchange(&heap_self->inbox, 0); // as if the inbox that has it were its former owner's
    cr_assert_null(refill_turned(SIZE, heap_self), "in the current page");
    atomic_store(&heap_self->inbox, queued);
    cr_assert_eq(pool_malloc(SIZE), blocks[(PAGES - 1) * per_page]);
    support_thread(free_one, blocks[per_page]);
    cr_assert_null(refill_turned(SIZE, heap_self), "in the inbox");
}

static void free_first(void *argument)
{
    void **frees = argument;
    for (unsigned i = 0; i < 5; i++)
        pool_free(frees[i]);
}

// The owner frees own_count blocks of the first page, then another thread five of them, and the owner takes them back.
static page_t *page_with_both(unsigned own_count)
{
    for (unsigned i = 0; i < own_count; i++)
        pool_free(blocks[10 + i]);
    support_thread(free_first, blocks);
    heap_enter(heap_self);
    heap_inbox_drain(heap_self);
    heap_leave(heap_self);
    return page_of(0);
}

Test(refill, what_others_freed_comes_behind_fewer_own_frees)
{
    page_t *page = page_with_both(2);
    cr_assert_eq(page->list, blocks[11]);
    cr_assert_eq(page->list->next, blocks[10]);
    cr_assert_eq(page->list->next->next, blocks[4]);
}

Test(refill, what_others_freed_comes_before_more_own_frees)
{
    page_t *page = page_with_both(7);
    cr_assert_eq(page->list, blocks[4]);
    cr_assert_eq(page->list->next->next->next->next, blocks[0]);
    cr_assert_eq(page->list->next->next->next->next->next, blocks[16]);
}

Test(refill, a_link_of_an_own_free_that_was_written_over_is_not_followed_when_others_frees_come)
{
    static char elsewhere[64];
    pool_free(blocks[10]);
    pool_free(blocks[11]);
    *(void **)blocks[11] = elsewhere;
    page_t *page = page_with_both(0);
    cr_assert_eq(page->list, blocks[4]);
    *(void **)blocks[11] = blocks[10];
}

Test(refill, own_frees_that_go_round_are_not_cut_off_when_others_frees_come)
{
    block_t *first = blocks[10], *second = blocks[11];
    pool_free(first);
    pool_free(second);
    pool_free(first); // level 0 does not see it
    page_t *page = page_with_both(0);
    cr_assert_eq(page->list, blocks[4]);
    cr_assert_eq(page->list->next->next->next->next->next, first);
    cr_assert_eq(first->next, second, "a refill that reckons with three of them finds three");
    first->next = NULL; // else the pool is not whole
    page->list->next->next->next->next->next = second;
    second->next = first;
    page->left++;
}

static void borrow_three(void *argument)
{
    void **frees = argument;
    for (unsigned i = 0; i < PAGES * per_page; i++) // this thread has a full current page, too
        pool_malloc(SIZE);
    small_bin_t *own = &heap_self->small[class];
    for (unsigned i = 0; i < 3; i++)
        pool_free(frees[i]);
    cr_assert_eq(heap_self->ring_bytes, 3 * SIZE);
    uint64_t handed = own->handed;
    cr_assert_eq(refill_turned(SIZE, heap_self), frees[2], "freed last");
    cr_assert_eq(heap_self->head[class], frees[1]);
    cr_assert_null(own->head_page);
    cr_assert_eq(own->handed, handed + 3);
    cr_assert_eq(heap_self->ring_bytes, 0);
    const ring_slot_t *slot = heap_ring_slot(heap_self, class);
    cr_assert(slot->borrowed && slot->first == NULL && slot->count == 0);
    cr_assert_eq(slot->most, RING_BLOCKS, "and any page's blocks may come");
    heap_self->ring[class].borrowed = false; // as if it had been full meanwhile
    pool_free(frees[2]);
    heap_self->head[class] = NULL;
    cr_assert_eq(refill_turned(SIZE, heap_self), frees[2]);
    cr_assert(slot->borrowed, "what stays when it is full again serves the next refill");
    heap_self->gaps.small_at[class] = own->handed + 1;
    pool_free(frees[2]);
    pool_free(frees[1]);
    pool_free(frees[0]);
    cr_assert_null(refill_turned(SIZE, heap_self), "one is the next sample");
    heap_self->gaps.small_at[class] = HEAP_SAMPLE_NEVER;
}

Test(refill, what_was_freed_of_others_serves_again_first)
{
    support_thread(borrow_three, blocks);
}

// Frees a full page that is not the current one, block by block: at each event it is where its used blocks say.
static void page_steps_down(size_t size_bytes)
{
    static void *steps[3 * SMALL_BLOCKS_MAX];
    unsigned count = size_class_table[size_class_of(size_bytes)].block_count;
    for (unsigned i = 0; i < 3 * count; i++)
        steps[i] = pool_malloc(size_bytes);
    page_t *page = support_page(steps[count + count / 2]);
    unsigned returned = 0, number = size_class_of(size_bytes);
    for (unsigned i = 0, used = page_used(page); i < 3 * count; i++) {
        if (support_page(steps[i]) != page)
            continue;
        pool_free(steps[i]);
        if (--used == 0)
            break;
        cr_assert_eq(page_used(page), used);
        if (page->place == PAGE_LISTED && page->bucket < BUCKETS)
            cr_assert(page->bucket == page_fullness(page), "%u used of %u", used, count);
        returned += page->place == PAGE_LISTED;
    }
    cr_assert_gt(returned, count / 2);
    heap_class_flush(heap_self, number);
}

Test(refill, a_page_goes_down_from_bucket_to_bucket)
{
    const size_t sizes[] = {16, 48, 112, 256, 272, 720, 1024};
    for (unsigned i = 0; i < sizeof(sizes) / sizeof(*sizes); i++)
        page_steps_down(sizes[i]);
}
