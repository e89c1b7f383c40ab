// tests/unit/test_deputy.c - what others free of a thread that sleeps goes back at once, and nothing that lives goes with it.
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "budget.h"
#include "fixture.h"
#include "os_linux.h"

#define MIB ((size_t)1 << 20)
#define OS_PAGE ((size_t)4 << 10)
#define MANY (64 * MIB / 64)

static void *blocks[MANY];

TestSuite(deputy, .init = fixture_begin, .fini = fixture_end, .timeout = 120);

// A kernel without the call (test_os_linux.c says so), or ThreadSanitizer: then all of it stays pending, as the README says.
static bool there_is_none(void)
{
    return !os_barrier_threads();
}

static size_t resident(void)
{
    return budget_used() + budget_retained();
}

// The blocks first, first + step, ... below count.
typedef struct share {
    size_t count, first, step;
} share_t;

static void free_share(void *argument)
{
    const share_t *share = argument;
    for (size_t i = share->first; i < share->count; i += share->step)
        pool_free(blocks[i]);
}

static void fill(size_t count, size_t size_bytes)
{
    for (size_t i = 0; i < count; i++)
        memset(blocks[i] = pool_malloc(size_bytes), (int)(i % 251), size_bytes);
}

static bool is_whole(size_t i, size_t size_bytes)
{
    const unsigned char *block = blocks[i];
    return block[0] == i % 251 && block[size_bytes / 2] == i % 251 && block[size_bytes - 1] == i % 251;
}

// The first of every `step` blocks are freed by their owner, and then the others.
static void freed_while_the_owner_sleeps(size_t size_bytes, size_t step)
{
    share_t all = {64 * MIB / size_bytes, 0, 1}, own = {all.count, 0, step};
    fill(all.count, size_bytes);
    cr_assert_geq(resident(), 64 * MIB);
    free_share(&own);
    for (size_t i = 0; i < all.count; i += step)
        blocks[i] = NULL;
    support_thread(free_share, &all);
    cr_assert_leq(resident(), 4 * MIB, "blocks of %zu bytes: %zu bytes stay", size_bytes, resident());
}

#define NOBODY (MANY + 1)

Test(deputy, blocks_of_64_bytes_go_back_while_their_owner_sleeps)
{
    if (!there_is_none())
        freed_while_the_owner_sleeps(64, NOBODY);
}

Test(deputy, blocks_of_1000_bytes_too)
{
    if (!there_is_none())
        freed_while_the_owner_sleeps(1000, NOBODY);
}

Test(deputy, medium_blocks_too)
{
    if (!there_is_none())
        freed_while_the_owner_sleeps(6000, NOBODY);
}

Test(deputy, what_the_owner_has_freed_of_a_small_page_counts)
{
    if (!there_is_none())
        freed_while_the_owner_sleeps(160, 2);
}

Test(deputy, what_the_owner_has_freed_of_a_nearly_empty_page_counts)
{
    if (there_is_none())
        return;
    size_t size_bytes = 256, count = 64 * MIB / size_bytes, rest = 0;
    fill(count, size_bytes);
    for (size_t i = 0; i < count; i++)
        if (i % 32 != 0)
            pool_free(blocks[i]);
        else
            blocks[rest++] = blocks[i];
    share_t last = {rest, 0, 1};
    support_thread(free_share, &last);
    cr_assert_leq(resident(), 4 * MIB, "%zu bytes stay", resident());
}

Test(deputy, what_the_owner_has_freed_of_a_medium_page_counts)
{
    if (!there_is_none())
        freed_while_the_owner_sleeps(3000, 3);
}

