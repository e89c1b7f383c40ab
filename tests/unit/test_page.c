// tests/unit/test_page.c - a page alone: carving, taking and putting back, its equation, and that page_check sees when
// it does not hold.
#include <criterion/criterion.h>

#include "page.h"

static _Alignas(HIGH_PAGE_BYTES) char memory[HIGH_PAGE_BYTES];
static page_t page;

static void page_begin(unsigned class)
{
    page = (page_t){.start = memory};
    page_init(&page, class, true);
}

static unsigned list_length(const block_t *block)
{
    unsigned length = 0;
    for (; block != NULL; block = block->next)
        length++;
    return length;
}

// Carves everything and takes it all: each block is used.
static unsigned take_all(block_t **blocks)
{
    unsigned count = 0;
    while (page_can_carve(&page)) {
        unsigned taken;
        page_carve(&page);
        for (block_t *block = page_take_list(&page, &taken); block != NULL; block = block->next)
            blocks[count++] = block;
        page_arm(&page, 0);
    }
    return count;
}

TestSuite(page, .init = size_class_start);

Test(page, a_new_page_has_nothing_used_and_nothing_carved)
{
    for (unsigned class = 1; class < CLASS_COUNT; class ++) {
        page_begin(class);
        cr_assert_eq(page_used(&page), 0);
        cr_assert_null(page_check(&page), "class %u", class);
        if (class <= SMALL_CLASSES)
            cr_assert(page_can_carve(&page) && page.list == NULL && page_carved_count(&page) == 0);
        else
            cr_assert_eq(bits_count(page_free_bits(&page)), page_class(&page)->block_count);
    }
}

Test(page, carving_gives_every_block_once_and_in_place)
{
    for (unsigned class = 1; class <= SMALL_CLASSES; class ++) {
        block_t *blocks[SMALL_BLOCKS_MAX];
        page_begin(class);
        unsigned count = take_all(blocks);
        cr_assert_eq(count, page_class(&page)->block_count, "class %u", class);
        for (unsigned i = 0; i < count; i++)
            cr_assert_eq((char *)blocks[i], page_block(&page, i), "class %u, block %u", class, i);
        cr_assert_null(page_check(&page));
    }
}

Test(page, a_carve_step_touches_no_os_page_but_its_own)
{
    for (unsigned class = 1; class <= SMALL_CLASSES; class ++) {
        page_begin(class);
        memset(memory, 0x5a, sizeof(memory));
        page_carve(&page);
        for (size_t i = CARVE_BYTES; i < sizeof(memory); i++)
            cr_assert_eq(memory[i], 0x5a, "class %u, offset %zu", class, i);
    }
}

Test(page, each_block_belongs_to_the_carve_step_it_starts_in)
{
    for (unsigned class = 1; class <= SMALL_CLASSES; class ++) {
        page_begin(class);
        unsigned steps = page_steps(&page), block_bytes = page_class(&page)->block_bytes;
        cr_assert_eq(page_step_first(&page, 0), 0);
        cr_assert_eq(page_step_first(&page, steps), page_class(&page)->block_count, "class %u", class);
        for (unsigned step = 0; step < steps; step++)
            for (unsigned i = page_step_first(&page, step); i < page_step_first(&page, step + 1); i++)
                cr_assert_eq(i * block_bytes / CARVE_BYTES, step, "class %u, block %u", class, i);
    }
}

Test(page, steps_that_an_earlier_life_left_resident_are_carved_first)
{
    page_begin(40);
    cr_assert(page_carve(&page), "the first step was not resident");
    page.soiled = 1 << 7 | 1 << 0;
    page_init(&page, 41, false);
    cr_assert_not(page_carve(&page));
    page.list = NULL;
    cr_assert_not(page_carve(&page));
    cr_assert_eq(page.carved, 1 << 7 | 1 << 0);
    page.list = NULL;
    cr_assert(page_carve(&page));
    page_init(&page, 40, true);
    cr_assert(page_carve(&page), "a clean page is not resident");
}

Test(page, blocks_put_back_are_on_the_list_and_not_used)
{
    block_t *blocks[SMALL_BLOCKS_MAX];
    page_begin(5);
    unsigned count = take_all(blocks);
    blocks[0]->next = blocks[1];
    blocks[1]->next = blocks[2];
    page_put_list(&page, blocks[0], blocks[2], 3);
    cr_assert_eq(page_used(&page), count - 3);
    cr_assert_eq(list_length(page.list), 3);
    cr_assert_null(page_check(&page));
}

