// tests/conformance/statistics.c - mallinfo2, mallinfo, malloc_stats, malloc_trim and mallopt tell and do the truth.
//
// The fields are glibc's: uordblks is what is live and fordblks what is free, but for the blocks that are mapped alone,
// which hblks counts and hblkhd adds up.
#include <malloc.h>
#include <pthread.h>

#include "facts.h"

enum { BLOCKS = 10000 };

static void *blocks[BLOCKS];

static size_t live_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void allocate(size_t count, size_t size)
{
    for (size_t i = 0; i < count; i++) {
        blocks[i] = malloc(size);
        memset(blocks[i], 1, size);
    }
}

static void all_free(size_t count)
{
    for (size_t i = 0; i < count; i++)
        free(blocks[i]);
}

// What is asked for, and a quarter of it or 32 bytes a block for rounding, and the books' own blocks.
static void tracks(size_t count, size_t size)
{
    const size_t slack = 64 * KIB;
    size_t before = live_bytes(), asked = count * size;
    size_t most = asked + asked / 4 + count * 32 + slack;
    allocate(count, size);
    size_t during = live_bytes();
    CHECK(during >= before + asked && during <= before + most, "%zu blocks of %zu: from %zu to %zu", count, size, before,
          during);
    all_free(count);
    size_t after = live_bytes();
    CHECK(after <= before + slack && after + slack >= before, "%zu blocks of %zu freed: from %zu to %zu", count, size,
          before, after);
}

FACT(mallinfo2_tracks_what_is_live)
{
    tracks(BLOCKS, 1);
    tracks(BLOCKS, 100);
    tracks(BLOCKS, 600);
    tracks(BLOCKS, 5000);
    tracks(1000, 50000);
    tracks(200, 300000);
    tracks(10, 20000000);
}

// Exactly, where no rounding can differ: one block more and one block less are the same amount.
FACT(mallinfo2_counts_a_block_up_and_down_alike)
{
    for (size_t size = 1; size <= 4 * MIB; size = size * 3 / 2 + 1) {
        void *warm = malloc(size);
        size_t with_one = live_bytes();
        void *block = malloc(size);
        size_t with_two = live_bytes();
        CHECK(with_two >= with_one + size, "%zu, then %zu, for %zu bytes", with_one, with_two, size);
        free(block);
        CHECK(live_bytes() == with_one, "%zu, then %zu, for %zu bytes", with_one, live_bytes(), size);
        free(warm);
    }
}

static void *allocate_elsewhere(void *unused)
{
    (void)unused;
    allocate(BLOCKS, 100);
    return NULL;
}

static void *free_elsewhere(void *unused)
{
    (void)unused;
    all_free(BLOCKS);
    return NULL;
}

static void run_thread(void *(*run)(void *))
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, run, NULL) == 0, "no thread");
    pthread_join(thread, NULL);
}

FACT(mallinfo2_counts_the_blocks_of_threads_that_ended)
{
    run_thread(free_elsewhere); // of nothing: what the first thread costs
    size_t before = live_bytes();
    run_thread(allocate_elsewhere);
    CHECK(live_bytes() >= before + BLOCKS * 100, "%zu, then %zu", before, live_bytes());
    run_thread(free_elsewhere);
    CHECK(live_bytes() <= before + 64 * KIB, "%zu, then %zu", before, live_bytes());
}

FACT(mallinfo2_adds_up)
{
    allocate(BLOCKS, 200);
    for (size_t i = 0; i < BLOCKS; i += 2)
        free(blocks[i]);
    void *mapped = memset(malloc(10 * MIB), 1, 10 * MIB);
    struct mallinfo2 info = mallinfo2();
    CHECK(info.uordblks + info.fordblks == info.arena, "%zu + %zu, not %zu", info.uordblks, info.fordblks, info.arena);
    CHECK(info.fordblks >= BLOCKS / 2 * 200 / 2, "free are %zu", info.fordblks);
    CHECK(info.hblks >= 1 && info.hblkhd >= 10 * MIB, "%zu mapped blocks of %zu", info.hblks, info.hblkhd);
    CHECK(info.keepcost <= info.fordblks, "%zu of %zu", info.keepcost, info.fordblks);
    free(mapped);
    CHECK(mallinfo2().hblkhd < 10 * MIB, "%zu are left", mallinfo2().hblkhd);
}

// Deprecated, but called: the same figures in int.
__attribute__((noinline)) static struct mallinfo old_mallinfo(void)
{
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    return mallinfo();
#pragma GCC diagnostic pop
}

