// tests/unit/test_heap.c - small blocks: what a refill takes first, where pages go as their blocks are freed, and what
// becomes of blocks freed by others.
#include <criterion/criterion.h>

#include "budget.h"
#include "check.h"
#include "fixture.h"
#include "support.h"

#define SIZE 128u
#define MOST 4096u
#define MUCH ((size_t)1 << 20)

static void *blocks[MOST];
static unsigned class, per_page;

static void heap_test_begin(void)
{
    pool_free(pool_malloc(1)); // the thread has its heap
    class = size_class_of(SIZE);
    per_page = size_class_table[class].block_count;
}

static void free_one(void *block)
{
    pool_free(block);
}

static void free_many(void *argument)
{
    for (void **at = argument; *at != NULL; at++)
        pool_free(*at);
}

// `pages` pages full of live blocks at blocks[], by page, lowest address first.
static void fill_pages(unsigned pages)
{
    for (unsigned i = 0; i < pages * per_page; i++) {
        blocks[i] = pool_malloc(SIZE);
        cr_assert_eq(support_page(blocks[i]), support_page(blocks[i / per_page * per_page]));
    }
}

static unsigned used_of(const void *block)
{
    return page_used(support_page(block));
}

TestSuite(heap, .init = heap_test_begin, .fini = fixture_end, .timeout = 30);

Test(heap, a_page_is_used_up_before_the_next_is_begun)
{
    fill_pages(4);
    for (unsigned i = 1; i < 4; i++)
        cr_assert_neq(support_page(blocks[0]), support_page(blocks[i * per_page]));
}

Test(heap, a_block_freed_last_is_the_first_of_the_next_refill)
{
    unsigned count = support_drain_head(SIZE, blocks, MOST);
    pool_free(blocks[0]);
    pool_free(blocks[count - 1]);
    cr_assert_eq(pool_malloc(SIZE), blocks[count - 1]);
    cr_assert_eq(pool_malloc(SIZE), blocks[0]);
}

static unsigned misuse_of_refill(void)
{
    unsigned before = support_misuses;
    support_drain_head(SIZE, blocks, MOST);
    support_drain_head(SIZE, blocks, MOST);
    return support_misuses - before;
}

Test(heap, a_free_into_a_block_is_told_when_its_page_is_asked_next)
{
    unsigned count = support_drain_head(SIZE, blocks, MOST);
    pool_free(blocks[0]);
    char *inside = (char *)blocks[count - 1] + GRANULE_BYTES;
    pool_free(inside);
    cr_assert_eq(misuse_of_refill(), 1);
    cr_assert_str_eq(support_misuse.what, "not the start of a block");
    cr_assert_eq(support_misuse.address, inside);
    cr_assert_eq(support_misuse.block_bytes, SIZE);
}

Test(heap, a_link_that_was_written_over_is_told_before_malloc_follows_it)
{
    static char elsewhere[64];
    unsigned count = support_drain_head(SIZE, blocks, MOST);
    void **last = blocks[count - 1];
    pool_free(blocks[0]);
    pool_free(last);
    *last = elsewhere;
    cr_assert_eq(misuse_of_refill(), 1);
    cr_assert_str_eq(support_misuse.function, "malloc");
    cr_assert_str_eq(support_misuse.what, "was written to after it was freed");
    cr_assert_eq(support_misuse.address, last);
}

Test(heap, remote_frees_wait_until_own_frees_are_used)
{
    support_drain_head(SIZE, blocks, MOST);
    support_thread(free_one, blocks[0]);
    pool_free(blocks[1]);
    cr_assert_eq(remote_pending(support_page(blocks[0])), 1);
    cr_assert_eq(pool_malloc(SIZE), blocks[1], "own frees first");
    cr_assert_eq(remote_pending(support_page(blocks[0])), 1);
    cr_assert_eq(pool_malloc(SIZE), blocks[0], "then those of others, before anything is carved");
    cr_assert_eq(remote_pending(support_page(blocks[0])), 0);
}

static size_t told_before_its_end;

static void free_one_and_look(void *block)
{
    pool_free(block);
    heap_ring_flush(heap_self);
    told_before_its_end = budget_pending();
}

