// tests/conformance/alignment.c - where blocks start: at multiples of 16 always, and of what was asked for.
#include <malloc.h>

#include "facts.h"

#define LARGEST_SIZE ((size_t)300000)
#define LARGEST_ALIGNMENT MIB
#define SOME_OF_IT ((size_t)4096) // so much of a block's start and end is written and read

static bool is_aligned(const void *block, size_t alignment)
{
    return ((uintptr_t)block & (alignment - 1)) == 0;
}

static void *calloc_one(size_t size_bytes)
{
    return calloc(1, size_bytes);
}

static void *realloc_from_small(size_t size_bytes)
{
    return realloc(malloc(1), size_bytes + (size_bytes == 0)); // 0 would free
}

static void is_aligned_at_every_size(const char *function, void *(*call)(size_t size_bytes))
{
    enum { NEIGHBOURS = 5 }; // an odd number of odd sizes
    void *blocks[NEIGHBOURS];
    for (size_t size = 0; size <= LARGEST_SIZE; size = size_next(size)) {
        for (size_t i = 0; i < NEIGHBOURS; i++) {
            blocks[i] = call(size);
            CHECK(blocks[i] != NULL && is_aligned(blocks[i], 16), "%s(%zu) gave %p", function, size, blocks[i]);
        }
        for (size_t i = 0; i < NEIGHBOURS; i++)
            free(blocks[i]);
    }
}

FACT(malloc_is_aligned_to_16_bytes_at_every_size)
{
    is_aligned_at_every_size("malloc", malloc);
}

FACT(calloc_is_aligned_to_16_bytes_at_every_size)
{
    is_aligned_at_every_size("calloc", calloc_one);
}

FACT(realloc_is_aligned_to_16_bytes_at_every_size)
{
    is_aligned_at_every_size("realloc", realloc_from_small);
}

// --- asked for ---------------------------------------------------------------------------------------------------------

static void *posix_memalign_now(size_t alignment, size_t size_bytes)
{
    void *block = NULL;
    CHECK(posix_memalign(&block, alignment, size_bytes) == 0, "%zu, %zu", alignment, size_bytes);
    return block;
}

static void ends_fill(void *block, size_t size_bytes, size_t tag)
{
    size_t part = size_bytes < SOME_OF_IT ? size_bytes : SOME_OF_IT;
    block_fill(block, part, tag);
    block_fill((char *)block + size_bytes - part, part, tag);
}

// The end was written last; where both overlap only the end can be told.
static bool ends_are_filled(const void *block, size_t size_bytes, size_t tag)
{
    size_t part = size_bytes < SOME_OF_IT ? size_bytes : SOME_OF_IT;
    return (size_bytes < 2 * part || block_is_filled(block, part, tag)) &&
           block_is_filled((const char *)block + size_bytes - part, part, tag);
}

typedef struct slot {
    void *block;
    size_t size_bytes, tag;
} slot_t;

static void slot_empty(slot_t *slot)
{
    CHECK(slot->block == NULL || ends_are_filled(slot->block, slot->size_bytes, slot->tag),
          "%zu bytes at %p were overwritten", slot->size_bytes, slot->block);
    free(slot->block);
    slot->block = NULL;
}

// Sizes up to `largest`, each block staying for a while among blocks of the sizes before, and checked when it goes.
static void serves(size_t alignment, size_t largest, void *(*call)(size_t alignment, size_t size_bytes))
{
    slot_t slots[16] = {{NULL, 0, 0}};
    size_t tag = 0;
    for (size_t size = 0; size <= largest; size = size_next(size), tag++) {
        slot_t *slot = &slots[tag % COUNT(slots)];
        slot_empty(slot);
        *slot = (slot_t){call(alignment, size), size, tag};
        CHECK(slot->block != NULL && is_aligned(slot->block, alignment) && is_aligned(slot->block, 16),
              "%p for %zu bytes at %zu", slot->block, size, alignment);
        CHECK(malloc_usable_size(slot->block) >= size, "%zu for %zu bytes at %zu", malloc_usable_size(slot->block),
              size, alignment);
        slot->size_bytes = malloc_usable_size(slot->block);
        ends_fill(slot->block, slot->size_bytes, tag);
    }
    for (size_t i = 0; i < COUNT(slots); i++)
        slot_empty(&slots[i]);
}

static void serves_every_alignment(void *(*call)(size_t alignment, size_t size_bytes))
{
    for (size_t alignment = sizeof(void *); alignment <= LARGEST_ALIGNMENT; alignment *= 2)
        serves(alignment, LARGEST_SIZE, call);
}

FACT(memalign_serves_every_alignment_at_every_size)
{
    serves_every_alignment(memalign);
}

FACT(aligned_alloc_serves_every_alignment_at_every_size)
{
    serves_every_alignment(aligned_alloc);
}

FACT(posix_memalign_serves_every_alignment_at_every_size)
{
    serves_every_alignment(posix_memalign_now);
}

FACT(an_alignment_of_16_mib_is_served)
{
    serves(16 * MIB, LARGEST_SIZE, memalign);
    serves(16 * MIB, 1000, posix_memalign_now);
}

static void *valloc_now(size_t alignment, size_t size_bytes)
{
    (void)alignment;
    return valloc(size_bytes);
}

FACT(valloc_starts_at_an_os_page)
{
    serves((size_t)getpagesize(), LARGEST_SIZE, valloc_now);
}

FACT(pvalloc_gives_whole_os_pages_that_free_takes_back)
{
    size_t page = (size_t)getpagesize();
    for (size_t size = 0; size <= LARGEST_SIZE; size = size_next(size)) {
        char *block = pvalloc(size);
        size_t whole = (size + page - 1) / page * page;
        CHECK(block != NULL && is_aligned(block, page), "%p for %zu", (void *)block, size);
        CHECK(malloc_usable_size(block) >= whole, "%zu for %zu", malloc_usable_size(block), size);
        memset(block, 1, whole);
        free(block);
    }
}

// --- afterwards ------------------------------------------------------------------------------------------------------

FACT(realloc_keeps_the_contents_of_an_aligned_block)
{
    for (size_t alignment = 16; alignment <= LARGEST_ALIGNMENT; alignment *= 4)
        for (size_t size = 1; size <= 4 * LARGEST_SIZE; size = size * 3 + 1) {
            void *block = memalign(alignment, size);
            block_fill(block, size, alignment);
            block = realloc(block, size * 3);
            CHECK(block_is_filled(block, size, alignment), "%zu bytes at %zu grown", size, alignment);
            block = realloc(block, size / 2 + 1);
            CHECK(block_is_filled(block, size / 2 + 1, alignment), "%zu bytes at %zu shrunk", size, alignment);
            free(block);
        }
}

FACT(freed_aligned_blocks_are_used_again)
{
    enum { ROUNDS = 5000 };
    size_t before = rss_bytes();
    for (size_t alignment = 32; alignment <= LARGEST_ALIGNMENT; alignment *= 2)
        for (unsigned i = 0; i < ROUNDS; i++) {
            void *block = memalign(alignment, 100 + i % 2000);
            *(char *)block = 1;
            free(block);
        }
    CHECK(rss_bytes() < before + 8 * MIB, "grown from %zu to %zu", before, rss_bytes());
}
