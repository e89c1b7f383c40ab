// tests/misuse/probes.c - what a fault comes to under any allocator: one program, one probe a run.
//
//   probes          prints the names of all probes
//   probes NAME     commits the fault, goes on as a program would, and says what it found:
//
//       silent WHAT     nobody said anything, and there was harm: a block was handed out twice, a neighbour's or a later
//                       owner's data is changed or told, malloc gave an address of the fault's choosing
//       harmless        nobody said anything, and no harm could be found
//
// Ended with a message, or by a signal without one, it was detected or stopped: test_probes.py tells which. Sizes are asked of malloc_usable_size, so that an overflow is
// one everywhere, and slack behind a request is nobody's.
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct probe {
    const char *name;
    void (*commit)(void);
    struct probe *next;
} probe_t;

static probe_t *probes;

#define PROBE(probe_name)                                                                                              \
    static void probe_name(void);                                                                                      \
    __attribute__((constructor)) static void probe_name##_join(void)                                                   \
    {                                                                                                                  \
        static probe_t probe = {#probe_name, probe_name, NULL};                                                        \
        probe.next = probes;                                                                                           \
        probes = &probe;                                                                                               \
    }                                                                                                                  \
    static void probe_name(void)

enum { HELD_MOST = 4000, SMALL = 64, MEDIUM = 5000, LARGE = 1 << 20, AROUND = 40, LATER = 400 };

// The compiler would warn of the fault, had it seen where the address comes from.
static void *hide(const void *address)
{
    void *hidden = (void *)(uintptr_t)address;
    __asm__ volatile("" : "+r"(hidden) : : "memory");
    return hidden;
}

_Noreturn static void end(const char *verdict)
{
    puts(verdict);
    fflush(stdout);
    _exit(0);
}

_Noreturn static void silent(const char *harm)
{
    printf("silent ");
    end(harm);
}

// --- the rest of the program ---------------------------------------------------------------------------------------

// Live blocks around the fault and after it, each filled with a byte of its own.
typedef struct held {
    unsigned char *block;
    size_t bytes;
    unsigned char fill;
} held_t;

static held_t held[HELD_MOST];
static size_t held_count;

static unsigned char *hold(void *block, size_t bytes)
{
    if (block == NULL)
        end("no memory");
    held_t *one = &held[held_count++];
    *one = (held_t){block, bytes, (unsigned char)(1 + held_count % 97)};
    memset(block, one->fill, bytes);
    return block;
}

static bool overlap(const held_t *a, const held_t *b)
{
    return a->block < b->block + b->bytes && b->block < a->block + a->bytes;
}

static void held_verify(void)
{
    for (size_t i = 0; i < held_count; i++)
        for (size_t j = 0; j < i; j++)
            if (overlap(&held[i], &held[j]))
                silent("one address for two blocks");
    for (size_t i = 0; i < held_count; i++)
        for (size_t at = 0; at < held[i].bytes; at++)
            if (held[i].block[at] != held[i].fill)
                silent("another block's data is changed");
}

static size_t later_count(size_t bytes)
{
    return bytes >= LARGE ? 8 : LATER;
}

// The program goes on: more of the size, all of it freed at last, and some more.
_Noreturn static void go_on(size_t bytes)
{
    for (size_t i = later_count(bytes); i-- > 0;)
        hold(malloc(bytes), bytes);
    held_verify();
    while (held_count-- > 0)
        free(held[held_count].block);
    held_count = 0;
    for (size_t i = later_count(bytes); i-- > 0;)
        hold(malloc(bytes), bytes);
    held_verify();
    end("harmless");
}

// A block of the size among live ones.
static unsigned char *among(size_t bytes)
{
    size_t around = bytes >= LARGE ? 2 : AROUND;
    unsigned char *block = NULL;
    for (size_t i = 0; i < 2 * around; i++) {
        if (i == around && (block = malloc(bytes)) == NULL)
            end("no memory");
        hold(malloc(bytes), bytes);
    }
    return hide(block);
}

static void *thread_frees(void *block)
{
    free(block);
    return NULL;
}

static void free_in_thread(void *block)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, thread_frees, block) != 0 || pthread_join(thread, NULL) != 0)
        abort();
}

