// tests/unit/test_mosaic.c - pages that became mosaics, seen from the front: what lived in them stays as it was, blocks of
// other classes live in their holes, and every function that takes a pointer knows them.
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "fixture.h"
#include "mosaic.h"
#include "support.h"

#define COUNT 60000u
#define SPARSE 48u // bytes of the blocks that leave sparse pages behind
#define OTHER 176u // and of those that live in their holes
#define KEPT_EVERY 20u

static unsigned char **sparse, **other;

static unsigned char mark_of(size_t i)
{
    return (unsigned char)(i % 251);
}

static void fill(unsigned char **blocks, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = pool_malloc(size);
        memset(blocks[i], mark_of(i), size);
    }
}

static void is_whole(unsigned char **blocks, size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; blocks[i] != NULL && at < size; at++)
            cr_assert_eq(blocks[i][at], mark_of(i));
}

static void free_all(unsigned char **blocks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pool_free(blocks[i]);
        blocks[i] = NULL;
    }
}

static void thin(unsigned char **blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (i % KEPT_EVERY != 0) {
            pool_free(blocks[i]);
            blocks[i] = NULL;
        }
}

// Sizes shift: few blocks of one size are left, then another size is wanted.
static void shift(void)
{
    fill(sparse, COUNT, SPARSE);
    thin(sparse, COUNT);
    fill(other, COUNT / 4, OTHER);
    cr_assert_gt(mosaic_count(), 50);
}

static void *in_mosaic(unsigned char **blocks, size_t count)
{
    for (size_t i = count; i-- > 0;)
        if (blocks[i] != NULL && page_is_mosaic(support_page(blocks[i])))
            return blocks[i];
    cr_assert_fail("none of the blocks is in a mosaic");
    return NULL;
}

static void start(void)
{
    sparse = calloc(COUNT, sizeof(*sparse));
    other = calloc(COUNT, sizeof(*other));
    pool_free(pool_malloc(1));
}

static void end(void)
{
    fixture_end();
    free(sparse);
    free(other);
}

TestSuite(mosaic, .init = start, .fini = end, .timeout = 60);

Test(mosaic, blocks_of_another_size_live_in_the_holes_of_sparse_pages)
{
    static survey_t survey;
    fill(sparse, COUNT, SPARSE);
    thin(sparse, COUNT);
    survey_take(&survey);
    uint64_t resident_before = survey.heap_rss_bytes - survey.metadata_bytes;
    fill(other, COUNT / 4, OTHER); // 2.5 MiB, and the holes are 2.6 MiB
    survey_take(&survey);
    cr_assert_lt(survey.heap_rss_bytes - survey.metadata_bytes, resident_before + COUNT / 4 * OTHER / 2);
    require_books();
    is_whole(sparse, COUNT, SPARSE);
    is_whole(other, COUNT / 4, OTHER);
}

Test(mosaic, an_emptied_one_is_a_page_of_its_zone_again)
{
    shift();
    free_all(other, COUNT / 4);
    cr_assert_gt(mosaic_count(), 50);
    is_whole(sparse, COUNT, SPARSE);
    require_books();
    free_all(sparse, COUNT);
    pool_trim(0); // head lists, too
    cr_assert_eq(mosaic_count(), 0);
    require_books();
}

Test(mosaic, mistakes_are_seen_exactly)
{
    shift();
    char *block = in_mosaic(other, COUNT / 4);
    pool_free(block + GRANULE_BYTES);
    cr_assert_eq(support_misuses, 1);
    cr_assert_str_eq(support_misuse.what, "not the start of a block");
    pool_free(block + 1);
    cr_assert_eq(support_misuses, 2);
    cr_assert_str_eq(support_misuse.what, "not the start of a block");
    cr_assert_eq(pool_usable_size(block), OTHER);
    pool_free(block);
    pool_free(in_mosaic(sparse, COUNT)); // another in between: the order does not matter
    pool_free(block);
    cr_assert_eq(support_misuses, 3);
    cr_assert_str_eq(support_misuse.what, "double free, or never allocated");
    cr_assert_eq(pool_usable_size(block), 0);
    cr_assert_str_eq(support_misuse.what, "not a live block");
}

