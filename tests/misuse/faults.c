// tests/misuse/faults.c - the faults of faults_*.c, one function each. expectations.py says what each must come to.
//
//   faults          prints the names of all faults
//   faults NAME     prints the address that is misused and the usable size of its block (0: none), commits the fault,
//                   and if it is still there afterwards, looks whether the heap is whole and prints "whole"
#include "faults.h"

#include <malloc.h>
#include <sys/mman.h>

fault_t *faults;
char global[64] __attribute__((aligned(16)));

void *hide(const void *address)
{
    void *hidden = (void *)(uintptr_t)address;
    __asm__ volatile("" : "+r"(hidden));
    return hidden;
}

void *announce_within(void *block, size_t offset)
{
    void *address = (char *)hide(block) + offset;
    printf("%p %zu\n", address, malloc_usable_size(block));
    fflush(stdout);
    return address;
}

void *announce(void *block)
{
    return announce_within(block, 0);
}

void *announce_foreign(const void *address)
{
    printf("%p 0\n", address);
    fflush(stdout);
    return hide(address);
}

void *announced_with_neighbours(size_t size_bytes)
{
    void *block = malloc(size_bytes);
    for (size_t i = 0; i < 5; i++)
        CHECK(malloc(size_bytes) != NULL, "no memory");
    return announce(block);
}

void *foreign_mapping(void)
{
    void *mapping = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapping != MAP_FAILED, "no mapping");
    return mapping;
}

// --- is the heap whole? ----------------------------------------------------------------------------------------------

enum { BLOCKS = 4000, ROUNDS = 3 };

static size_t size_of(size_t i)
{
    static const size_t sizes[] = {64, 512, 2000, 20000, 100000, 64, 1000, 16, 300000, 48};
    return i % 97 == 0 ? sizes[i / 97 % COUNT(sizes)] : sizes[i % 3];
}

// A block that is handed out twice shows, since each holds a pattern of its own.
static void heap_require_whole(void)
{
    static void *blocks[BLOCKS];
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < BLOCKS; i++) {
            blocks[i] = malloc(size_of(i + round));
            CHECK(blocks[i] != NULL, "no memory");
            block_fill(blocks[i], size_of(i + round), i);
        }
        for (size_t i = 0; i < BLOCKS; i++) {
            CHECK(block_is_filled(blocks[i], size_of(i + round), i), "block %zu of %zu bytes was overwritten", i,
                  size_of(i + round));
            free(blocks[i]);
        }
    }
    malloc_trim(0);
}

int main(int argc, char **argv)
{
    library_require();
    alarm(20);
    for (fault_t *fault = faults; fault != NULL; fault = fault->next) {
        if (argc < 2)
            puts(fault->name);
        else if (strcmp(fault->name, argv[1]) == 0) {
            fault->commit();
            heap_require_whole();
            puts("whole");
            return EXIT_SUCCESS;
        }
    }
    return argc < 2 ? EXIT_SUCCESS : STATUS_FAILED;
}