Test(heap, what_is_pending_is_told_to_the_budget_at_a_threads_end_or_when_it_is_much)
{
    support_drain_head(SIZE, blocks, MOST);
    support_thread(free_one_and_look, blocks[0]);
    cr_assert_eq(told_before_its_end, 0);
    cr_assert_eq(budget_pending(), support_page(blocks[0])->class << GRANULE_SHIFT);
    cr_assert_null(check_pool());
    cr_assert_eq(pool_malloc(SIZE), blocks[0]); // taken back, and not told
    cr_assert_null(check_pool());
    heap_pend(heap_self, MUCH);
    cr_assert_eq(budget_pending(), MUCH);
    heap_unpend(heap_self, MUCH);
    cr_assert_eq(budget_pending(), 0);
}

Test(heap, other_pages_remote_frees_come_by_the_inbox_before_a_fresh_page)
{
    fill_pages(3);
    unsigned first_of_second = per_page;
    void *frees[per_page / 2 + 1];
    memcpy(frees, &blocks[first_of_second], sizeof(frees));
    frees[per_page / 2] = NULL;
    support_thread(free_many, frees);
    cr_assert_eq(remote_pending(support_page(frees[0])), per_page / 2);
    while (heap_self->head[class] != NULL)
        pool_malloc(SIZE);
    page_t *page = support_page(pool_malloc(SIZE));
    cr_assert_eq(page, support_page(frees[0]));
}

Test(heap, the_fullest_page_is_taken_before_emptier_ones)
{
    fill_pages(4);
    for (unsigned i = 0; i < per_page * 7 / 8; i++)
        pool_free(blocks[i]); // page 0: an eighth is used
    for (unsigned i = 0; i < per_page / 2 - 1; i++)
        pool_free(blocks[per_page + i]); // page 1: more than a half
    page_t *emptier = support_page(blocks[per_page - 1]), *fuller = support_page(blocks[2 * per_page - 1]);
    cr_assert_eq(page_fullness(emptier), 0);
    cr_assert_eq(page_fullness(fuller), 2);
    while (heap_self->head[class] != NULL)
        pool_malloc(SIZE);
    cr_assert_eq(support_page(pool_malloc(SIZE)), fuller);
}

Test(heap, a_full_page_returns_only_after_enough_of_it_is_freed)
{
    unsigned returns = per_page >> FULL_PAGE_RETURN_SHIFT;
    fill_pages(3);
    page_t *page = support_page(blocks[0]);
    cr_assert_eq(page->place, PAGE_UNLISTED);
    for (unsigned i = 0; i + 1 < returns; i++) {
        pool_free(blocks[i]);
        cr_assert_eq(page->place, PAGE_UNLISTED, "after %u frees", i + 1);
    }
    pool_free(blocks[returns - 1]);
    cr_assert_eq(page->place, PAGE_LISTED);
    cr_assert_eq(page->bucket, BUCKETS - 1);
}

Test(heap, a_page_goes_down_the_buckets_as_it_empties)
{
    fill_pages(3);
    page_t *page = support_page(blocks[0]);
    unsigned before = BUCKETS, filings = 0;
    for (unsigned i = 0; i + 1 < per_page; i++) {
        pool_free(blocks[i]);
        if (page->place != PAGE_LISTED || page->bucket >= BUCKETS)
            continue;
        unsigned fullness = page_fullness(page);
        cr_assert_geq(page->bucket, fullness);
        cr_assert_leq(page->bucket, fullness + 1, "%u frees: it belongs to %u, and is in %u", i + 1, fullness,
                      page->bucket);
        cr_assert_leq(page->bucket, before);
        filings += page->bucket != before;
        before = page->bucket;
    }
    cr_assert_geq(filings, BUCKETS - 1);
}

Test(heap, an_empty_page_goes_back_to_its_zone)
{
    fill_pages(3);
    page_t *page = support_page(blocks[0]);
    for (unsigned i = 0; i < per_page; i++)
        pool_free(blocks[i]);
    cr_assert_null(page_owner(page));
    cr_assert_eq(page->place, PAGE_FREE);
}

