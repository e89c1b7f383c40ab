// tests/unit/test_trap.c - traps: where they lie, what can be touched, what is told, and that the books close.
#include <criterion/criterion.h>
#include <pthread.h>
#include <string.h>

#include "fixture.h"
#include "os_linux.h"
#include "support.h"
#include "trap.h"

static void start_with_traps(void)
{
    support_harden = HARDEN_TRAPS;
    support_trap_every = 1;
    cr_assert(pool_start());
    cr_assert_neq(trap_slots(), 0);
    pool_free(pool_malloc(1)); // a heap's first block is none
}

TestSuite(trap, .init = start_with_traps, .timeout = 60);

static char *trap_of(size_t size_bytes)
{
    char *block = pool_malloc(size_bytes);
    cr_assert(trap_has(block), "%zu bytes are no trap", size_bytes);
    return block;
}

Test(trap, a_block_ends_where_its_os_page_ends_but_for_its_alignment)
{
    for (size_t bytes = 1; bytes <= 4 * os_page_bytes(); bytes += 61) {
        char *block = trap_of(bytes), *end = (char *)align_up((uintptr_t)block + bytes, os_page_bytes());
        cr_assert_lt((size_t)(end - (block + bytes)), GRANULE_BYTES, "%zu bytes", bytes);
        cr_assert_eq(pool_usable_size(block), bytes);
        memset(block, 0x5a, bytes);
        cr_assert(!support_writable(end), "behind %zu bytes", bytes);
        pool_free(block);
        cr_assert(!support_writable(block), "%zu bytes, freed", bytes);
    }
    cr_assert_eq(support_misuses, 0);
}

Test(trap, what_no_slot_fits_is_an_ordinary_block)
{
    void *block = pool_malloc(4 * os_page_bytes() + 1), *aligned = pool_aligned_alloc(2 * os_page_bytes(), 10);
    cr_assert(block != NULL && aligned != NULL && !trap_has(block) && !trap_has(aligned));
    pool_free(block);
    pool_free(aligned);
}

Test(trap, alignments_up_to_an_os_page_are_kept)
{
    for (size_t alignment = 32; alignment <= os_page_bytes(); alignment *= 2) {
        char *block = pool_aligned_alloc(alignment, 100);
        cr_assert(trap_has(block) && (uintptr_t)block % alignment == 0, "%zu", alignment);
        memset(block, 1, 100);
        pool_free(block);
    }
    cr_assert_eq(support_misuses, 0);
}

Test(trap, a_slot_is_used_again_as_late_as_can_be)
{
    void *first = trap_of(100);
    pool_free(first);
    for (unsigned i = 1; i < trap_slots(); i++) {
        void *block = trap_of(100);
        cr_assert_neq(block, first, "after %u", i);
        pool_free(block);
    }
    cr_assert_eq(trap_of(100), first);
}

Test(trap, memory_of_a_slot_reads_as_zero_again)
{
    for (unsigned i = 0; i < trap_slots() + 10; i++) {
        char *block = trap_of(300);
        for (unsigned at = 0; at < 300; at++)
            cr_assert_eq(block[at], 0);
        memset(block, 0x5a, 300);
        pool_free(block);
    }
}

Test(trap, half_of_the_slots_live_and_then_blocks_are_ordinary)
{
    void *blocks[1024];
    unsigned traps = 0;
    for (unsigned i = 0; i < 1024; i++)
        traps += trap_has(blocks[i] = pool_malloc(64));
    cr_assert_eq(traps, trap_slots() / 2);
    for (unsigned i = 0; i < 1024; i++)
        pool_free(blocks[i]);
    cr_assert(trap_has(pool_malloc(64)));
    cr_assert_eq(support_misuses, 0);
}

static void told(const char *what, size_t block_bytes)
{
    cr_assert_eq(support_misuses, 1, "told %u times", support_misuses);
    cr_assert_str_eq(support_misuse.what, what);
    cr_assert_eq(support_misuse.block_bytes, block_bytes);
    support_misuses = 0;
}

Test(trap, misuse_is_told)
{
    char *block = trap_of(40);
    pool_free(block + 16);
    told("not the start of a block", 40);
    pool_free(block);
    pool_free(block);
    told("double free", 40);
    cr_assert_eq(pool_usable_size(block), 0);
    told("not a live block", 40);
    cr_assert_null(pool_realloc(block, 100));
    told("not a live block", 40);
    pool_free((char *)trap_base + trap_bytes - 1);
    told("not from this heap", 0);
    cr_assert_null(check_pool());
}

