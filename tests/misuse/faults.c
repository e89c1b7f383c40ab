// tests/misuse/faults.c - one function a fault. expectations.py says what each must come to.
//
//   faults          prints the names of all faults
//   faults NAME     prints the address that is misused and the usable size of its block (0: none), commits the fault,
//                   and if it is still there afterwards, looks whether the heap is whole and prints "whole"
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

#include "../conformance/check.h"

typedef struct fault {
    const char *name;
    void (*commit)(void);
    struct fault *next;
} fault_t;

static fault_t *faults;

#define FAULT(fault_name)                                                                                              \
    static void fault_name(void);                                                                                      \
    __attribute__((constructor)) static void fault_name##_join(void)                                                   \
    {                                                                                                                  \
        static fault_t fault = {#fault_name, fault_name, NULL};                                                        \
        fault.next = faults;                                                                                           \
        faults = &fault;                                                                                               \
    }                                                                                                                  \
    static void fault_name(void)

// The compiler would warn of the fault, had it seen where the address comes from.
static void *hide(const void *address)
{
    void *hidden = (void *)(uintptr_t)address;
    __asm__ volatile("" : "+r"(hidden));
    return hidden;
}

// The address that will be misused, `offset` bytes into a block that is live as yet.
static void *announce_within(void *block, size_t offset)
{
    void *address = (char *)hide(block) + offset;
    printf("%p %zu\n", address, malloc_usable_size(block));
    fflush(stdout);
    return address;
}

static void *announce(void *block)
{
    return announce_within(block, 0);
}

// One that belongs to no block.
static void *announce_foreign(const void *address)
{
    printf("%p 0\n", address);
    fflush(stdout);
    return hide(address);
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

// --- double free -----------------------------------------------------------------------------------------------------

static void free_twice(size_t size_bytes)
{
    void *block = announce(malloc(size_bytes));
    free(hide(block));
    free(hide(block));
}

FAULT(double_free_of_1_byte)
{
    free_twice(1);
}

FAULT(double_free_of_64_bytes)
{
    free_twice(64);
}

FAULT(double_free_of_500_bytes)
{
    free_twice(500);
}

FAULT(double_free_of_2000_bytes)
{
    free_twice(2000);
}

FAULT(double_free_of_20000_bytes)
{
    free_twice(20000);
}

FAULT(double_free_of_100000_bytes)
{
    free_twice(100000);
}

FAULT(double_free_of_1_mib)
{
    free_twice(MIB);
}

FAULT(double_free_of_100_mib)
{
    free_twice(100 * MIB);
}

// Other blocks of the same size are live, and one of them is freed in between.
static void free_twice_with_one_between(size_t size_bytes)
{
    void *others[10], *block = announce(malloc(size_bytes));
    for (size_t i = 0; i < COUNT(others); i++)
        others[i] = malloc(size_bytes);
    free(hide(block));
    free(others[5]);
    free(hide(block));
}

FAULT(delayed_double_free_of_64_bytes)
{
    free_twice_with_one_between(64);
}

FAULT(delayed_double_free_of_2000_bytes)
{
    free_twice_with_one_between(2000);
}

FAULT(delayed_double_free_of_20000_bytes)
{
    free_twice_with_one_between(20000);
}

FAULT(delayed_double_free_of_100000_bytes)
{
    free_twice_with_one_between(100000);
}

FAULT(delayed_double_free_of_1_mib)
{
    free_twice_with_one_between(MIB);
}

// The page it lies in was emptied and given up meanwhile.
static void free_again_when_the_page_is_gone(size_t size_bytes)
{
    void *blocks[1000];
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = malloc(size_bytes);
    void *block = announce(blocks[500]);
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    malloc_trim(0);
    free(hide(block));
}

FAULT(double_free_of_64_bytes_in_a_page_given_up)
{
    free_again_when_the_page_is_gone(64);
}

FAULT(double_free_of_2000_bytes_in_a_page_given_up)
{
    free_again_when_the_page_is_gone(2000);
}

static void *thread_frees(void *block)
{
    free(block);
    return NULL;
}

static void *thread_frees_twice(void *block)
{
    free(hide(block));
    free(hide(block));
    return NULL;
}

static void run(void *(*body)(void *), void *block)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, block) == 0, "no thread");
    pthread_join(thread, NULL);
}

// Each size among live neighbours, so that its page stays the main thread's.
static void *announced_with_neighbours(size_t size_bytes)
{
    void *block = malloc(size_bytes);
    for (size_t i = 0; i < 5; i++)
        CHECK(malloc(size_bytes) != NULL, "no memory");
    return announce(block);
}

FAULT(double_free_of_64_bytes_by_another_thread)
{
    run(thread_frees_twice, announced_with_neighbours(64));
}

FAULT(double_free_of_2000_bytes_by_another_thread)
{
    run(thread_frees_twice, announced_with_neighbours(2000));
}

// With frees between: what a thread gathers of others' blocks is looked at when it is handed over.
static void *thread_frees_second_again(void *array)
{
    void **blocks = array;
    for (size_t i = 0; i < 4; i++)
        free(blocks[i]);
    free(hide(blocks[1]));
    free(blocks[4]);
    return NULL;
}

