// tests/unit/test_registry.c - heaps given to threads, left by them, lost in a child of fork.
#include <criterion/criterion.h>
#include <pthread.h>
#include <unistd.h>

#include "budget.h"
#include "check.h"
#include "fixture.h"
#include "registry.h"
#include "support.h"

#define SIZE 96u

static void *left[64];

static void registry_begin(void)
{
    pool_free(pool_malloc(1));
}

static unsigned heap_count(void)
{
    unsigned count = 0;
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        count += heap != &heap_commons;
    return count;
}

static unsigned heaps_in(heap_state_t state)
{
    unsigned count = 0;
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        count += heap != &heap_commons && atomic_load(&heap->state) == (int)state;
    return count;
}

static void leave(void *argument)
{
    for (unsigned i = 0; i < 64; i++)
        left[i] = pool_malloc(SIZE + 300 * i);
    if (argument != NULL)
        *(unsigned *)argument = heap_alive_count();
}

TestSuite(registry, .init = registry_begin, .fini = fixture_end, .timeout = 60);

Test(registry, a_thread_has_no_heap_before_its_first_allocation)
{
    cr_assert_eq(heap_count(), 1);
    cr_assert_eq(heap_alive_count(), 1);
    cr_assert_eq(registry_orphans(), 0);
}

Test(registry, alive_and_orphaned_heaps_are_counted)
{
    unsigned alive;
    support_thread(leave, &alive);
    cr_assert_eq(alive, 2);
    cr_assert_eq(heap_alive_count(), 1);
    cr_assert_eq(registry_orphans(), 1);
    cr_assert_eq(heaps_in(HEAP_ORPHAN), 1);
}

Test(registry, a_hundred_threads_one_after_another_need_one_heap)
{
    for (unsigned i = 0; i < 100; i++)
        support_thread(leave, NULL);
    cr_assert_eq(heap_count(), 2);
}

static pthread_barrier_t together;

static void *live_together(void *argument)
{
    pool_free(pool_malloc(SIZE));
    *(heap_t **)argument = heap_self;
    pthread_barrier_wait(&together);
    pool_thread_exit();
    return NULL;
}

Test(registry, threads_that_live_at_once_have_a_heap_each)
{
    pthread_t threads[20];
    heap_t *heaps[20];
    pthread_barrier_init(&together, NULL, 20);
    for (unsigned i = 0; i < 20; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, live_together, &heaps[i]), 0);
    for (unsigned i = 0; i < 20; i++)
        pthread_join(threads[i], NULL);
    for (unsigned i = 0; i < 20; i++)
        for (unsigned j = 0; j < i; j++)
            cr_assert_neq(heaps[i], heaps[j]);
    cr_assert_eq(registry_orphans(), 20);
    cr_assert_eq(heap_alive_count(), 1);
}

static void go_on_past_the_end(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < 6; i++) {
        pool_thread_exit();
        void *block = pool_malloc(SIZE);
        cr_assert_not_null(block);
        memset(block, 0x5a, SIZE);
        pool_free(block);
    }
}

Test(registry, a_thread_can_allocate_after_its_end_and_leaves_nothing_behind)
{
    support_thread(go_on_past_the_end, NULL);
    cr_assert_eq(heap_alive_count(), 1);
}

Test(registry, the_pages_of_an_orphan_can_all_be_adopted)
{
    support_thread(leave, NULL);
    for (unsigned i = 0; i < 64; i++)
        pool_free(left[i]);
    heap_ring_flush(heap_self);
    unsigned foreign = 0;
    for (unsigned i = 0; i < 64; i++)
        foreign += page_owner(zone_page_of(left[i])) != NULL && page_owner(zone_page_of(left[i])) != heap_self;
    cr_assert_eq(foreign, 0);
}

// --- fork ------------------------------------------------------------------------------------------------------------

static pthread_barrier_t allocated, forked;

static void *wait_through_fork(void *unused)
{
    (void)unused;
    leave(NULL);
    pthread_barrier_wait(&allocated);
    pthread_barrier_wait(&forked);
    pool_thread_exit();
    return NULL;
}

static void in_child(void *unused)
{
    (void)unused;
    if (heaps_in(HEAP_LOST) != 1 || heap_alive_count() != 1 || check_pool() != NULL)
        _exit(1);
    for (unsigned i = 0; i < 64; i += 2)
        pool_free(left[i]); // a lost thread's blocks can be freed, and used
    for (unsigned i = 1; i < 64; i += 2)
        memset(left[i], 0x5a, SIZE);
    for (unsigned i = 0; i < 10000; i++)
        if (pool_malloc(SIZE) == NULL)
            _exit(2);
    if (check_pool() != NULL)
        _exit(3);
}

