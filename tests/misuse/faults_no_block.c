// tests/misuse/faults_no_block.c - free of what is no block: inside of one, or of what belongs to nobody or somebody else.
#include <sys/mman.h>

#include "faults.h"

static void free_within(size_t size_bytes, size_t offset)
{
    free(announce_within(malloc(size_bytes), offset));
}

FAULT(free_inside_64_bytes)
{
    free_within(64, 16);
}

FAULT(free_8_bytes_into_64_bytes)
{
    free_within(64, 8);
}

FAULT(free_inside_2000_bytes)
{
    free_within(2000, 16);
}

FAULT(free_8_bytes_into_2000_bytes)
{
    free_within(2000, 8);
}

FAULT(free_inside_100000_bytes)
{
    free_within(100000, 4096);
}

FAULT(free_inside_1_mib)
{
    free_within(MIB, 16);
}

FAULT(free_deep_inside_1_mib)
{
    free_within(MIB, MIB / 2);
}

FAULT(free_deep_inside_100_mib)
{
    free_within(100 * MIB, 77 * MIB);
}

FAULT(free_of_a_stack_address)
{
    char local[64] __attribute__((aligned(16))) = {0};
    free(announce_foreign(local));
}

FAULT(free_of_a_global)
{
    free(announce_foreign(global));
}

FAULT(free_of_code)
{
    void (*function)(void) = free_of_a_global;
    free(announce_foreign(*(void **)&function));
}

FAULT(free_of_a_mapping_of_the_program)
{
    free(announce_foreign(foreign_mapping()));
}

// Where the C library has blocks that it mapped alone, in a program whose break has moved, as the C library moves it.
FAULT(free_16_bytes_into_a_mapping_of_the_program)
{
    if (sbrk(4096) == (void *)-1)
        abort();
    free(announce_foreign((char *)foreign_mapping() + 16));
}

FAULT(free_inside_a_mapping_of_the_program)
{
    free(announce_foreign((char *)foreign_mapping() + 64));
}

// Nothing may be read there.
FAULT(free_inside_an_inaccessible_mapping)
{
    char *mapping = foreign_mapping();
    mprotect(mapping, MIB, PROT_NONE);
    free(announce_foreign(mapping + 4096));
}

FAULT(free_of_a_small_number)
{
    free(announce_foreign((void *)(uintptr_t)16));
}

FAULT(free_of_a_wild_pointer)
{
    free(announce_foreign((void *)(uintptr_t)0xdeadbeefdeadbee0u));
}

FAULT(free_of_the_highest_address)
{
    free(announce_foreign((void *)UINTPTR_MAX));
}

// Nothing has been allocated as yet: stdio would.
FAULT(free_of_a_small_number_as_the_first_call_of_all)
{
    if (write(STDOUT_FILENO, "0x10 0\n", 7) == 7)
        free(hide((void *)(uintptr_t)16));
}

// In the heap's addresses, but nothing was ever allocated there.
FAULT(free_far_behind_the_last_small_block)
{
    free(announce_foreign((char *)malloc(64) + 64 * MIB));
}

FAULT(free_far_behind_the_last_medium_block)
{
    free(announce_foreign((char *)malloc(2000) + 64 * MIB));
}