Test(heap, a_page_emptied_by_another_thread_goes_back_at_the_next_refill)
{
    fill_pages(3);
    page_t *page = support_page(blocks[0]);
    void *rest = blocks[per_page];
    blocks[per_page] = NULL;
    support_thread(free_many, blocks);
    blocks[per_page] = rest;
    cr_assert_eq(remote_pending(page), per_page);
    cr_assert_not_null(page_owner(page));
    heap_enter(heap_self);
    heap_inbox_drain(heap_self);
    heap_leave(heap_self);
    cr_assert_null(page_owner(page));
}

Test(heap, frees_of_other_heaps_blocks_are_gathered_and_then_handed_over_at_once)
{
    fill_pages(2);
    page_t *page = support_page(blocks[0]);
    heap_t *mine = heap_self;
    cr_assert_eq(page_owner(page), mine);
    support_thread(free_one, blocks[0]); // the thread's end hands it over
    cr_assert_eq(remote_pending(page), 1);
    cr_assert(remote_is_queued(page));
    cr_assert_eq(atomic_load(&mine->inbox), zone_page_id(page));
}

static void free_into_ring(void *argument)
{
    void **frees = argument;
    page_t *page = support_page(frees[0]);
    pool_free(pool_malloc(1)); // this thread has a heap
    for (unsigned i = 0; i < RING_PAGE_BLOCKS; i++)
        pool_free(frees[i]);
    cr_assert_eq(heap_self->ring_bytes, RING_PAGE_BLOCKS * SIZE);
    cr_assert_eq(remote_pending(page), 0, "they wait in the ring");
    pool_free(frees[RING_PAGE_BLOCKS]);
    cr_assert_eq(remote_pending(page), RING_PAGE_BLOCKS, "it was full");
    cr_assert_eq(heap_self->ring_bytes, SIZE);
    heap_ring_flush(heap_self);
    cr_assert_eq(heap_self->ring_bytes, 0);
    cr_assert_eq(remote_pending(page), RING_PAGE_BLOCKS + 1);
}

static void free_of_two_pages(void *unused)
{
    (void)unused;
    page_t *first = support_page(blocks[0]);
    pool_free(pool_malloc(1)); // this thread has a heap
    pool_free(blocks[0]);
    pool_free(blocks[per_page]);
    cr_assert_eq(remote_pending(first), 1, "only one page's blocks wait at a time");
    cr_assert_eq(heap_self->ring_bytes, SIZE);
    cr_assert_eq(pool_malloc(SIZE), blocks[per_page], "borrowed");
    pool_free(blocks[per_page]);
    for (unsigned i = 1; i < RING_BLOCKS; i++)
        pool_free(blocks[i]);
    cr_assert_eq(remote_pending(first), 1, "now blocks of any pages wait, and more");
    cr_assert_eq(heap_self->ring_bytes, RING_BLOCKS * SIZE);
    pool_free(blocks[RING_BLOCKS]);
    cr_assert_eq(remote_pending(first), RING_BLOCKS / 2, "the older half has gone, by page");
    cr_assert_eq(remote_pending(support_page(blocks[per_page])), 1);
    for (unsigned i = RING_BLOCKS + 1; i < RING_BLOCKS * 3 / 2; i++)
        pool_free(blocks[i]);
    cr_assert_eq(heap_self->ring_bytes, RING_BLOCKS * SIZE);
    pool_free(blocks[per_page + 1]);
    cr_assert_eq(heap_self->ring_bytes, SIZE, "nothing was borrowed meanwhile: all goes");
    pool_free(blocks[2 * per_page]);
    cr_assert_eq(heap_self->ring_bytes, SIZE, "and again one page's blocks wait");
}

Test(heap, a_place_of_the_ring_that_is_borrowed_from_has_blocks_of_any_pages)
{
    fill_pages(4);
    support_thread(free_of_two_pages, NULL);
}

static void free_all_classes(void *argument)
{
    void **frees = argument;
    size_t most_bytes = 0;
    for (unsigned i = 0; i < SMALL_CLASSES; i++) { // borrowed from, its places hold four times as much
        pool_free(frees[i]);
        cr_assert_eq(pool_malloc((i + 1) * GRANULE_BYTES), frees[i]);
    }
    for (; *frees != NULL; frees++) {
        pool_free(*frees);
        most_bytes = size_max(most_bytes, heap_self->ring_bytes);
    }
    cr_assert_geq(most_bytes, RING_BYTES);
    cr_assert_lt(most_bytes, RING_BYTES + SMALL_MAX_BYTES);
}