Test(registry, a_child_of_fork_has_lost_the_other_threads_heaps_and_goes_on)
{
    pthread_t thread;
    pthread_barrier_init(&allocated, NULL, 2);
    pthread_barrier_init(&forked, NULL, 2);
    cr_assert_eq(pthread_create(&thread, NULL, wait_through_fork, NULL), 0);
    pthread_barrier_wait(&allocated);
    cr_assert_eq(support_fork(in_child, NULL), 0);
    cr_assert_eq(heaps_in(HEAP_LOST), 0, "the parent has lost nothing");
    pthread_barrier_wait(&forked);
    pthread_join(thread, NULL);
}

static void in_child_of_orphan(void *unused)
{
    (void)unused;
    if (heaps_in(HEAP_LOST) != 0 || registry_orphans() != 1)
        _exit(1);
    pool_free(left[0]);
    heap_ring_flush(heap_self);
    if (page_owner(zone_page_of(left[0])) != NULL) // adopted, and as it was empty then, given back
        _exit(2);
}

Test(registry, an_orphan_is_still_one_in_the_child)
{
    support_thread(leave, NULL);
    cr_assert_eq(support_fork(in_child_of_orphan, NULL), 0);
}

static void take_one(void *block)
{
    *(void **)block = pool_malloc(SIZE);
}

Test(registry, an_orphan_keeps_its_head_lists_for_the_next_thread)
{
    void *first, *second;
    support_thread(take_one, &first);
    support_thread(take_one, &second);
    cr_assert_eq((char *)second, (char *)first + SIZE, "the list went on where it stood");
    pool_free(first);
    pool_free(second);
}

Test(registry, what_orphans_keep_can_be_given_back)
{
    support_thread(leave, NULL);
    for (unsigned i = 0; i < 64; i++)
        pool_free(left[i]);
    heap_ring_flush(heap_self);
    pool_trim(0);
    cr_assert_eq(budget_retained(), 0);
    for (heap_t *heap = heap_first(); heap != NULL; heap = heap->next_heap)
        cr_assert_eq(heap->small_seen | heap->medium_seen, 0);
}

// --- the commons -----------------------------------------------------------------------------------------------------

#define MANY 6000u
static void *many[MANY];

static void fill_many(size_t size_bytes)
{
    for (unsigned i = 0; i < MANY; i++)
        many[i] = pool_malloc(size_bytes);
}

static void free_many(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < MANY; i++)
        pool_free(many[i]);
}

static unsigned blocks_in_pages_of(heap_t *heap)
{
    unsigned count = 0;
    for (unsigned i = 0; i < MANY; i++)
        count += page_owner(zone_page_of(many[i])) == heap;
    return count;
}

static void *live_on(void *unused)
{
    pool_free(pool_malloc(SIZE));
    pthread_barrier_wait(&together);
    pthread_barrier_wait(&together);
    pool_thread_exit();
    return unused;
}

// fill and free in `rounds` rounds, all blocks freed by other threads, while a further thread lives.
static void hand_over(size_t size_bytes, unsigned rounds)
{
    pthread_t other;
    pthread_barrier_init(&together, NULL, 2);
    cr_assert_eq(pthread_create(&other, NULL, live_on, NULL), 0);
    pthread_barrier_wait(&together);
    for (unsigned round = 0; round < rounds; round++) {
        fill_many(size_bytes);
        if (round + 1 == rounds)
            cr_assert_gt(blocks_in_pages_of(&heap_commons), MANY / 4 * 3);
        support_thread(free_many, NULL);
    }
    pthread_barrier_wait(&together);
    pthread_join(other, NULL);
}

Test(registry, full_pages_that_others_free_go_to_them)
{
    hand_over(SIZE, 3);
    unsigned per_page = size_class_table[size_class_of(SIZE)].block_count;
    cr_assert_leq(blocks_in_pages_of(heap_self), per_page, "but for the current page");
    cr_assert_eq(blocks_in_pages_of(&heap_commons), 0);
}

Test(registry, full_pages_of_medium_blocks_too)
{
    hand_over(3000, 3);
    unsigned per_page = size_class_table[size_class_of(3000)].block_count;
    cr_assert_leq(blocks_in_pages_of(heap_self), per_page, "but for the current page");
}

Test(registry, who_frees_the_own_blocks_again_keeps_the_pages)
{
    hand_over(SIZE, 3);
    for (unsigned round = 0; round < 3; round++) {
        fill_many(SIZE);
        free_many(NULL);
    }
    fill_many(SIZE);
    cr_assert_eq(blocks_in_pages_of(&heap_commons), 0);
    free_many(NULL);
}
