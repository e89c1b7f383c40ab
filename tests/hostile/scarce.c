// tests/hostile/scarce.c - memory runs out: NULL and ENOMEM, never a crash, and everything is to be had again after.
//
// The limit is there from the start on, or set in the running process.
#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "../conformance/facts.h"

enum { BLOCKS_MAX = 50000000 };

static void limit_set(int resource, size_t bytes)
{
    struct rlimit limit = {bytes, bytes};
    CHECK(setrlimit(resource, &limit) == 0, "no limit of %zu bytes", bytes);
}

// A list through the blocks themselves, since there is no memory for another.
typedef struct link {
    struct link *next;
} link_t;

static link_t *all_there_is(size_t size, size_t *count)
{
    link_t *first = NULL, *block;
    for (*count = 0; *count < BLOCKS_MAX; ++*count) {
        errno = 0;
        block = malloc(size);
        if (block == NULL)
            break;
        block->next = first;
        first = block;
    }
    CHECK(errno == ENOMEM, "%zu blocks of %zu bytes, then no ENOMEM", *count, size);
    return first;
}

static void free_all(link_t *block)
{
    while (block != NULL) {
        link_t *next = block->next;
        free(block);
        block = next;
    }
}

// What fails when all is taken fails cleanly.
static void require_refusals(link_t *block, size_t size)
{
    void *aligned = NULL;
    errno = 0;
    CHECK(calloc(16, size) == NULL && errno == ENOMEM, "calloc of 16 * %zu", size);
    errno = 0;
    CHECK(realloc(block, size * 16) == NULL && errno == ENOMEM, "realloc of %zu to 16 times that", size);
    errno = 0;
    CHECK(memalign(4096, size * 16) == NULL && errno == ENOMEM, "memalign of 16 * %zu", size);
    CHECK(posix_memalign(&aligned, 65536, size * 16) == ENOMEM, "posix_memalign of 16 * %zu", size);
}

// Second time as much as the first: nothing was lost. A tenth is allowed, for what the tables took meanwhile.
static void run_out_twice(size_t size, size_t least_bytes)
{
    size_t first_count, second_count;
    link_t *first = all_there_is(size, &first_count);
    CHECK(first_count * size >= least_bytes, "only %zu blocks of %zu bytes", first_count, size);
    if (size >= 4096)
        require_refusals(first, size);
    free_all(first);
    link_t *second = all_there_is(size, &second_count);
    CHECK(second_count >= first_count / 10 * 9, "%zu blocks of %zu bytes, then %zu", first_count, size, second_count);
    free_all(second);
}

static const size_t sizes[] = {32, 1000, 20000, 100000, 300000, 5000000};

// --- one size, a limit from the start on -----------------------------------------------------------------------------------

#define PROGRAM_BYTES (8 * MIB) // what the program and its libraries take at most

// Run by the facts below, too, which set the limit and the size.
FACT(a_program_under_a_limit_runs_out_of_memory)
{
    const char *size = getenv("TARN_TEST_SIZE"), *least = getenv("TARN_TEST_LEAST");
    if (size == NULL || least == NULL) {
        limit_set(RLIMIT_DATA, 100 * MIB);
        run_out_twice(3000, 60 * MIB);
    } else {
        run_out_twice(strtoul(size, NULL, 10), strtoul(least, NULL, 10));
    }
}

static void number_set(const char *name, size_t number)
{
    char text[32];
    snprintf(text, sizeof text, "%zu", number);
    setenv(name, text, 1);
}

// Two thirds of what is there must be had at least.
static void run_out_from_start(int resource, size_t limit_bytes)
{
    for (size_t i = 0; i < COUNT(sizes); i++) {
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            number_set("TARN_TEST_SIZE", sizes[i]);
            number_set("TARN_TEST_LEAST", (limit_bytes - PROGRAM_BYTES) / 3 * 2);
            limit_set(resource, limit_bytes);
            execl("/proc/self/exe", "scarce", "a_program_under_a_limit_runs_out_of_memory", (char *)NULL);
            _exit(STATUS_FAILED);
        }
        waitpid(child, &status, 0);
        CHECK(status == 0, "%zu bytes, %zu MiB: it ended with status %#x", sizes[i], limit_bytes / MIB, (unsigned)status);
    }
}

FACT(all_of_100_mib_of_addresses_can_be_used_up_twice)
{
    run_out_from_start(RLIMIT_AS, 100 * MIB);
}

FACT(all_of_400_mib_of_addresses_can_be_used_up_twice)
{
    run_out_from_start(RLIMIT_AS, 400 * MIB);
}