Test(heap, the_ring_holds_back_no_more_than_its_bytes)
{
    static void *frees[SMALL_CLASSES * RING_BLOCKS + 1];
    for (unsigned i = 0; i < SMALL_CLASSES * RING_BLOCKS; i++)
        frees[i] = pool_malloc((i % SMALL_CLASSES + 1) * GRANULE_BYTES);
    support_thread(free_all_classes, frees);
}

Test(heap, the_ring_holds_back_no_more_than_its_blocks)
{
    fill_pages(2);
    support_thread(free_into_ring, blocks);
}

static void free_one_a_class(void *argument)
{
    void **frees = argument;
    pool_free(pool_malloc(1)); // this thread has a heap
    for (unsigned i = 0; i < SMALL_CLASSES; i++)
        pool_free(frees[i]);
    size_t gathered = heap_self->ring_bytes;
    cr_assert_eq(gathered, SMALL_CLASSES * (SMALL_CLASSES + 1) / 2 * GRANULE_BYTES);
    for (unsigned i = 0; i < SMALL_CLASSES; i++)
        cr_assert_eq(remote_pending(support_page(frees[i])), 0, "class %u", i + 1);
    void *again = pool_malloc(SIZE);
    cr_assert_eq(again, frees[size_class_small(SIZE) - 1], "borrowed");
    cr_assert_eq(heap_self->ring_bytes, gathered - SIZE);
    pool_free(again);
}

Test(heap, each_class_has_a_place_of_its_own_in_the_ring)
{
    void *frees[SMALL_CLASSES];
    for (unsigned i = 0; i < SMALL_CLASSES; i++)
        frees[i] = pool_malloc((i + 1) * GRANULE_BYTES);
    support_thread(free_one_a_class, frees);
}

static void leave_blocks(void *argument)
{
    void **left = argument;
    left[0] = pool_malloc(SIZE);
    left[1] = pool_malloc(SIZE);
    left[2] = pool_malloc(MEDIUM_MAX_BYTES / 4);
    left[3] = heap_self;
}

static void take_heap(void *argument)
{
    pool_free(pool_malloc(1));
    *(heap_t **)argument = heap_self;
}

Test(heap, an_ended_threads_heap_goes_to_the_next_thread_whole)
{
    void *left[4];
    heap_t *next;
    support_thread(leave_blocks, left);
    support_thread(take_heap, &next);
    cr_assert_eq((void *)next, left[3]);
    cr_assert_eq(page_owner(support_page(left[0])), next);
}

Test(heap, an_ended_threads_page_goes_to_who_frees_into_it)
{
    void *left[4];
    support_thread(leave_blocks, left);
    page_t *page = support_page(left[0]);
    cr_assert_eq(page_owner(page), left[3]);
    pool_free(left[0]);
    heap_ring_flush(heap_self);
    cr_assert_eq(page_owner(page), heap_self);
    cr_assert_eq(page_used(page), 1);
    pool_free(left[1]);
    cr_assert_null(page_owner(page));
}

Test(heap, an_ended_threads_page_goes_to_who_lacks_one_of_its_class)
{
    void *left[4];
    support_thread(leave_blocks, left);
    page_t *page = support_page(left[0]);
    cr_assert_eq(support_page(pool_malloc(SIZE)), page, "rather than a fresh page");
    cr_assert_eq(page_owner(page), heap_self);
}

static void free_past_the_end(void *argument)
{
    pool_free(pool_malloc(1));
    pool_thread_exit();
    pool_free(argument);
    cr_assert_eq(heap_self, &heap_none);
}

Test(heap, a_thread_past_its_end_frees_and_owns_nothing)
{
    void *left[4];
    pool_free(pool_malloc(SIZE));
    support_thread(leave_blocks, left);
    support_thread(free_past_the_end, left[2]);
    support_thread(free_past_the_end, left[0]);
    cr_assert_neq(page_owner(support_page(left[1])), &heap_none);
    cr_assert_neq(page_owner(support_page(left[2])), &heap_none);
}

