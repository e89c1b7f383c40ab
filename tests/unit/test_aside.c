// tests/unit/test_aside.c - a heap that is set aside between calls: every call finds it, and no other thread's way in.
#include <criterion/criterion.h>

#include "check.h"
#include "heap.h"
#include "support.h"

static unsigned held_off; // calls of the hook: cancellation held off,
static bool anywhere;     // and how it is now

void pool_hook_cancellable(bool now_anywhere)
{
    cr_assert_neq(now_anywhere, anywhere);
    cr_assert_eq(heap_self, &heap_none); // in both directions: while the thread can be cancelled, it has no heap
    held_off += !now_anywhere;
    anywhere = now_anywhere;
}

static void aside_begin(void)
{
    cr_assert(pool_start());
}

static void aside_end(void)
{
    const char *wrong = check_pool();
    cr_assert_null(wrong, "%s", wrong);
}

TestSuite(aside, .init = aside_begin, .fini = aside_end, .timeout = 60);

static void set_aside(void)
{
    pool_thread_cancellable(true);
    anywhere = true;
    held_off = 0;
}

Test(aside, a_call_takes_the_heap_and_sets_it_aside_again)
{
    void *block = pool_malloc(100);
    heap_t *heap = heap_self;
    set_aside();
    cr_assert_eq(heap_self, &heap_none);
    void *other = pool_malloc(100);
    cr_assert(anywhere && held_off == 1 && heap_self == &heap_none);
    cr_assert_eq(page_owner(support_page(other)), heap);
    pool_free(block);
    cr_assert(anywhere && held_off == 2);
    pool_thread_cancellable(false);
    cr_assert_eq(heap_self, heap);
    pool_free(other);
}

Test(aside, no_call_of_any_size_goes_past_it)
{
    static const size_t sizes[] = {1, 100, 1000, 5000, 200000, 300000, 3 << 20};
    for (size_t i = 0; i < 2 * sizeof(sizes) / sizeof(*sizes); i++) { // twice: with and without a warm large block
        size_t size = sizes[i / 2];
        pool_thread_cancellable(false);
        pool_free(pool_malloc(size));
        set_aside();
        void *block = pool_malloc(size);
        cr_assert_eq(held_off, 1, "malloc(%zu)", size);
        cr_assert_geq(pool_usable_size(block), size);
        block = pool_realloc(block, size * 3);
        cr_assert_eq(held_off, 3, "realloc to %zu", size * 3);
        pool_free(block);
        cr_assert_eq(held_off, 4, "free of %zu", size * 3);
        pool_delete(pool_aligned_alloc(64, size), size);
        cr_assert_eq(held_off, 6, "delete of %zu", size);
        char *zeroed = pool_calloc(size);
        cr_assert(held_off == 7 && zeroed[0] == 0 && zeroed[size - 1] == 0);
        pool_free(zeroed);
        pool_trim(0);
        cr_assert(held_off == 9 && anywhere && heap_self == &heap_none);
    }
    pool_thread_cancellable(false);
}

static void end_aside(void *heap)
{
    void *block = pool_malloc(100);
    *(heap_t **)heap = heap_self;
    set_aside();
    pool_free(block);
} // support_thread calls pool_thread_exit

Test(aside, the_heap_of_a_thread_that_ends_is_an_orphan)
{
    heap_t *heap = NULL;
    pool_free(pool_malloc(1));
    support_thread(end_aside, &heap);
    cr_assert_eq(atomic_load(&heap->state), HEAP_ORPHAN);
    cr_assert_not(anywhere); // what its destructors still ask for is not interrupted
}

static void use_own_heap(void *block)
{
    page_t *page = support_page(block);
    pool_free(block);
    cr_assert_eq(atomic_load(&page_owner(page)->state), HEAP_ALIVE);
    pool_thread_cancellable(false);
    cr_assert_eq(page_owner(page), heap_self);
}

Test(aside, the_child_of_a_fork_has_its_heap_still)
{
    void *block = pool_malloc(100);
    set_aside();
    cr_assert_eq(support_fork(use_own_heap, block), 0);
    pool_free(block);
    pool_thread_cancellable(false);
}

Test(aside, nothing_is_cancelled_from_the_beginning_of_a_fork_to_its_end_not_even_in_one_that_a_handler_makes)
{
    void *block = pool_malloc(100);
    set_aside();
    pool_fork_prepare();
    cr_assert_not(anywhere);
    pool_free(block);
    pool_fork_prepare(); // in a signal handler
    pool_fork_parent();
    cr_assert_not(anywhere);
    cr_assert(heap_self != &heap_none && held_off == 1);
    pool_fork_parent();
    cr_assert(anywhere && heap_self == &heap_none);
    pool_thread_cancellable(false);
    pool_fork_prepare();
    pool_fork_parent();
    cr_assert_neq(heap_self, &heap_none);
}
