// tests/unit/test_large.c - large blocks through the pool's front: whole OS pages, aligned, cleared, ready again at once, and used by
// many threads.
#include <criterion/criterion.h>
#include <pthread.h>

#include "books.h"
#include "budget.h"
#include "fixture.h"
#include "large.h"
#include "os_linux.h"

#define MIB ((size_t)1 << 20)

// What is given back, and how much of that with the lock held.
static _Atomic size_t given_bytes, given_locked_bytes;
static size_t limit_bytes = SIZE_MAX; // of addresses; the sanitizers live under none

bool __wrap_os_purge(void *start, size_t bytes);
bool __real_os_purge(void *start, size_t bytes);
void __wrap_os_unmap(void *start, size_t bytes);
void __real_os_unmap(void *start, size_t bytes);

size_t __wrap_os_address_limit_bytes(void);

size_t __wrap_os_address_limit_bytes(void)
{
    return limit_bytes;
}

static bool reserves_nothing;

void *__wrap_os_reserve(size_t bytes, size_t alignment);
void *__real_os_reserve(size_t bytes, size_t alignment);

void *__wrap_os_reserve(size_t bytes, size_t alignment)
{
    return reserves_nothing ? NULL : __real_os_reserve(bytes, alignment);
}

static void note_given(size_t bytes)
{
    given_bytes += bytes;
    given_locked_bytes += lock_is_mine(&extent_lock) ? bytes : 0;
}

bool __wrap_os_purge(void *start, size_t bytes)
{
    note_given(bytes);
    return __real_os_purge(start, bytes);
}

void __wrap_os_unmap(void *start, size_t bytes)
{
    note_given(bytes);
    __real_os_unmap(start, bytes);
}

TestSuite(large, .init = fixture_begin, .fini = fixture_end, .timeout = 60);
TestSuite(large_without_range, .timeout = 60);

Test(large, a_block_is_whole_os_pages_and_all_of_it_usable)
{
    for (size_t size = MEDIUM_MAX_BYTES + 1; size < MEDIUM_MAX_BYTES + 20000; size += 1234) {
        unsigned char *block = pool_malloc(size);
        cr_assert_eq(pool_usable_size(block), align_up(size, os_page_bytes()));
        memset(block, 0x5a, pool_usable_size(block));
    }
}

Test(large, what_the_last_owner_left_behind_the_end_is_given_back)
{
    size_t longer = 320 << 10, shorter = 300 << 10;
    char *block = pool_malloc(longer);
    memset(block, 0x5a, longer);
    pool_free(block);
    cr_assert_eq(pool_malloc(shorter), block);
    cr_assert_eq(books_resident(block + align_up(shorter, os_page_bytes()), block + longer), 0);
}

Test(large, calloc_of_fresh_memory_touches_nothing_and_of_cached_memory_clears_it)
{
    char *fresh = pool_calloc(MIB / 2);
    cr_assert_eq(books_resident(fresh, fresh + MIB / 2), 0);
    memset(fresh, 0x5a, MIB / 2);
    pool_free(fresh);
    char *again = pool_calloc(MIB / 2);
    cr_assert_eq(again, fresh);
    for (size_t i = 0; i < MIB / 2; i++)
        cr_assert_eq(again[i], 0);
}

Test(large, every_alignment_up_to_64_mib_is_kept)
{
    for (size_t alignment = 1; alignment <= 64 * MIB; alignment *= 2)
        for (size_t size = 1; size <= 2 * MIB; size = size * 5 + 3) {
            unsigned char *block = pool_aligned_alloc(alignment, size);
            cr_assert_not_null(block);
            cr_assert_eq((uintptr_t)block & (size_max(alignment, GRANULE_BYTES) - 1), 0, "%zu aligned to %zu", size,
                         alignment);
            cr_assert_geq(pool_usable_size(block), size);
            block[0] = block[size - 1] = 1;
            pool_free(block);
        }
}

Test(large, the_block_that_was_freed_last_stands_ready_for_its_size)
{
    large_counts_t before = large_counts();
    void *block = pool_malloc(MIB / 2 - 5);
    for (unsigned i = 1; i < 4; i++) {
        pool_free(block);
        cr_assert_eq(extent_node(extent_at(block))->state, EXTENT_WARM);
        cr_assert_eq(large_counts().live_blocks, before.live_blocks);
        cr_assert_eq(large_counts().requested_bytes, before.requested_bytes);
        cr_assert_eq(budget_retained(), MIB / 2);
        cr_assert_eq(pool_malloc(MIB / 2 - 5), block);
        cr_assert_eq(large_counts().allocated_total, before.allocated_total + i + 1);
    }
    cr_assert_eq(large_counts().requested_bytes - before.requested_bytes, MIB / 2 - 5);
    pool_free(block);
}