FAULT(delayed_double_free_of_64_bytes_by_another_thread)
{
    static void *blocks[5];
    for (size_t i = 0; i < 5; i++)
        blocks[i] = malloc(64);
    announce(blocks[1]);
    run(thread_frees_second_again, blocks);
}

FAULT(double_free_of_1_mib_by_another_thread)
{
    run(thread_frees_twice, announced_with_neighbours(MIB));
}

static void owner_frees_then_thread(size_t size_bytes)
{
    void *block = announced_with_neighbours(size_bytes);
    free(hide(block));
    run(thread_frees, hide(block));
}

FAULT(free_of_64_bytes_by_the_owner_then_by_a_thread)
{
    owner_frees_then_thread(64);
}

FAULT(free_of_2000_bytes_by_the_owner_then_by_a_thread)
{
    owner_frees_then_thread(2000);
}

FAULT(free_of_1_mib_by_the_owner_then_by_a_thread)
{
    owner_frees_then_thread(MIB);
}

static void thread_frees_then_owner(size_t size_bytes)
{
    void *block = announced_with_neighbours(size_bytes);
    run(thread_frees, hide(block));
    free(hide(block));
}

FAULT(free_of_64_bytes_by_a_thread_then_by_the_owner)
{
    thread_frees_then_owner(64);
}

FAULT(free_of_2000_bytes_by_a_thread_then_by_the_owner)
{
    thread_frees_then_owner(2000);
}

FAULT(free_of_1_mib_by_a_thread_then_by_the_owner)
{
    thread_frees_then_owner(MIB);
}

// --- free of what is no block ----------------------------------------------------------------------------------------

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

static char global[64] __attribute__((aligned(16)));

FAULT(free_of_a_global)
{
    free(announce_foreign(global));
}

FAULT(free_of_code)
{
    void (*function)(void) = heap_require_whole;
    free(announce_foreign(*(void **)&function));
}

static void *foreign_mapping(void)
{
    void *mapping = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(mapping != MAP_FAILED, "no mapping");
    return mapping;
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

// --- the other functions ---------------------------------------------------------------------------------------------

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

// --- sizes that are told ---------------------------------------------------------------------------------------------

// C++'s operator new and delete, sized and with an alignment; C23's.
void *_Znwm(size_t size_bytes) __attribute__((weak));
void *_ZnwmSt11align_val_t(size_t size_bytes, size_t alignment) __attribute__((weak));
void _ZdlPvm(void *block, size_t size_bytes) __attribute__((weak));
void _ZdaPvm(void *block, size_t size_bytes) __attribute__((weak));
void _ZdlPvmSt11align_val_t(void *block, size_t size_bytes, size_t alignment) __attribute__((weak));
void free_sized(void *block, size_t size_bytes) __attribute__((weak));
void free_aligned_sized(void *block, size_t alignment, size_t size_bytes) __attribute__((weak));

// Every size that was asked for is taken without a word.
static void delete_rightly(void)
{
    for (size_t size = 0; size < 2 * MIB; size = size * 5 / 4 + 1) {
        _ZdlPvm(_Znwm(size), size);
        _ZdaPvm(_Znwm(size), size);
        free_sized(malloc(size), size);
        for (size_t alignment = 16; alignment <= 8192; alignment *= 4) {
            _ZdlPvmSt11align_val_t(_ZnwmSt11align_val_t(size, alignment), size, alignment);
            free_aligned_sized(aligned_alloc(alignment, size), alignment, size);
        }
        if (size != 0) // what realloc has made of it, wherever it left it
            free_sized(realloc(malloc(size), size * 2 / 3 + 1), size * 2 / 3 + 1);
    }
}

FAULT(sized_delete_of_64_bytes_as_80)
{
    delete_rightly();
    _ZdlPvm(announce(_Znwm(64)), 80);
}

FAULT(sized_delete_of_64_bytes_as_5000)
{
    _ZdaPvm(announce(_Znwm(64)), 5000);
}

FAULT(sized_delete_of_2000_bytes_as_64)
{
    _ZdlPvm(announce(_Znwm(2000)), 64);
}

FAULT(sized_delete_of_1_mib_as_2)
{
    _ZdlPvm(announce(_Znwm(MIB)), 2 * MIB);
}

FAULT(sized_delete_of_100_aligned_bytes_as_1000)
{
    _ZdlPvmSt11align_val_t(announce(_ZnwmSt11align_val_t(100, 64)), 1000, 64);
}

FAULT(free_sized_of_64_bytes_as_200)
{
    free_sized(announce(malloc(64)), 200);
}

FAULT(free_aligned_sized_of_100_bytes_as_1000)
{
    free_aligned_sized(announce(aligned_alloc(64, 100)), 64, 1000);
}

FAULT(sized_delete_of_64_bytes_twice)
{
    void *block = announce(_Znwm(64));
    _ZdlPvm(hide(block), 64);
    _ZdlPvm(hide(block), 64);
}