int main(int argc, char **argv)
{
    alarm(20);
    for (probe_t *probe = probes; probe != NULL; probe = probe->next) {
        if (argc < 2)
            puts(probe->name);
        else if (strcmp(probe->name, argv[1]) == 0) {
            printf("begun\n"); // stdio has its buffer now
            fflush(stdout);
            probe->commit();
            end("harmless");
        }
    }
    return argc < 2 ? 0 : 1;
}

// --- double frees ----------------------------------------------------------------------------------------------------

static void free_twice(size_t bytes, size_t between)
{
    unsigned char *block = among(bytes);
    free(block);
    for (size_t i = 0; i < between; i++) {
        free(held[--held_count].block);
    }
    free(hide(block));
    go_on(bytes);
}

PROBE(double_free_small_at_once)
{
    free_twice(SMALL, 0);
}

PROBE(double_free_small_delayed)
{
    free_twice(SMALL, 1);
}

PROBE(double_free_small_long_delayed)
{
    free_twice(SMALL, 30);
}

PROBE(double_free_medium_delayed)
{
    free_twice(MEDIUM, 5);
}

PROBE(double_free_large_delayed)
{
    free_twice(LARGE, 1);
}

// The next owner of the address has its block freed under it.
static void free_again_after_reuse(size_t bytes)
{
    unsigned char *block = among(bytes);
    free(block);
    for (size_t i = later_count(bytes) / 2; i-- > 0;)
        hold(malloc(bytes), bytes);
    free(hide(block));
    go_on(bytes);
}

PROBE(double_free_small_after_reuse)
{
    free_again_after_reuse(SMALL);
}

PROBE(double_free_large_after_reuse)
{
    free_again_after_reuse(LARGE);
}

PROBE(double_free_small_by_a_thread_then_the_owner)
{
    unsigned char *block = among(SMALL);
    free_in_thread(block);
    free(hide(block));
    go_on(SMALL);
}

PROBE(double_free_small_by_the_owner_then_a_thread)
{
    unsigned char *block = among(SMALL);
    free(block);
    free_in_thread(hide(block));
    go_on(SMALL);
}

enum { RACES = 16 };

static pthread_barrier_t start;
static unsigned char *raced[RACES];

static void *race(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&start);
    for (size_t i = 0; i < RACES; i++)
        free(hide(raced[i]));
    return NULL;
}