// One block a page of small blocks lives: each page stays, and so does what is in it.
Test(deputy, a_page_with_a_block_that_lives_stays)
{
    if (there_is_none())
        return;
    size_t size_bytes = 256, count = 32 * MIB / size_bytes;
    size_t per_page = size_class_table[size_class_of(size_bytes)].block_count;
    share_t others = {count, 0, 1};
    fill(count, size_bytes);
    void *kept[32 * MIB / 256 / 8];
    size_t kept_count = 0, rest = 0;
    for (size_t i = 0; i < count; i++)
        if (i % per_page == 0)
            kept[kept_count++] = blocks[i];
        else
            blocks[rest++] = blocks[i];
    others.count = rest;
    size_t before = resident();
    support_thread(free_share, &others);
    cr_assert_geq(resident(), before - 2 * MIB);
    for (size_t i = 0; i < kept_count; i++) {
        unsigned char *block = kept[i];
        cr_assert(block[0] == i * per_page % 251 && block[size_bytes - 1] == i * per_page % 251, "block %zu", i);
        blocks[i] = block;
    }
    others.count = kept_count;
    support_thread(free_share, &others);
    cr_assert_leq(resident(), 4 * MIB, "%zu bytes stay", resident());
}

// Who fills again finds the pages in their zones, and gets no block twice.
Test(deputy, the_owner_goes_on_where_a_deputy_has_been)
{
    static const size_t sizes[] = {48, 200, 700, 1200, 5000, 40000};
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
            share_t third = {16 * MIB / sizes[i], 0, 3}, rest = {third.count, 1, 3}, last = {third.count, 2, 3};
            fill(third.count, sizes[i]);
            support_thread(free_share, &third);
            support_thread(free_share, &rest);
            for (size_t at = last.first; at < last.count; at += 3)
                cr_assert(is_whole(at, sizes[i]));
            if (round == 1)
                free_share(&last);
            else
                support_thread(free_share, &last);
            require_whole();
        }
}

Test(deputy, a_heap_whose_thread_is_in_a_slow_path_is_left_alone)
{
    share_t all = {64 * MIB / 256, 0, 1};
    fill(all.count, 256);
    heap_enter(heap_self);
    support_thread(free_share, &all);
    cr_assert_geq(resident(), 64 * MIB);
    cr_assert_eq(atomic_load(&heap_self->stopped), 0);
    heap_leave(heap_self);
    pool_trim(0);
    cr_assert_leq(resident(), 2 * MIB);
}

// The owner's last free of a page has been counted, and what it leads to has not begun.
Test(deputy, a_page_with_an_event_to_come_stays)
{
    size_t count = 64 * MIB / 256, rest = 0;
    fill(count, 256);
    page_t *page = support_page(blocks[0]);
    cr_assert_eq(page->place, PAGE_UNLISTED);
    block_t *last = blocks[0];
    for (size_t i = 1; i < count; i++)
        blocks[rest++] = blocks[i];
    page_arm(page, page_used(page) - 1);
    last->next = page->list; // as heap_free_local, up to the event
    page->list = last;
    cr_assert_eq(--page->left, 0);
    share_t others = {rest, 0, 1};
    support_thread(free_share, &others);
    cr_assert_eq(page_owner(page), heap_self);
    heap_page_event(page);
    pool_trim(0);
    cr_assert_null(page_owner(page));
}

// A look that finds its owner at work leaves all; when that one has taken it back, it is forgotten, and the next is as the first.
Test(deputy, what_a_look_has_left_and_the_owner_took_back_is_forgotten)
{
    if (there_is_none())
        return;
    share_t all = {64 * MIB / 256, 0, 1}, half = {all.count / 2, 0, 1};
    fill(all.count, 256);
    heap_enter(heap_self);
    support_thread(free_share, &all);
    heap_leave(heap_self);
    pool_trim(0);
    cr_assert_leq(resident(), 2 * MIB);
    fill(half.count, 256);
    support_thread(free_share, &half);
    cr_assert_leq(resident(), 4 * MIB, "%zu bytes stay", resident());
}

static pthread_barrier_t locked, freed;

static void *free_while_locked(void *argument)
{
    pool_free(pool_malloc(1)); // its heap's begin takes the lock
    pthread_barrier_wait(&locked);
    pthread_barrier_wait(&locked);
    free_share(argument);
    pthread_barrier_wait(&freed);
    pthread_barrier_wait(&freed);
    pool_thread_exit();
    return NULL;
}