Test(large, a_ready_block_is_cached_when_another_comes_or_another_size_is_wanted)
{
    void *first = pool_malloc(MIB / 2), *second = pool_malloc(MIB / 4 + 1);
    pool_free(first);
    pool_free(second);
    cr_assert_eq(extent_node(extent_at(first))->state, EXTENT_CACHED);
    cr_assert_eq(extent_node(extent_at(second))->state, EXTENT_WARM);
    cr_assert_eq(pool_malloc(MIB / 2 - 1), first);
    cr_assert_eq(extent_node(extent_at(second))->state, EXTENT_CACHED);
    pool_free(first);
    cr_assert(pool_trim(0));
    cr_assert_eq(budget_retained(), 0);
}

Test(large, a_ready_block_that_is_freed_again_is_reported)
{
    void *block = pool_malloc(MIB / 2);
    pool_free(block);
    pool_free(block);
    cr_assert_eq(support_misuses, 1);
    cr_assert_eq(pool_malloc(MIB / 2), block);
}

// Writes its mark into blocks, and looks whether it is still there before it frees or resizes them.
static void *use_blocks(void *mark)
{
    void **held[8] = {NULL};
    uint64_t random = (uintptr_t)mark | 1;
    uintptr_t strange = 0;
    for (unsigned i = 0; i < 3000; i++) {
        unsigned at = (unsigned)(support_random(&random) % 8);
        size_t size = MEDIUM_MAX_BYTES + 1 + support_random(&random) % MIB;
        strange += held[at] != NULL && *held[at] != mark;
        if (i % 4 == 0) {
            held[at] = pool_realloc(held[at], size);
        } else {
            pool_free(held[at]);
            held[at] = pool_malloc(size);
        }
        *held[at] = mark;
    }
    for (unsigned at = 0; at < 8; at++)
        pool_free(held[at]);
    pool_thread_exit();
    return (void *)strange;
}

Test(large, blocks_that_many_threads_use_at_once_are_neither_shared_nor_lost)
{
    pthread_t threads[4];
    unsigned marks[4];
    for (unsigned i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, use_blocks, &marks[i]), 0);
    for (unsigned i = 0; i < 4; i++) {
        void *strange;
        pthread_join(threads[i], &strange);
        cr_assert_null(strange);
    }
    cr_assert_eq(large_counts().live_blocks, 0);
    cr_assert_eq(large_counts().live_bytes, 0);
}

Test(large, what_is_more_than_can_be_is_refused)
{
    cr_assert_null(pool_malloc((size_t)PTRDIFF_MAX + 1));
    cr_assert_null(pool_malloc(PTRDIFF_MAX));
    cr_assert_null(pool_malloc(SIZE_MAX));
    cr_assert_null(pool_aligned_alloc((size_t)1 << 62, MIB));
    cr_assert_null(pool_aligned_alloc((size_t)1 << 63, SIZE_MAX / 2));
    void *block = pool_malloc(MIB);
    cr_assert_null(pool_realloc(block, PTRDIFF_MAX));
    cr_assert_null(pool_realloc(block, SIZE_MAX));
    cr_assert_eq(pool_usable_size(block), MIB, "the block is as it was");
}

// The kernel takes 50 ms for a GiB, and nobody else would get or free a large block meanwhile.
static void give_back(void)
{
    given_bytes = given_locked_bytes = 0;
    char *block = pool_malloc(64 * MIB);
    memset(block, 0x5a, 64 * MIB);
    pool_free(block);
    cr_assert_geq(given_bytes, 64 * MIB);
    cr_assert_eq(given_locked_bytes, 0);
}

Test(large, what_is_freed_is_given_back_without_the_lock)
{
    give_back();
}

static _Atomic bool is_there;

static void *shrink_and_grow(void *stop)
{
    char *block = pool_malloc(64 * MIB);
    memset(block, 0x5a, 64 * MIB);
    atomic_store(&is_there, true);
    while (!atomic_load((_Atomic bool *)stop)) {
        block = pool_realloc(block, 8 * MIB);
        block = pool_realloc(block, 64 * MIB);
        memset(block, 0x5a, 64 * MIB);
    }
    pool_free(block);
    return NULL;
}

Test(large, a_block_that_becomes_shorter_is_live_meanwhile)
{
    static survey_t survey;
    static _Atomic bool stop;
    pthread_t thread;
    cr_assert_eq(pthread_create(&thread, NULL, shrink_and_grow, &stop), 0);
    while (!atomic_load(&is_there))
        sched_yield();
    for (unsigned i = 0; i < 300; i++) {
        survey_take(&survey);
        cr_assert_eq(survey.large_blocks, 1);
    }
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
}

Test(large_without_range, what_is_freed_is_given_back_without_the_lock)
{
    limit_bytes = (size_t)1 << 32;
    fixture_begin();
    give_back();
    require_whole();
}

// As when small blocks have used up all of them but a few.
Test(large_without_range, blocks_are_to_be_had_though_no_addresses_can_be_reserved_any_more)
{
    limit_bytes = (size_t)1 << 32;
    fixture_begin();
    reserves_nothing = true;
    for (unsigned i = 0; i < 2000; i++)
        cr_assert_not_null(pool_malloc(MIB / 2), "%u blocks", i);
    require_whole();
}