static void free_only(void *argument)
{
    pool_free(argument);
    cr_assert_neq(heap_self, &heap_none);
    cr_assert_eq(heap_self->ring_bytes, SIZE);
}

Test(heap, a_thread_that_only_frees_gathers_what_it_frees)
{
    fill_pages(2);
    support_thread(free_only, blocks[0]);
    cr_assert_eq(remote_pending(support_page(blocks[0])), 1);
}

Test(heap, one_block_can_be_taken_past_the_head_list)
{
    support_drain_head(SIZE, blocks, MOST);
    block_t *block = heap_take_one(heap_self, class);
    cr_assert_not_null(block);
    cr_assert_null(heap_self->head[class]);
    cr_assert_geq(used_of(block), 1);
}

static unsigned class_got(size_t size_bytes)
{
    return support_page(pool_malloc(size_bytes))->class;
}

Test(heap, a_class_without_a_page_gets_its_first_blocks_from_a_larger_class)
{
    pool_malloc(SIZE);
    for (unsigned i = 0; i < LENT_BLOCKS; i++)
        cr_assert_eq(class_got(SIZE / 2), class);
    cr_assert_eq(class_got(SIZE / 2), class / 2);
    cr_assert_eq(class_got(SIZE / 2), class / 2);
}

Test(heap, the_smallest_class_that_will_do_lends)
{
    pool_malloc(SIZE - 3 * GRANULE_BYTES);
    pool_malloc(SIZE);
    cr_assert_eq(class_got(SIZE - 5 * GRANULE_BYTES), class - 3);
}

Test(heap, a_class_with_a_page_borrows_none)
{
    pool_malloc(SIZE / 2);
    pool_malloc(SIZE);
    while (heap_self->head[class / 2] != NULL)
        pool_malloc(SIZE / 2);
    cr_assert_eq(class_got(SIZE / 2), class / 2);
}

Test(heap, a_lent_block_is_at_most_so_many_times_as_large)
{
    const unsigned few = 5, fewer = 3; // odd: any larger class is as aligned
    pool_malloc(LENT_TIMES * few * GRANULE_BYTES);
    cr_assert_eq(class_got(few * GRANULE_BYTES), LENT_TIMES * few);
    pool_malloc((LENT_TIMES * fewer + 1) * GRANULE_BYTES);
    cr_assert_eq(class_got(fewer * GRANULE_BYTES), fewer);
}

Test(heap, a_lent_block_is_as_aligned_as_those_of_the_class)
{
    pool_malloc(SIZE + GRANULE_BYTES);
    pool_malloc(SIZE + SIZE / 2);
    cr_assert_eq(class_got(SIZE), class);
    pool_malloc(2 * SIZE + GRANULE_BYTES);
    void *aligned = pool_aligned_alloc(SIZE / 2, SIZE / 2);
    cr_assert_eq((uintptr_t)aligned % (SIZE / 2), 0);
}

Test(heap, a_lent_block_goes_back_to_its_own_class)
{
    blocks[0] = pool_malloc(SIZE);
    blocks[1] = pool_malloc(SIZE / 2);
    cr_assert_eq(used_of(blocks[0]), used_of(blocks[1]));
    cr_assert_geq(pool_usable_size(blocks[1]), SIZE);
    support_drain_head(SIZE, blocks + 2, MOST - 2);
    pool_free(blocks[1]);
    cr_assert_eq(pool_malloc(SIZE), blocks[1]);
}

Test(heap, flushing_leaves_nothing_on_a_head_list)
{
    fill_pages(1);
    void *kept = pool_malloc(SIZE);
    heap_flush(heap_self);
    for (unsigned i = 1; i <= SMALL_CLASSES; i++)
        cr_assert(heap_self->head[i] == NULL && heap_self->small[i].current == NULL, "class %u", i);
    cr_assert_eq(used_of(kept), 1);
    cr_assert_eq(used_of(blocks[0]), per_page);
}

Test(heap, every_block_handed_out_is_counted)
{
    uint64_t before = heap_self->small[class].handed;
    fill_pages(3);
    unsigned on_head = 0;
    for (block_t *block = heap_self->head[class]; block != NULL; block = block->next)
        on_head++;
    cr_assert_eq(heap_self->small[class].handed - before - on_head, 3 * per_page);
}