Test(page, put_back_below_the_floor_lowers_the_floor)
{
    block_t *blocks[SMALL_BLOCKS_MAX];
    page_begin(5);
    unsigned count = take_all(blocks);
    page_arm(&page, count - 1);
    blocks[0]->next = blocks[1];
    page_put_list(&page, blocks[0], blocks[1], 2);
    cr_assert_eq(page.floor, count - 2);
    cr_assert_eq(page.left, 0);
    cr_assert_eq(page_used(&page), count - 2);
}

Test(page, arming_changes_when_the_event_comes_and_nothing_else)
{
    block_t *blocks[SMALL_BLOCKS_MAX];
    page_begin(9);
    unsigned count = take_all(blocks);
    for (unsigned floor = 0; floor <= count; floor++) {
        page_arm(&page, floor);
        cr_assert_eq(page_used(&page), count);
        cr_assert_eq(page.left, count - floor);
    }
}

Test(page, fullness_is_the_quarter_that_used_blocks_reach_into)
{
    page_begin(4);
    unsigned count = page_class(&page)->block_count;
    for (unsigned used = 0; used <= count; used++) {
        page.left = (uint16_t)used;
        unsigned bucket = page_fullness(&page);
        cr_assert_lt(bucket, BUCKETS);
        cr_assert(used == 0 || (used * BUCKETS > bucket * count && used * BUCKETS <= (bucket + 1) * count), "%u of %u",
                  used, count);
    }
}

Test(page, an_address_inside_a_block_leads_to_it_and_is_not_its_start)
{
    for (unsigned class = 1; class <= SMALL_CLASSES; class ++) {
        page_begin(class);
        const size_class_t *info = page_class(&page);
        for (size_t offset = 0; offset < info->page_bytes; offset++) {
            bool exact;
            unsigned index = page_block_index(&page, memory + offset, &exact);
            cr_assert_eq(index, offset / info->block_bytes);
            cr_assert_eq(exact, offset % info->block_bytes == 0 && index < info->block_count, "class %u, offset %zu",
                         class, offset);
        }
    }
}

Test(page, check_sees_a_list_that_leaves_the_page)
{
    block_t outside = {NULL};
    page_begin(8);
    page_carve(&page);
    page.list->next->next = &outside;
    cr_assert_str_eq(page_check(&page), "a free list leaves its page");
}

Test(page, check_sees_a_list_that_enters_a_block)
{
    page_begin(8);
    page_carve(&page);
    page.list->next = (block_t *)(memory + 24);
    cr_assert_not_null(page_check(&page));
}

Test(page, check_sees_a_circle)
{
    page_begin(8);
    page_carve(&page);
    page.list->next->next = page.list;
    cr_assert_str_eq(page_check(&page), "a free list is longer than its page, or a circle");
}

Test(page, check_sees_a_lost_block)
{
    page_begin(8);
    page_carve(&page);
    page.list = page.list->next;
    cr_assert_str_eq(page_check(&page), "used + free != carved");
}

Test(page, check_sees_a_used_count_that_is_off_by_one)
{
    unsigned count;
    page_begin(8);
    page_carve(&page);
    page_take_list(&page, &count);
    page.left++;
    cr_assert_str_eq(page_check(&page), "used + free != carved");
}

Test(page, check_sees_wrong_bits_of_a_medium_page)
{
    page_begin(CLASS_FIRST_MEDIUM + 3);
    page.dirty_bits |= (uint64_t)1 << page_class(&page)->block_count;
    cr_assert_str_eq(page_check(&page), "bits beyond the last block");
    page_begin(CLASS_FIRST_MEDIUM + 3);
    page.dirty_bits |= page.clean_bits & 4;
    cr_assert_str_eq(page_check(&page), "a free block is both clean and dirty");
    page_begin(CLASS_FIRST_MEDIUM + 3);
    page.clean_bits &= ~(uint64_t)4;
    cr_assert_str_eq(page_check(&page), "used + free != blocks");
    page_begin(CLASS_FIRST_MEDIUM + 3);
    page.left++;
    cr_assert_str_eq(page_check(&page), "used + free != blocks");
}

Test(page, check_sees_a_class_that_is_none)
{
    page_begin(8);
    page.class = 0;
    cr_assert_str_eq(page_check(&page), "no such class");
    page.class = CLASS_COUNT;
    cr_assert_str_eq(page_check(&page), "no such class");
}