// As a fork has it, which may wait for what the freeing thread holds.
Test(deputy, no_free_waits_for_the_lock)
{
    pthread_t other;
    share_t all = {64 * MIB / 256, 0, 1};
    pthread_barrier_init(&locked, NULL, 2);
    pthread_barrier_init(&freed, NULL, 2);
    fill(all.count, 256);
    cr_assert_eq(pthread_create(&other, NULL, free_while_locked, &all), 0);
    pthread_barrier_wait(&locked);
    cr_assert(lock_take(&heap_lock));
    pthread_barrier_wait(&locked);
    pthread_barrier_wait(&freed);
    lock_give(&heap_lock);
    cr_assert_geq(resident(), 64 * MIB);
    pthread_barrier_wait(&freed);
    pthread_join(other, NULL);
}

// --- many threads ------------------------------------------------------------------------------------------------------

#define HANDS 4u
#define TABLE 40000u
#define ROUNDS 12u

static _Atomic(unsigned char *) table[TABLE]; // [atomic] whoever exchanges an entry owns the block

static size_t size_of(uint64_t random)
{
    return 16 + (random >> 20) % (random % 16 == 0 ? 20000 : 600);
}

// A block says its own length, and what it is filled with.
static void block_write(unsigned char *block, size_t size_bytes, uint64_t random)
{
    memset(block, (int)(random % 255), size_bytes);
    memcpy(block, &size_bytes, sizeof size_bytes);
}

static bool block_is_whole(const unsigned char *block)
{
    size_t size_bytes;
    memcpy(&size_bytes, block, sizeof size_bytes);
    unsigned char fill = block[sizeof size_bytes];
    for (size_t i = sizeof size_bytes; i < size_bytes; i++)
        if (block[i] != fill)
            return false;
    return true;
}

static _Atomic unsigned damaged;

static void drop(unsigned char *block)
{
    if (block == NULL)
        return;
    damaged += !block_is_whole(block);
    pool_free(block);
}

// Now it fills the table, now it empties it, whoever filled it; and now and then it sleeps with all its pages.
static void *hand(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        bool fills = support_random(&random) % 2 == 0;
        for (unsigned i = 0; i < TABLE / 2; i++) {
            uint64_t chance = support_random(&random);
            unsigned char *block = NULL;
            if (fills) {
                block = pool_malloc(size_of(chance) + sizeof(size_t));
                block_write(block, size_of(chance) + sizeof(size_t), chance);
            }
            drop(atomic_exchange(&table[(chance >> 32) % TABLE], block));
        }
        if (support_random(&random) % 3 == 0)
            usleep(3000);
    }
    pool_thread_exit();
    return NULL;
}

Test(deputy, threads_that_free_for_each_other_lose_and_share_nothing)
{
    heap_look_bytes = OS_PAGE; // hundreds of looks
    for (unsigned run = 0; run < 3; run++) {
        pthread_t hands[HANDS];
        for (uintptr_t i = 0; i < HANDS; i++)
            cr_assert_eq(pthread_create(&hands[i], NULL, hand, (void *)(run * HANDS + i + 1)), 0);
        for (unsigned i = 0; i < HANDS; i++)
            pthread_join(hands[i], NULL);
        for (unsigned i = 0; i < TABLE; i++)
            drop(atomic_exchange(&table[i], NULL));
        cr_assert_eq(damaged, 0);
        cr_assert_eq(support_misuses, 0);
        require_whole();
    }
}

// --- stopped -----------------------------------------------------------------------------------------------------------

static _Atomic bool is_stopped, goes_on;

static void *stop_for_a_while(void *heap)
{
    while (!lock_take(&heap_lock))
        ;
    atomic_store(&((heap_t *)heap)->stopped, 1);
    atomic_store(&is_stopped, true);
    usleep(30000);
    atomic_store(&goes_on, true);
    atomic_store(&((heap_t *)heap)->stopped, 0);
    lock_give(&heap_lock);
    return NULL;
}

static void require_waits(void (*slow_path)(void))
{
    pthread_t other;
    atomic_store(&is_stopped, false);
    atomic_store(&goes_on, false);
    cr_assert_eq(pthread_create(&other, NULL, stop_for_a_while, heap_self), 0);
    while (!atomic_load(&is_stopped))
        ;
    slow_path();
    cr_assert(atomic_load(&goes_on));
    pthread_join(other, NULL);
}

static void *block_of_a_page;