FACT(mallinfo_says_the_same)
{
    allocate(BLOCKS, 300);
    struct mallinfo2 info = mallinfo2();
    struct mallinfo old = old_mallinfo();
    CHECK((size_t)old.uordblks == info.uordblks, "%d, not %zu", old.uordblks, info.uordblks);
    CHECK((size_t)old.arena == info.arena, "%d, not %zu", old.arena, info.arena);
    CHECK((size_t)old.fordblks == info.fordblks, "%d, not %zu", old.fordblks, info.fordblks);
    CHECK((size_t)old.hblkhd == info.hblkhd, "%d, not %zu", old.hblkhd, info.hblkhd);
    all_free(BLOCKS);
}

// --- malloc_stats ----------------------------------------------------------------------------------------------------

// What it writes to standard error.
static void stats_read(char *text, size_t capacity)
{
    int ends[2], before = dup(STDERR_FILENO);
    CHECK(pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) >= 0, "no pipe");
    malloc_stats();
    dup2(before, STDERR_FILENO);
    close(ends[1]);
    ssize_t length = read(ends[0], text, capacity - 1);
    close(ends[0]);
    CHECK(length > 0, "nothing was written");
    text[length] = '\0';
}

FACT(malloc_stats_writes_what_is_in_use)
{
    static const char wanted[] = "in use bytes     =";
    char text[4096];
    allocate(BLOCKS, 1000);
    stats_read(text, sizeof text);
    char *total = strstr(text, "Total");
    CHECK(total != NULL && strstr(text, "system bytes     =") != NULL, "%s", text);
    char *in_use = strstr(total, wanted);
    CHECK(in_use != NULL, "%s", text);
    size_t bytes = strtoul(in_use + strlen(wanted), NULL, 10), live = live_bytes();
    CHECK(bytes <= live + 64 * KIB && bytes + 64 * KIB >= live, "%zu in use, %zu live", bytes, live);
    all_free(BLOCKS);
}

// --- malloc_trim -----------------------------------------------------------------------------------------------------

FACT(after_malloc_trim_freed_memory_is_not_resident)
{
    static const size_t sizes[] = {600, 2000, 5000, 50000};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        size_t before = anonymous_bytes(), count = 40 * MIB / sizes[i] < BLOCKS ? 40 * MIB / sizes[i] : BLOCKS;
        allocate(count, sizes[i]);
        size_t during = anonymous_bytes();
        CHECK(during >= before + count * sizes[i] * 9 / 10, "%zu, then %zu", before, during);
        all_free(count);
        malloc_trim(0);
        size_t after = anonymous_bytes();
        CHECK(after <= before + 512 * KIB, "%zu before, %zu during, %zu after", before, during, after);
    }
}

// The last of many blocks keeps glibc from giving back the end of the heap, yet malloc_trim frees the rest.
FACT(malloc_trim_gives_back_what_lies_between_live_blocks)
{
    allocate(BLOCKS, 10000);
    size_t during = rss_bytes();
    for (size_t i = 0; i < BLOCKS; i++)
        if (i % 100 != 0)
            free(blocks[i]);
    malloc_trim(0);
    CHECK(rss_bytes() < during / 4, "%zu before, %zu after", during, rss_bytes());
}

// It says 1 only when memory was given back. (glibc's says so whenever it has a free page.)
FACT(malloc_trim_returns_0_when_there_is_nothing_to_give)
{
    allocate(BLOCKS, 1000);
    all_free(BLOCKS);
    malloc_trim(0);
    CHECK(malloc_trim(0) == 0, "once more");
}

FACT(malloc_trim_harms_no_live_block)
{
    static const size_t sizes[] = {1, 40, 600, 5000, 50000, 300000};
    void *kept[COUNT(sizes)];
    for (size_t i = 0; i < COUNT(sizes); i++) {
        allocate(100, sizes[i]);
        kept[i] = malloc(sizes[i]);
        block_fill(kept[i], sizes[i], i);
        all_free(100);
        malloc_trim(i * 100000);
        for (size_t j = 0; j <= i; j++)
            CHECK(block_is_filled(kept[j], sizes[j], j), "%zu bytes", sizes[j]);
    }
}

// --- mallopt ---------------------------------------------------------------------------------------------------------

FACT(mallopt_takes_what_programs_ask_for)
{
    CHECK(mallopt(M_MMAP_THRESHOLD, 128 * 1024) == 1, "M_MMAP_THRESHOLD");
    CHECK(mallopt(M_TRIM_THRESHOLD, 128 * 1024) == 1, "M_TRIM_THRESHOLD");
    CHECK(mallopt(M_TOP_PAD, 64 * 1024) == 1, "M_TOP_PAD");
    CHECK(mallopt(M_MMAP_MAX, 65536) == 1, "M_MMAP_MAX");
    CHECK(mallopt(M_ARENA_MAX, 2) == 1, "M_ARENA_MAX");
    allocate(1000, 1000);
    all_free(1000);
}
