// tests/unit/test_meta.c - memory for tables: zeroed, aligned, never given twice.
#include <criterion/criterion.h>

#include "meta.h"
#include "os_linux.h"

static meta_arena_t arena;

static void meta_begin(void)
{
    os_start();
}

TestSuite(meta, .init = meta_begin);

Test(meta, memory_is_zero_aligned_and_apart)
{
    char *before = NULL;
    for (unsigned i = 0; i < 2000; i++) {
        size_t alignment = (size_t)1 << i % 13, bytes = 1 + i * 7 % 5000;
        char *at = meta_alloc(&arena, bytes, alignment);
        cr_assert_not_null(at);
        cr_assert_eq((uintptr_t)at % alignment, 0);
        cr_assert_neq(at, before);
        for (size_t b = 0; b < bytes; b++)
            cr_assert_eq(at[b], 0);
        memset(at, 0x5a, bytes);
        before = at;
    }
}

Test(meta, every_piece_lies_in_a_chunk_that_is_shown)
{
    for (unsigned i = 0; i < 200; i++) {
        char *at = meta_alloc(&arena, 10000, 64);
        unsigned in = 0;
        for (unsigned chunk = 0; chunk < arena.chunks; chunk++)
            in += at >= arena.chunk[chunk].start && at + 10000 <= arena.chunk[chunk].start + arena.chunk[chunk].bytes;
        cr_assert_eq(in, 1);
    }
    cr_assert_gt(arena.chunks, 1);
    cr_assert_lt(arena.chunks, 8, "they double");
}

Test(meta, a_piece_larger_than_any_chunk_has_its_own)
{
    char *at = meta_alloc(&arena, (size_t)10 << 20, 4096);
    cr_assert_not_null(at);
    memset(at, 0x5a, (size_t)10 << 20);
}