FACT(all_of_50_mib_of_data_can_be_used_up_twice)
{
    run_out_from_start(RLIMIT_DATA, 50 * MIB);
}

FACT(all_of_200_mib_of_data_can_be_used_up_twice)
{
    run_out_from_start(RLIMIT_DATA, 200 * MIB);
}

// --- one size after the other, a limit in a running process --------------------------------------------------------------

// Pages, blocks and mappings that were kept for reuse are given back before anything is refused.
static void run_out_of_one_size_after_the_other(size_t least_bytes)
{
    for (size_t round = 0; round < 3; round++)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            size_t count;
            free_all(all_there_is(sizes[i], &count));
            CHECK(count * sizes[i] >= least_bytes, "round %zu: only %zu blocks of %zu bytes", round, count, sizes[i]);
            CHECK(mallinfo2().uordblks < 8 * MIB, "%zu bytes are live", mallinfo2().uordblks); // a walk over what is left
        }
}

FACT(data_kept_for_one_size_is_given_back_for_another)
{
    limit_set(RLIMIT_DATA, 200 * MIB);
    run_out_of_one_size_after_the_other(100 * MIB);
}

// Starts itself over, so that the limit is there from the start on.
FACT(addresses_kept_for_one_size_are_given_back_for_another)
{
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_AS, &limit) == 0, "no limit");
    if (limit.rlim_cur == RLIM_INFINITY) {
        limit_set(RLIMIT_AS, 200 * MIB);
        execl("/proc/self/exe", "scarce", "addresses_kept_for_one_size_are_given_back_for_another", (char *)NULL);
    }
    run_out_of_one_size_after_the_other(100 * MIB);
}

// --- tables that few pages use ---------------------------------------------------------------------------------------------

// Starts itself over with these options.
static void options_require(const char *fact, const char *options)
{
    const char *now = getenv("TARN_OPTIONS");
    if (now != NULL && strcmp(now, options) == 0)
        return;
    setenv("TARN_OPTIONS", options, 1);
    execl("/proc/self/exe", "scarce", fact, (char *)NULL);
    _exit(STATUS_FAILED);
}

#define EVERY_TABLE "stats=off:harden=2:requested=exact"

FACT(memory_is_locked_as_far_as_it_is_used_with_every_table)
{
    options_require("memory_is_locked_as_far_as_it_is_used_with_every_table", EVERY_TABLE);
    free(malloc(1000));
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
        check_skip("so much may not be locked");
    CHECK(rss_bytes() < 64 * MIB, "%zu bytes are resident", rss_bytes());
    for (size_t size = 16; size < 200000; size *= 2) {
        void *block = malloc(size);
        CHECK(block != NULL, "no %zu bytes", size);
        memset(block, 1, size);
    }
    CHECK(rss_bytes() < 64 * MIB, "%zu bytes are resident", rss_bytes());
}

FACT(a_data_limit_counts_no_table_that_is_not_used)
{
    size_t count;
    options_require("a_data_limit_counts_no_table_that_is_not_used", EVERY_TABLE);
    free(malloc(1000));
    limit_set(RLIMIT_DATA, 60 * MIB);
    free_all(all_there_is(1000, &count));
    CHECK(count * 1000 >= 30 * MIB, "only %zu blocks of 1000 bytes", count);
}

static void *run_out_in_thread(void *unused)
{
    for (size_t i = 0; i < 10; i++) {
        size_t count;
        free_all(all_there_is(1000 + i * 3000, &count));
    }
    return unused;
}

FACT(threads_run_out_together)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, run_out_in_thread, NULL) == 0, "no thread");
    limit_set(RLIMIT_DATA, 150 * MIB);
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    run_out_twice(5000, 20 * MIB);
}

// What the pool has reserved is used up by it alone, so the limit means little then; but it is no end.
FACT(an_address_limit_set_before_the_first_large_block_leaves_large_blocks)
{
    free(malloc(100)); // the pool has started
    limit_set(RLIMIT_AS, 300 * MIB);
    for (size_t i = 0; i < 50; i++) {
        char *block = malloc(MIB);
        CHECK(block != NULL, "no MiB, of block %zu", i);
        block[0] = block[MIB - 1] = 1;
    }
    char *vector = malloc(100);
    for (size_t bytes = 200; bytes < 64 * MIB; bytes *= 2) {
        vector = realloc(vector, bytes);
        CHECK(vector != NULL, "realloc to %zu bytes", bytes);
    }
}

// --- the kernel's limit of mappings --------------------------------------------------------------------------------------

static int order(const void *left, const void *right)
{
    uintptr_t a = *(const uintptr_t *)left, b = *(const uintptr_t *)right;
    return (a > b) - (a < b);
}

