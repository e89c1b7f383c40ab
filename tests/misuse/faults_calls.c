// tests/misuse/faults_calls.c - realloc and malloc_usable_size of what is no block.
#include <malloc.h>

#include "faults.h"

static void realloc_fails(void *block, size_t size_bytes)
{
    errno = 0;
    void *moved = realloc(block, size_bytes);
    CHECK(moved == NULL, "realloc gave %p", moved);
}

static void realloc_freed(size_t size_bytes)
{
    void *block = announced_with_neighbours(size_bytes);
    free(hide(block));
    realloc_fails(hide(block), size_bytes * 2);
}

FAULT(realloc_of_64_bytes_freed)
{
    realloc_freed(64);
}

FAULT(realloc_of_2000_bytes_freed)
{
    realloc_freed(2000);
}

FAULT(realloc_of_1_mib_freed)
{
    realloc_freed(MIB);
}

FAULT(realloc_inside_64_bytes)
{
    realloc_fails(announce_within(malloc(64), 16), 1000);
}

FAULT(realloc_inside_2000_bytes)
{
    realloc_fails(announce_within(malloc(2000), 16), 5000);
}

FAULT(realloc_inside_1_mib)
{
    realloc_fails(announce_within(malloc(MIB), 4096), 5000000);
}

FAULT(realloc_of_a_stack_address)
{
    char local[64] __attribute__((aligned(16))) = {0};
    realloc_fails(announce_foreign(local), 100);
}

FAULT(realloc_of_a_global)
{
    realloc_fails(announce_foreign(global), 100);
}

FAULT(realloc_of_a_mapping_of_the_program)
{
    realloc_fails(announce_foreign(foreign_mapping()), 100);
}

FAULT(realloc_of_a_wild_pointer)
{
    realloc_fails(announce_foreign((void *)(uintptr_t)0xdeadbeefdeadbee0u), 100);
}

static void usable_size_is_0(void *block)
{
    CHECK(malloc_usable_size(block) == 0, "malloc_usable_size gave %zu", malloc_usable_size(block));
}

static void usable_size_of_freed(size_t size_bytes)
{
    void *block = announced_with_neighbours(size_bytes);
    free(hide(block));
    usable_size_is_0(hide(block));
}

FAULT(usable_size_of_64_bytes_freed)
{
    usable_size_of_freed(64);
}

FAULT(usable_size_of_2000_bytes_freed)
{
    usable_size_of_freed(2000);
}

FAULT(usable_size_of_1_mib_freed)
{
    usable_size_of_freed(MIB);
}

FAULT(usable_size_inside_64_bytes)
{
    usable_size_is_0(announce_within(malloc(64), 16));
}

FAULT(usable_size_inside_2000_bytes)
{
    usable_size_is_0(announce_within(malloc(2000), 16));
}

FAULT(usable_size_inside_1_mib)
{
    usable_size_is_0(announce_within(malloc(MIB), 4096));
}

FAULT(usable_size_of_a_stack_address)
{
    char local[64] __attribute__((aligned(16))) = {0};
    usable_size_is_0(announce_foreign(local));
}

FAULT(usable_size_of_a_global)
{
    usable_size_is_0(announce_foreign(global));
}

FAULT(usable_size_of_a_mapping_of_the_program)
{
    usable_size_is_0(announce_foreign(foreign_mapping()));
}

FAULT(usable_size_of_a_wild_pointer)
{
    usable_size_is_0(announce_foreign((void *)(uintptr_t)0xdeadbeefdeadbee0u));
}
