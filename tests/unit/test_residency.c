// tests/unit/test_residency.c - whatever is asked, in whatever order, is what the OS pages say, and the kernel is asked seldom.
#include <criterion/criterion.h>

#include "residency.h"

#define PAGES 10000u // more than are asked about at once, and than there are runs

static residency_t residency;
static bool written[PAGES];
static char *start;
static uintptr_t base, end;
static size_t page;
static unsigned asked;

unsigned __real_os_residency(void *from, size_t pages, os_run_t *runs, size_t *told);

unsigned __wrap_os_residency(void *from, size_t pages, os_run_t *runs, size_t *told)
{
    asked++;
    return __real_os_residency(from, pages, runs, told);
}

static uint64_t chance(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return state >> 33;
}

static void memory_begin(void)
{
    os_start();
    page = os_page_bytes();
    start = os_map(PAGES * page, page);
    os_no_huge_pages(start, PAGES * page);
    base = (uintptr_t)start;
    end = base + PAGES * page;
    residency_forget(&residency);
}

static void page_write(size_t number)
{
    start[number * page] = 1;
    written[number] = true;
}

// Byte by byte, but for what all bytes of a page have in common.
static size_t bytes_by_pages(uintptr_t from, uintptr_t to)
{
    size_t sum = 0;
    for (uintptr_t at = from, next; at < to; at = next) {
        next = size_min(align_down(at, page) + page, to);
        sum += written[(at - base) / page] ? next - at : 0;
    }
    return sum;
}

static void ask(uintptr_t from, uintptr_t to)
{
    cr_assert_eq(residency_bytes(&residency, from, to, end), bytes_by_pages(from, to), "%zu .. %zu", from - base, to - base);
}

TestSuite(residency, .init = memory_begin, .timeout = 60);

Test(residency, of_a_range_that_is_empty_is_none)
{
    cr_assert_eq(residency_bytes(&residency, base, base, end), 0);
    cr_assert_eq(residency_bytes(&residency, base + 1, base, end), 0);
    cr_assert_eq(asked, 0);
}

Test(residency, of_part_of_an_os_page_is_that_part)
{
    page_write(1);
    ask(base, base + page);
    ask(base + page / 2, base + page + 16);
    ask(base + page + 16, base + page + 48);
    ask(base + 2 * page - 1, base + 3 * page);
    cr_assert_eq(asked, 1);
}

Test(residency, piece_by_piece_is_what_the_pages_say)
{
    for (size_t i = 0; i < PAGES; i++)
        if (chance() % 3 != 0 || (i > 3000 && i < 4000))
            page_write(i);
    for (uintptr_t at = base, next; at < end; at = next) {
        next = size_min(at + 1 + chance() % (chance() % 8 == 0 ? 40 * page : page), end);
        ask(at, next);
    }
    cr_assert_lt(asked, 20);
}

Test(residency, in_any_order_is_what_the_pages_say)
{
    for (size_t i = 0; i < PAGES; i += 1 + chance() % 5)
        page_write(i);
    for (unsigned i = 0; i < 2000; i++) {
        uintptr_t from = base + chance() % (PAGES * page), to = size_min(from + chance() % (200 * page), end);
        ask(from, to);
        ask(from + (to - from) / 4, to - (to - from) / 4);
    }
}

// Far into holes and back: what lies between two runs is not looked for from the first run on.
Test(residency, one_load_answers_for_all_that_it_tells_about)
{
    for (size_t i = 0; i < OS_RUNS / 2; i++)
        page_write(2 * i);
    for (size_t i = 0; i < OS_RUNS; i++)
        ask(base + i * page, base + (i + 1) * page);
    for (size_t i = OS_RUNS; i-- > 0;)
        ask(base + i * page, base + (i + 1) * page);
    cr_assert_eq(asked, 1);
}

Test(residency, what_is_asked_beyond_the_mapped_range_is_looked_at_too)
{
    page_write(0);
    page_write(2);
    cr_assert_eq(residency_bytes(&residency, base, base + 3 * page, base + page), 2 * page);
}

Test(residency, what_was_forgotten_is_asked_for_again)
{
    ask(base, base + page);
    page_write(0);
    cr_assert_eq(residency_bytes(&residency, base, base + page, end), 0, "it is what was there then");
    residency_forget(&residency);
    ask(base, base + page);
    cr_assert_eq(asked, 2);
}