Test(mosaic, realloc_keeps_what_fits_and_moves_what_does_not)
{
    shift();
    unsigned char *block = in_mosaic(other, COUNT / 4), first = block[0];
    cr_assert_eq(pool_realloc(block, OTHER - 20), block);
    unsigned char *grown = pool_realloc(block, 20 * OTHER);
    cr_assert_neq(grown, block);
    cr_assert_geq(pool_usable_size(grown), 20 * OTHER);
    for (unsigned i = 0; i < OTHER - 20; i++)
        cr_assert_eq(grown[i], first);
    cr_assert_eq(support_misuses, 0);
}

Test(mosaic, a_block_is_aligned_as_its_class_promises)
{
    fill(sparse, COUNT, SPARSE);
    thin(sparse, COUNT);
    unsigned in_mosaics = 0;
    for (unsigned i = 0; i < 4000; i++) {
        void *block = pool_aligned_alloc(64, 192);
        cr_assert_eq((uintptr_t)block % 64, 0);
        in_mosaics += page_is_mosaic(support_page(block));
    }
    cr_assert_gt(in_mosaics, 0);
}

// Of all mosaics that some block of `blocks` lives in: the longest run, and whether there are runs at all.
static unsigned longest_run(unsigned char **blocks, size_t count, bool *any)
{
    unsigned longest = 0;
    *any = false;
    for (size_t i = 0; i < count; i++) {
        page_t *page = blocks[i] != NULL ? support_page(blocks[i]) : NULL;
        if (page == NULL || !page_is_mosaic(page))
            continue;
        const tiles_t *tiles = &page->mosaic->tiles;
        longest = tiles->longest > longest ? tiles->longest : longest;
        *any = *any || tiles_find(tiles, 1, 1) != TILES_NONE;
    }
    return longest;
}

Test(mosaic, runs_below_256_bytes_are_left_alone)
{
    const unsigned least = 256 / GRANULE_BYTES;
    bool any;
    shift();
    for (unsigned outside = 0; outside < 20000;) // until their fresh pages are all that is left
        outside = page_is_mosaic(support_page(pool_malloc(GRANULE_BYTES))) ? 0 : outside + 1;
    cr_assert_lt(longest_run(sparse, COUNT, &any), least);
    cr_assert(any);
    is_whole(sparse, COUNT, SPARSE);
    is_whole(other, COUNT / 4, OTHER);
    require_books();
}

Test(mosaic, calloc_clears_what_a_hole_held)
{
    fill(sparse, COUNT, SPARSE);
    thin(sparse, COUNT);
    static const unsigned char zeros[OTHER];
    for (unsigned i = 0; i < COUNT / 4; i++)
        cr_assert_eq(memcmp(pool_calloc(OTHER), zeros, OTHER), 0);
    cr_assert_gt(mosaic_count(), 0);
}

Test(mosaic, medium_blocks_live_in_them_too)
{
    fill(sparse, COUNT, 800);
    thin(sparse, COUNT);
    unsigned in_mosaics = 0;
    for (unsigned i = 0; i < 2000; i++) {
        other[i] = pool_malloc(1300);
        in_mosaics += page_is_small(support_page(other[i]));
        memset(other[i], mark_of(i), 1300);
    }
    cr_assert_gt(in_mosaics, 100);
    is_whole(sparse, COUNT, 800);
    is_whole(other, 2000, 1300);
    require_books();
}

Test(mosaic, what_is_free_for_whole_steps_goes_back_to_the_kernel)
{
    static survey_t survey;
    fill(sparse, COUNT, 400);
    thin(sparse, COUNT);
    fill(other, COUNT / 4, OTHER);
    free_all(other, COUNT / 4);
    pool_trim(0);
    cr_assert_eq(mosaic_idle_bytes(), 0);
    survey_take(&survey);
    cr_assert_lt(survey.heap_rss_bytes - survey.metadata_bytes, 4 * COUNT / KEPT_EVERY * 4096 / 3);
    is_whole(sparse, COUNT, 400);
    fill(other, 2000, OTHER);
    is_whole(other, 2000, OTHER);
}

// --- other threads, forks --------------------------------------------------------------------------------------------

static void free_sparse(void *unused)
{
    (void)unused;
    free_all(sparse, COUNT);
}

