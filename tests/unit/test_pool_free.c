// tests/unit/test_pool_free.c - frees of what is not live: each is reported by its name, and the heap stays whole.
#include <criterion/criterion.h>

#include "fixture.h"
#include "misused.h"

#define MIB ((size_t)1 << 20)

TestSuite(pool_free, .init = fixture_begin, .fini = fixture_end, .timeout = 60);

Test(pool_free, a_double_free_is_reported_and_the_heap_stays_whole)
{
    void *block = pool_malloc(100);
    pool_free(block);
    pool_free(block);
    misused("free", block, "double free");
    cr_assert_eq(support_misuse.block_bytes, 112);
    cr_assert_neq(pool_malloc(100), pool_malloc(100));
}

Test(pool_free, a_double_free_of_a_large_block_is_reported)
{
    void *block = pool_malloc(MIB);
    pool_free(block);
    pool_free(block);
    misused("free", block, "double free, or never allocated");
}

static void free_twice(void *block)
{
    pool_free(block);
    pool_free(block);
}

Test(pool_free, a_double_free_of_another_threads_block_is_reported)
{
    void *block = pool_malloc(100);
    pool_malloc(100);
    support_thread(free_twice, block);
    misused("free", block, "double free");
}

// Of a small class of each zone: a block, and what is freed behind it by another thread, which gathers blocks of the class then.
typedef struct gathered {
    void *block, *wrong;
    const char *what;
} gathered_t;

static void free_gathered(void *argument)
{
    const gathered_t *gathered = argument;
    pool_free(gathered->block);
    cr_assert_eq(support_misuses, 0);
    cr_assert_eq(heap_ring_slot(heap_self, support_page(gathered->block)->class)->first, gathered->block);
    pool_free(gathered->wrong);
    misused("free", gathered->wrong, gathered->what);
}

static const size_t gathered_sizes[] = {112, 512};

Test(pool_free, a_free_inside_a_block_by_a_thread_that_gathers_is_reported)
{
    for (unsigned i = 0; i < 2; i++) {
        char *block = pool_malloc(gathered_sizes[i]), *other = pool_malloc(gathered_sizes[i]);
        support_thread(free_gathered, &(gathered_t){block, other + GRANULE_BYTES, "not the start of a block"});
    }
}

Test(pool_free, a_free_of_what_the_owner_has_freed_by_a_thread_that_gathers_is_reported)
{
    for (unsigned i = 0; i < 2; i++) {
        void *block = pool_malloc(gathered_sizes[i]), *other = pool_malloc(gathered_sizes[i]);
        pool_free(other);
        support_thread(free_gathered, &(gathered_t){block, other, "double free"});
    }
}

Test(pool_free, a_free_of_what_was_never_allocated_by_a_thread_that_gathers_is_reported)
{
    for (unsigned i = 0; i < 2; i++) {
        char *block = pool_malloc(gathered_sizes[i]);
        const page_t *page = support_page(block);
        void *last = page_block(page, page_class(page)->block_count - 1); // its step is not carved yet
        support_thread(free_gathered, &(gathered_t){block, last, "double free, or never allocated"});
    }
}

Test(pool_free, a_second_free_by_a_thread_that_gathers_is_reported_at_once)
{
    for (unsigned i = 0; i < 2; i++) {
        void *block = pool_malloc(gathered_sizes[i]);
        support_thread(free_gathered, &(gathered_t){block, block, "double free"});
    }
}

// More than another thread gathers before it hands them over.
#define MANY (2 * RING_PAGE_BLOCKS + 1)
static void *many[MANY];

static page_t *many_of_one_page(void)
{
    for (unsigned i = 0; i < MANY; i++)
        many[i] = pool_malloc(GRANULE_BYTES);
    cr_assert_eq(support_page(many[0]), support_page(many[MANY - 1]));
    return support_page(many[0]);
}

static void free_many(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < MANY; i++)
        pool_free(many[i]);
}

static void delete_many(void *unused)
{
    (void)unused;
    for (unsigned i = 0; i < MANY; i++)
        pool_delete(many[i], GRANULE_BYTES);
}

Test(pool_free, all_that_another_thread_deletes_comes_back)
{
    page_t *page = many_of_one_page();
    support_thread(delete_many, NULL);
    cr_assert_eq(remote_pending(page), MANY);
}

Test(pool_free, all_that_another_thread_frees_in_a_marked_page_comes_back)
{
    page_t *page = many_of_one_page();
    page_mark(page);
    support_thread(free_many, NULL);
    cr_assert_eq(remote_pending(page), MANY);
    page_unmark(page);
}

Test(pool_free, a_free_inside_a_block_is_reported)
{
    char *medium = pool_malloc(5000), *large = pool_malloc(MIB);
    pool_free(medium + 16);
    misused("free", medium + 16, "not the start of a block");
    pool_free(large + 4096);
    misused("free", large + 4096, "not the start of a block");
    memset(medium, 0x5a, 5000);
    memset(large, 0x5a, MIB);
}

Test(pool_free, a_free_of_a_page_that_went_back_is_reported)
{
    static void *blocks[2000];
    for (unsigned i = 0; i < 2000; i++)
        blocks[i] = pool_malloc(64);
    for (unsigned i = 0; i < 2000; i++)
        pool_free(blocks[i]);
    cr_assert_null(page_owner(support_page(blocks[0])));
    pool_free(blocks[0]);
    misused("free", blocks[0], "double free, or never allocated");
}