static void refill(void)
{
    blocks[0] = pool_malloc(912);
}

static void medium(void)
{
    blocks[1] = pool_malloc(30000);
}

static void small_event(void)
{
    pool_free(block_of_a_page);
}

static void purge(void)
{
    heap_purge_excess(heap_self);
}

Test(deputy, a_slow_path_waits_until_the_deputy_is_done)
{
    fill(5000, 96);
    block_of_a_page = blocks[0];
    page_t *page = support_page(block_of_a_page);
    page_arm(page, page_used(page) - 1); // its next free is an event
    require_waits(refill);
    require_waits(medium);
    require_waits(small_event);
    require_waits(purge);
}

// What is asked of the barriers: at the first the heap is stopped, and at the second nothing has been given up.
static page_t *watched;
static heap_t *watched_owner;
static unsigned barriers, barriers_wrong;

bool __real_os_barrier_threads(void);
bool __wrap_os_barrier_threads(void);
bool __wrap_os_barrier_threads(void)
{
    if (watched != NULL && barriers < 2) {
        barriers++;
        barriers_wrong += atomic_load(&watched_owner->stopped) == 0 || page_owner(watched) != watched_owner;
    }
    return __real_os_barrier_threads();
}

Test(deputy, there_are_two_barriers_before_a_page_is_given_up)
{
    if (there_is_none())
        return;
    share_t all = {4 * MIB / 256, 0, 1};
    fill(all.count, 256);
    watched = support_page(blocks[0]);
    watched_owner = heap_self;
    support_thread(free_share, &all);
    cr_assert_neq(page_owner(watched), watched_owner);
    cr_assert_eq(barriers, 2);
    cr_assert_eq(barriers_wrong, 0);
}

// --- owners at work ----------------------------------------------------------------------------------------------------

static bool nothing_may_stay; // so that a deputy is wanted as soon as something is vacant

size_t __real_budget_limit(budget_kind_t kind);
size_t __wrap_budget_limit(budget_kind_t kind);
size_t __wrap_budget_limit(budget_kind_t kind)
{
    return nothing_may_stay ? 0 : __real_budget_limit(kind);
}

#define BATCH 4000u // less than the owner takes back by itself while it only frees
#define BATCHES 300u

static unsigned char *batch[BATCH];
static pthread_barrier_t filled, emptied;

static void half_freed(unsigned first)
{
    for (unsigned i = first; i < BATCH; i += 2)
        drop(batch[i]);
}

static void *freer(void *unused)
{
    for (unsigned round = 0; round < BATCHES; round++) {
        pthread_barrier_wait(&filled);
        half_freed(1);
        pthread_barrier_wait(&emptied);
    }
    pool_thread_exit();
    return unused;
}

static void batch_fill(uint64_t *random)
{
    for (unsigned i = 0; i < BATCH; i++) {
        uint64_t chance = support_random(random);
        size_t size_bytes = 16 + chance % 400;
        batch[i] = pool_malloc(size_bytes);
        block_write(batch[i], size_bytes, chance);
    }
    for (unsigned i = BATCH - 1; i > 0; i--) {
        unsigned at = support_random(random) % (i + 1);
        unsigned char *block = batch[at];
        batch[at] = batch[i];
        batch[i] = block;
    }
}

// The owner and another thread free the blocks of the same pages at the same time, so that the owner's pages go from list to list at
// every moment of a deputy's.
Test(deputy, an_owner_at_work_and_its_deputy_do_not_meet)
{
    uint64_t random = 1;
    pthread_t other;
    heap_look_bytes = OS_PAGE;
    nothing_may_stay = true;
    pthread_barrier_init(&filled, NULL, 2);
    pthread_barrier_init(&emptied, NULL, 2);
    cr_assert_eq(pthread_create(&other, NULL, freer, NULL), 0);
    for (unsigned round = 0; round < BATCHES; round++) {
        batch_fill(&random);
        pthread_barrier_wait(&filled);
        half_freed(0);
        pthread_barrier_wait(&emptied);
    }
    pthread_join(other, NULL);
    cr_assert_eq(damaged, 0);
    cr_assert_eq(support_misuses, 0);
    nothing_may_stay = false;
}