Test(trap, writes_that_the_guards_do_not_stop_are_told_at_the_free)
{
    char *block = trap_of(41);
    block[41] = 1;
    pool_free(block);
    told("its end was written over", 41);
    block = trap_of(41);
    block[-1] = 1;
    pool_free(block);
    told("what is before it was written over", 41);
    cr_assert(!support_writable(block));
}

Test(trap, an_address_is_explained_by_the_block_that_it_belonged_to)
{
    trap_report_t report;
    char *block = trap_of(40);
    cr_assert(trap_explain(block + 48, &report));
    cr_assert_str_eq(report.where, "behind the end of a live block");
    cr_assert(report.block == block && report.size_bytes == 40 && report.distance_bytes == 8);
    cr_assert(report.allocated.thread == (uint32_t)os_thread_id() && report.freed.thread == 0);
    cr_assert(trap_explain(block - 5000, &report));
    cr_assert_str_eq(report.where, "before the start of a live block");
    pool_free(block);
    cr_assert(trap_explain(block + 3, &report));
    cr_assert_str_eq(report.where, "in a freed block");
    cr_assert(report.distance_bytes == 3 && report.freed.thread == (uint32_t)os_thread_id());
    cr_assert(!trap_explain((char *)trap_base + trap_bytes - 1, &report));
}

Test(trap, a_slot_whose_guard_was_opened_is_not_used_again)
{
    char *live = trap_of(64), *freed = trap_of(64);
    pool_free(freed);
    cr_assert(trap_forgive(live + 64) && trap_forgive(freed));
    cr_assert(support_writable(live + 64) && support_writable(freed));
    pool_free(live);
    for (unsigned i = 0; i < 2 * trap_slots(); i++) {
        void *block = trap_of(64);
        cr_assert(block != live && block != freed);
        pool_free(block);
    }
}

Test(trap, realloc_moves_all_that_changes)
{
    char *block = trap_of(100);
    memset(block, 0x5a, 100);
    cr_assert_eq(pool_realloc(block, 100), block);
    for (size_t bytes = 50; bytes < 400000; bytes = bytes * 3 / 2) {
        block = pool_realloc(block, bytes);
        for (size_t i = 0; i < 50; i++)
            cr_assert_eq(block[i], 0x5a, "%zu bytes", bytes);
    }
    pool_free(block);
    cr_assert_eq(support_misuses, 0);
    cr_assert_null(check_pool());
}

static void *thread_works(void *argument)
{
    uint64_t random = (uintptr_t)argument;
    void *blocks[100] = {NULL};
    for (unsigned i = 0; i < 20000; i++) {
        void **block = &blocks[support_random(&random) % 100];
        pool_free(*block);
        size_t bytes = support_random(&random) % 3000 + 1;
        *block = pool_malloc(bytes);
        memset(*block, 0x5a, bytes);
    }
    for (unsigned i = 0; i < 100; i++)
        pool_free(blocks[i]);
    pool_thread_exit();
    return NULL;
}

Test(trap, threads_share_the_slots)
{
    pthread_t threads[4];
    for (uintptr_t i = 0; i < 4; i++)
        cr_assert_eq(pthread_create(&threads[i], NULL, thread_works, (void *)(i + 1)), 0);
    for (unsigned i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    cr_assert_eq(support_misuses, 0);
    trap_view_t view;
    for (unsigned i = 0; i < trap_slots(); i++)
        cr_assert(!trap_look(i, &view));
    cr_assert_null(check_pool());
}

Test(trap, the_books_close)
{
    static survey_t before, after;
    survey_take(&before);
    for (unsigned i = 0; i < 50; i++)
        memset(trap_of(100 + i * 150), 1, 100 + i * 150);
    survey_take(&after);
    require_survey(&after);
    cr_assert_eq(after.large_blocks - before.large_blocks, 50);
    cr_assert_eq(after.large_bytes - before.large_bytes, 50 * 100 + 49 * 50 / 2 * 150);
    cr_assert_eq(after.large_allocated_total - before.large_allocated_total, 50);
}