PROBE(double_free_small_by_two_threads_at_once)
{
    pthread_t threads[2];
    for (size_t i = 0; i < RACES; i++)
        raced[i] = among(SMALL / 2);
    pthread_barrier_init(&start, NULL, 2);
    for (size_t i = 0; i < 2; i++)
        pthread_create(&threads[i], NULL, race, NULL);
    for (size_t i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    held_count = 0;
    go_on(SMALL / 2);
}

// --- frees of what is no block ---------------------------------------------------------------------------------------

static void free_within(size_t bytes, size_t offset)
{
    unsigned char *block = hold(among(bytes), bytes);
    free(hide(block + offset));
    go_on(bytes);
}

PROBE(free_inside_a_small_block)
{
    free_within(SMALL, 16);
}

PROBE(free_misaligned_in_a_small_block)
{
    free_within(SMALL, 8);
}

PROBE(free_inside_a_medium_block)
{
    free_within(MEDIUM, 160);
}

PROBE(free_inside_a_large_block)
{
    free_within(LARGE, 160);
}

PROBE(free_of_an_os_page_inside_a_large_block)
{
    free_within(LARGE, 4096);
}

PROBE(free_deep_inside_a_large_block)
{
    free_within(LARGE, LARGE / 2);
}

PROBE(free_of_a_stack_address)
{
    unsigned char local[4 * SMALL] __attribute__((aligned(16)));
    free(hide(hold(local, sizeof(local)) + 64));
    go_on(SMALL);
}

static unsigned char global[4 * SMALL] __attribute__((aligned(16)));

PROBE(free_of_a_global)
{
    free(hide(hold(global, sizeof(global)) + 64));
    go_on(SMALL);
}

static unsigned char *mapping(void)
{
    void *start_of = mmap(NULL, LARGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return start_of == MAP_FAILED ? NULL : hold(start_of, LARGE);
}

PROBE(free_of_a_mapping_of_the_program)
{
    free(hide(mapping()));
    go_on(SMALL);
}

PROBE(free_inside_a_mapping_of_the_program)
{
    free(hide(mapping() + 64));
    go_on(SMALL);
}

PROBE(free_of_a_wild_pointer)
{
    free(hide((void *)(uintptr_t)0x123456789ab0u));
    go_on(SMALL);
}

// --- overflows -------------------------------------------------------------------------------------------------------

// Writes `count` bytes from `from` on, which may be before the block; then the block, and all others, end as usual.
static void write_beside(size_t bytes, bool before, size_t count, unsigned char value)
{
    unsigned char *block = among(bytes);
    size_t usable = malloc_usable_size(block);
    memset(hide(before ? block - count : block + usable), value, count);
    free(block);
    go_on(bytes);
}

PROBE(overflow_of_a_small_block_by_1_byte)
{
    write_beside(SMALL, false, 1, 'A');
}

PROBE(overflow_of_a_small_block_by_a_0_byte)
{
    write_beside(SMALL, false, 1, 0);
}

PROBE(overflow_of_a_small_block_by_16_bytes)
{
    write_beside(SMALL, false, 16, 'A');
}

PROBE(overflow_of_a_small_block_by_4096_bytes)
{
    write_beside(SMALL, false, 4096, 'A');
}

PROBE(overflow_of_a_medium_block_by_16_bytes)
{
    write_beside(MEDIUM, false, 16, 'A');
}

PROBE(overflow_of_a_large_block_by_4096_bytes)
{
    write_beside(LARGE, false, 4096, 'A');
}

PROBE(underflow_of_a_small_block_by_8_bytes)
{
    write_beside(SMALL, true, 8, 'A');
}

PROBE(underflow_of_a_large_block_by_16_bytes)
{
    write_beside(LARGE, true, 16, 'A');
}

// --- use after free --------------------------------------------------------------------------------------------------

static void write_after_free(size_t bytes, bool reused)
{
    unsigned char *block = among(bytes);
    free(block);
    for (size_t i = later_count(bytes) / 2; reused && i-- > 0;)
        hold(malloc(bytes), bytes);
    memset(hide(block), 'A', 16);
    go_on(bytes);
}

PROBE(write_to_a_freed_small_block)
{
    write_after_free(SMALL, false);
}

PROBE(write_to_a_freed_small_block_after_reuse)
{
    write_after_free(SMALL, true);
}

PROBE(write_to_a_freed_large_block_after_reuse)
{
    write_after_free(LARGE, true);
}

static const char secret[] = "a secret that its owner has freed";

static void read_after_free(size_t bytes)
{
    unsigned char *block = among(bytes);
    memcpy(block + 24, secret, sizeof(secret));
    free(block);
    if (memcmp(hide(block + 24), secret, sizeof(secret)) == 0)
        silent("what was freed can still be read");
    go_on(bytes);
}

PROBE(read_of_a_freed_small_block)
{
    read_after_free(SMALL);
}

PROBE(read_of_a_freed_large_block)
{
    read_after_free(LARGE);
}

// The first words of a freed block, where allocators keep links, are led to an address of the writer's choosing.
static unsigned char target[4096] __attribute__((aligned(16)));

static void links_lead(unsigned char *block, size_t words)
{
    void *address = target + 1024;
    for (size_t i = 0; i < words; i++)
        memcpy(hide(block + i * sizeof(void *)), &address, sizeof(address));
}

_Noreturn static void take_until_target(size_t bytes)
{
    for (size_t i = 0; i < LATER; i++) {
        unsigned char *block = malloc(bytes);
        if (block >= target && block < target + sizeof(target))
            silent("malloc gives an address that was written into a freed block");
        hold(block, bytes);
    }
    held_verify();
    end("harmless");
}

PROBE(list_link_overwritten_after_free)
{
    unsigned char *first = among(SMALL), *second = among(SMALL);
    free(first);
    free(second);
    links_lead(second, 1);
    take_until_target(SMALL);
}

// By an overflow of a live block into the freed one behind it.
PROBE(list_link_overwritten_by_an_overflow)
{
    unsigned char *blocks[LATER / 2], *low = NULL;
    for (size_t i = 0; i < LATER / 2; i++)
        blocks[i] = malloc(SMALL);
    size_t usable = malloc_usable_size(blocks[0]), from = 0;
    for (size_t i = 0; low == NULL && i < LATER / 2; i++)
        for (size_t j = 0; low == NULL && j < LATER / 2; j++)
            if (blocks[j] >= blocks[i] + usable && blocks[j] <= blocks[i] + usable + 16)
                low = blocks[i], from = j;
    if (low == NULL)
        end("harmless");
    free(blocks[from == 0 ? 1 : 0] == low ? blocks[2] : blocks[from == 0 ? 1 : 0]);
    free(blocks[from]);
    links_lead(low + usable, (size_t)(blocks[from] - low - usable) / sizeof(void *) + 1);
    take_until_target(SMALL);
}

// --- what was never written ------------------------------------------------------------------------------------------

static void read_uninitialised(size_t bytes)
{
    size_t count = later_count(bytes);
    for (size_t i = 0; i < count; i++)
        memcpy(hold(malloc(bytes), bytes) + 24, secret, sizeof(secret));
    while (held_count > 0)
        free(held[--held_count].block);
    for (size_t i = 0; i < count; i++) {
        unsigned char *block = hide(malloc(bytes));
        if (memcmp(block + 24, secret, sizeof(secret)) == 0)
            silent("a new block holds what another one held");
    }
    end("harmless");
}

PROBE(read_of_an_uninitialised_small_block)
{
    read_uninitialised(SMALL);
}

// --- the other functions ---------------------------------------------------------------------------------------------

void _ZdlPvm(void *block, size_t bytes) __attribute__((weak)); // operator delete(void *, size_t)

static void delete_sized(size_t bytes, size_t said)
{
    unsigned char *block = among(bytes);
    if (_ZdlPvm == NULL)
        free(block);
    else
        _ZdlPvm(hide(block), said);
    for (size_t i = 0; i < LATER / 4; i++)
        hold(malloc(said), said);
    go_on(bytes);
}

PROBE(sized_delete_of_a_small_block_as_a_larger_one)
{
    delete_sized(SMALL, 4 * SMALL);
}

PROBE(sized_delete_of_a_medium_block_as_a_small_one)
{
    delete_sized(MEDIUM, SMALL);
}

static void realloc_freed(size_t bytes)
{
    unsigned char *block = among(bytes);
    free(block);
    unsigned char *grown = realloc(hide(block), bytes * 2);
    if (grown != NULL)
        hold(grown, bytes * 2);
    go_on(bytes);
}

PROBE(realloc_of_a_freed_small_block)
{
    realloc_freed(SMALL);
}

PROBE(realloc_of_a_freed_large_block)
{
    realloc_freed(LARGE);
}

PROBE(usable_size_of_a_freed_small_block)
{
    unsigned char *block = among(SMALL);
    free(block);
    if (malloc_usable_size(hide(block)) != 0)
        silent("a freed block has a size");
    go_on(SMALL);
}