Test(mosaic, other_threads_free_in_them)
{
    shift();
    support_thread(free_sparse, NULL);
    is_whole(other, COUNT / 4, OTHER);
    require_books();
    free_all(other, COUNT / 4);
    pool_trim(0);
    cr_assert_eq(mosaic_count(), 0);
}

// Blocks wait in the ring of the thread that freed them while their page becomes a mosaic.
static pthread_barrier_t turn;

static void free_tenth(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < COUNT; i += 10 * KEPT_EVERY) {
        pool_free(sparse[i]);
        sparse[i] = NULL;
    }
}

static void *free_and_wait(void *unused)
{
    free_tenth(NULL);
    pthread_barrier_wait(&turn);
    pthread_barrier_wait(&turn);
    pool_thread_exit();
    return unused;
}

Test(mosaic, frees_that_were_under_way_arrive)
{
    pthread_t thread;
    pthread_barrier_init(&turn, NULL, 2);
    fill(sparse, COUNT, SPARSE);
    thin(sparse, COUNT);
    cr_assert_eq(pthread_create(&thread, NULL, free_and_wait, NULL), 0);
    pthread_barrier_wait(&turn);
    fill(other, COUNT / 4, OTHER);
    cr_assert_gt(mosaic_count(), 50);
    pthread_barrier_wait(&turn);
    pthread_join(thread, NULL);
    is_whole(sparse, COUNT, SPARSE);
    is_whole(other, COUNT / 4, OTHER);
    require_books();
    free_all(sparse, COUNT);
    free_all(other, COUNT / 4);
    pool_trim(0);
    cr_assert_eq(mosaic_count(), 0);
}

// Another thread frees in a page after its owner's last look into the inbox, and then the page becomes a mosaic.
Test(mosaic, what_is_freed_while_a_page_becomes_one_is_pending_and_not_live)
{
    static survey_t survey;
    fill(sparse, COUNT, SPARSE);
    thin(sparse, COUNT);
    page_t *page = support_page(sparse[10 * KEPT_EVERY]);
    support_thread(free_tenth, NULL);
    unsigned waiting = remote_pending(page);
    cr_assert_gt(waiting, 0);
    heap_enter(heap_self);
    heap_unlist(heap_self, page);
    heap_leave(heap_self);
    cr_assert(mosaic_make(page));
    cr_assert_eq(remote_pending(page), waiting);
    survey_take(&survey);
    unsigned kept = COUNT / KEPT_EVERY - COUNT / KEPT_EVERY / 10;
    const survey_class_t *class = &survey.classes[SPARSE / GRANULE_BYTES - 1];
    cr_assert_eq(class->live_blocks, kept, "%u live, not %u", (unsigned)class->live_blocks, kept);
    cr_assert_eq(class->pending_bytes, COUNT / KEPT_EVERY / 10 * SPARSE);
    require_books();
    free_all(sparse, COUNT);
    pool_trim(0);
    cr_assert_eq(mosaic_count(), 0);
}

static void child(void *unused)
{
    (void)unused;
    free_all(other, COUNT / 4);
    fill(other, COUNT / 8, 2 * OTHER);
    is_whole(sparse, COUNT, SPARSE);
    free_all(sparse, COUNT);
    if (check_pool() != NULL || support_misuses != 0)
        _exit(1);
}

Test(mosaic, a_child_of_fork_has_them_whole)
{
    shift();
    cr_assert_eq(support_fork(child, NULL), 0);
    is_whole(sparse, COUNT, SPARSE);
    is_whole(other, COUNT / 4, OTHER);
}

static void free_one(void *block)
{
    pool_free(block);
}

Test(mosaic, a_free_while_a_fork_hangs_is_done_later)
{
    shift();
    void *block = in_mosaic(other, COUNT / 4);
    lock_take(&mosaic_lock);
    lock_fork_begin(1);
    support_thread(free_one, block);
    cr_assert_neq(tiles_block(&support_page(block)->mosaic->tiles,
                              ((uintptr_t)block - (uintptr_t)support_page(block)->start) / GRANULE_BYTES), 0);
    lock_fork_end();
    lock_give(&mosaic_lock);
    cr_assert_eq(pool_usable_size(block), 0, "whoever has the lock next does it");
    cr_assert_eq(support_misuses, 1);
}