// More than there may be mappings (65,530): they lie side by side, or are refused.
FACT(a_hundred_thousand_large_blocks_are_live_at_once)
{
    enum { COUNT_LARGE = 100000 };
    const size_t size = 257 * KIB;
    static uintptr_t blocks[COUNT_LARGE];
    for (size_t i = 0; i < COUNT_LARGE; i++) {
        char *block = malloc(size);
        CHECK(block != NULL, "no block %zu", i);
        if (i % 16 == 0)
            block[0] = block[size - 1] = 1; // not all of them, which would take 400 MiB
        blocks[i] = (uintptr_t)block;
    }
    qsort(blocks, COUNT_LARGE, sizeof *blocks, order);
    for (size_t i = 1; i < COUNT_LARGE; i++)
        CHECK(blocks[i] - blocks[i - 1] >= size, "two blocks are %zu bytes apart", (size_t)(blocks[i] - blocks[i - 1]));
    for (size_t i = 0; i < COUNT_LARGE; i += 2) // every second one: 50,000 holes
        free((void *)blocks[i]);
    for (size_t i = 0; i < 1000; i++) {
        void *other = realloc(malloc(300000 + i), 600000 + i);
        CHECK(other != NULL, "nothing to be had among 50,000 holes");
        free(other);
    }
    for (size_t i = 1; i < COUNT_LARGE; i += 2)
        free((void *)blocks[i]);
    malloc_trim(0);
    CHECK(rss_bytes() < 32 * MIB, "%zu are resident after all was freed", rss_bytes());
}

FACT(two_hundred_vectors_grow_in_turn)
{
    enum { VECTORS = 200 };
    char *vectors[VECTORS] = {NULL};
    for (size_t size = 1000; size < 3 * MIB; size = size * 5 / 4)
        for (size_t i = 0; i < VECTORS; i++) {
            size_t old = size == 1000 ? 0 : size * 4 / 5;
            vectors[i] = realloc(vectors[i], size);
            CHECK(vectors[i] != NULL, "no %zu bytes", size);
            CHECK(old < 10 || vectors[i][old - 10] == (char)i, "vector %zu at %zu bytes", i, size);
            memset(vectors[i] + (old < 20 ? 0 : old - 20), (int)i, size - (old < 20 ? 0 : old - 20));
        }
    for (size_t i = 0; i < VECTORS; i++)
        free(vectors[i]);
}

// --- mappings ----------------------------------------------------------------------------------------------------------

// All mappings that the kernel allows a process: each OS page of a range in turn readable and not.
static char *mappings_use_up(size_t bytes)
{
    size_t page = (size_t)getpagesize();
    char *start = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(start != MAP_FAILED, "no addresses");
    for (size_t at = 0; at < bytes; at += 2 * page)
        if (mprotect(start + at, page, PROT_READ) != 0)
            return start;
    check_skip("more mappings are allowed than this makes");
    return NULL;
}

FACT(no_mapping_left_is_no_memory_and_not_the_end)
{
    enum { BLOCKS = 300 };
    static void *blocks[BLOCKS];
    const size_t bytes = (size_t)1 << 30;
    void *before = malloc(300000);
    block_fill(before, 300000, 1);
    char *start = mappings_use_up(bytes);
    size_t refused = 0;
    for (size_t i = 0; i < BLOCKS; i++) {
        size_t size_bytes = i % 50 == 0 ? i * 5000 : i * 10;
        errno = 0;
        blocks[i] = malloc(size_bytes);
        CHECK(blocks[i] != NULL || errno == ENOMEM, "%zu bytes refused without ENOMEM", size_bytes);
        refused += blocks[i] == NULL;
        if (blocks[i] != NULL)
            block_fill(blocks[i], size_bytes, i);
    }
    CHECK(block_is_filled(before, 300000, 1), "a block is damaged");
    void *grown = realloc(before, 3000000);
    CHECK(block_is_filled(grown != NULL ? grown : before, 300000, 1), "realloc has lost what it had");
    for (size_t i = 0; i < BLOCKS; i++) {
        CHECK(blocks[i] == NULL || block_is_filled(blocks[i], i % 50 == 0 ? i * 5000 : i * 10, i), "block %zu", i);
        free(blocks[i]);
    }
    malloc_trim(0);
    munmap(start, bytes);
    for (size_t i = 0; i < BLOCKS; i++) { // and all is as before
        blocks[i] = malloc(i * 100);
        CHECK(blocks[i] != NULL, "still refused");
        block_fill(blocks[i], i * 100, i);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
}
