// tests/hostile/refusals.c - the kernel refuses a mapping, at every point where the allocator asks for one.
//
// Run with the library of inject.h preloaded before the allocator. A request that cannot be served is NULL with ENOMEM;
// everything else must stay whole: other blocks, the old block of a failed realloc, and the next request.
#include <malloc.h>
#include <pthread.h>
#include <sys/resource.h>

#include "../conformance/facts.h"
#include "inject.h"

static inject_arm_t *arm;
static inject_count_t *count;
static inject_failed_t *failed;

static void inject_find(void)
{
    *(void **)&arm = dlsym(RTLD_DEFAULT, "inject_arm");
    *(void **)&count = dlsym(RTLD_DEFAULT, "inject_count");
    *(void **)&failed = dlsym(RTLD_DEFAULT, "inject_failed");
    CHECK(arm != NULL && count != NULL && failed != NULL, "inject.so is not preloaded");
}

// --- a program that takes NULL for an answer -----------------------------------------------------------------------------

enum { BLOCKS = 200, LARGEST_SHIFT = 21, STEPS = 700 };

typedef struct slot {
    void *block;
    size_t size_bytes;
} slot_t;

typedef struct work {
    slot_t slots[BLOCKS];
    uint64_t random;
    long refused;
} work_t;

static void refused(work_t *work, size_t size_bytes)
{
    CHECK(errno == ENOMEM, "%zu bytes refused without ENOMEM", size_bytes);
    work->refused++;
}

static void *any_alloc(work_t *work, size_t size_bytes)
{
    void *block = NULL;
    errno = 0;
    switch (random_next(&work->random) % 4) {
    case 0:
        block = calloc(1, size_bytes);
        CHECK(block == NULL || block_is_zero(block, size_bytes), "calloc of %zu is not zero", size_bytes);
        break;
    case 1:
        block = memalign((size_t)16 << random_next(&work->random) % 13, size_bytes);
        break;
    default:
        block = malloc(size_bytes);
    }
    if (block == NULL)
        refused(work, size_bytes);
    return block;
}

static void slot_check(const work_t *work, size_t i)
{
    const slot_t *slot = &work->slots[i];
    CHECK(slot->block == NULL || block_is_filled(slot->block, slot->size_bytes, i), "%zu bytes were overwritten",
          slot->size_bytes);
}

static void slot_put(work_t *work, size_t i, void *block, size_t size_bytes)
{
    work->slots[i] = (slot_t){block, size_bytes};
    if (block != NULL)
        block_fill(block, size_bytes, i);
}

static void slot_resize(work_t *work, size_t i, size_t size_bytes)
{
    slot_t *slot = &work->slots[i];
    errno = 0;
    void *block = realloc(slot->block, size_bytes);
    if (block == NULL) {
        refused(work, size_bytes);
        slot_check(work, i);
        return;
    }
    size_t kept = slot->size_bytes < size_bytes ? slot->size_bytes : size_bytes;
    CHECK(slot->block == NULL || block_is_filled(block, kept, i), "realloc lost the contents");
    slot_put(work, i, block, size_bytes);
}

// Also where it was the kernel that did not take the memory back.
static void slot_free(work_t *work, size_t i)
{
    errno = EXDEV; // no memory call sets it
    free(work->slots[i].block);
    CHECK(errno == EXDEV, "free of %zu bytes changed errno", work->slots[i].size_bytes);
    work->slots[i].block = NULL;
}

static void step(work_t *work)
{
    size_t i = random_next(&work->random) % BLOCKS;
    size_t size = 1 + (random_next(&work->random) & (((size_t)1 << random_next(&work->random) % LARGEST_SHIFT) - 1));
    slot_check(work, i);
    if (random_next(&work->random) % 4 == 0) {
        slot_resize(work, i, size);
    } else {
        slot_free(work, i);
        slot_put(work, i, any_alloc(work, size), size);
    }
}

static void work_finish(work_t *work)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        slot_check(work, i);
        slot_free(work, i);
    }
}

static void *thread_work(void *seed)
{
    static __thread work_t work; // not the stack's, not the heap's
    work.random = (uintptr_t)seed;
    for (size_t i = 0; i < STEPS; i++)
        step(&work);
    work_finish(&work);
    return NULL;
}

// A vector with a neighbour that is in its way, so that it has to move.
static void vector_work(size_t from, size_t to)
{
    size_t size = from;
    char *block = malloc(from), *neighbour = malloc(from);
    while (block != NULL && size < to) {
        block[0] = block[size / 2] = block[size - 1] = 'v';
        char *moved = realloc(block, size * 3 / 2);
        CHECK(moved != NULL || errno == ENOMEM, "no ENOMEM");
        if (moved == NULL)
            break;
        block = moved;
        CHECK(block[0] == 'v' && block[size / 2] == 'v' && block[size - 1] == 'v', "grown from %zu", size);
        size = size * 3 / 2;
        free(neighbour);
        neighbour = malloc(size);
    }
    block = block == NULL ? NULL : realloc(block, size / 3 + 1);
    free(neighbour);
    free(block);
}

// One thread and then two beside each other; the second one's heap is an orphan's at first.
static void work_all(void)
{
    pthread_t threads[2];
    bool started[COUNT(threads)];
    thread_work((void *)(uintptr_t)17);
    vector_work(100 * KIB, 100 * MIB);
    for (size_t i = 0; i < COUNT(threads); i++)
        started[i] = pthread_create(&threads[i], NULL, thread_work, (void *)(i + 1)) == 0; // needs memory itself
    for (size_t i = 0; i < COUNT(threads); i++)
        if (started[i])
            pthread_join(threads[i], NULL);
    malloc_trim(0);
}

// After the refusals everything is to be had again.
static void require_served(void)
{
    arm(INJECT_MMAP, 0, false);
    for (size_t size = 1; size <= 8 * MIB; size *= 3) {
        void *block = malloc(size);
        CHECK(block != NULL, "%zu bytes are refused for good", size);
        block_fill(block, size, size);
        CHECK(block_is_filled(block, size, size), "%zu bytes", size);
        free(block);
    }
}

// --- every nth -------------------------------------------------------------------------------------------------------

static void child_require_well(pid_t child, const char *what, long nth)
{
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child, "no child");
    CHECK(status == 0, "%s number %ld refused: the child ended with status %#x", what, nth, (unsigned)status);
}

static void refuse_nth(inject_call_t call, const char *what, long nth, bool onwards, bool must_come)
{
    pid_t child = fork();
    CHECK(child >= 0, "no child");
    if (child == 0) {
        alarm(30);
        arm(call, nth, onwards);
        work_all();
        CHECK(failed() > 0 || !must_come, "%s number %ld was not asked for", what, nth);
        require_served();
        _exit(EXIT_SUCCESS);
    }
    child_require_well(child, what, nth);
}

static long calls_of_work(inject_call_t call)
{
    int ends[2];
    long calls = 0;
    CHECK(pipe(ends) == 0, "no pipe");
    pid_t child = fork();
    if (child == 0) {
        arm(call, 0, false);
        work_all();
        calls = count(call);
        _exit(write(ends[1], &calls, sizeof calls) != sizeof calls);
    }
    child_require_well(child, "none", 0);
    CHECK(read(ends[0], &calls, sizeof calls) == sizeof calls, "no answer");
    return calls;
}

enum { TRIES = 24 };

// The first 12 one by one, then some 12 more spread over the rest. Threads
// and refusals change the number of calls, but not by half.
static void refuse_each(inject_call_t call, const char *what, bool onwards)
{
    inject_find();
    long calls = calls_of_work(call);
    if (calls == 0)
        check_skip("the allocator makes no such call here");
    for (long nth = 1; nth <= calls; nth += nth <= TRIES / 2 ? 1 : 1 + calls / (TRIES / 2))
        refuse_nth(call, what, nth, onwards, nth <= calls / 2);
}

FACT(any_one_mmap_may_be_refused)
{
    refuse_each(INJECT_MMAP, "mmap", false);
}

FACT(all_mmaps_may_be_refused_from_any_one_on)
{
    refuse_each(INJECT_MMAP, "mmap", true);
}

FACT(any_one_mprotect_may_be_refused)
{
    refuse_each(INJECT_MPROTECT, "mprotect", false);
}

FACT(all_mprotects_may_be_refused_from_any_one_on)
{
    refuse_each(INJECT_MPROTECT, "mprotect", true);
}

FACT(any_one_madvise_may_be_refused)
{
    refuse_each(INJECT_MADVISE, "madvise", false);
}

FACT(all_madvises_may_be_refused_from_any_one_on)
{
    refuse_each(INJECT_MADVISE, "madvise", true);
}

FACT(any_one_mremap_may_be_refused)
{
    refuse_each(INJECT_MREMAP, "mremap", false);
}

FACT(all_mremaps_may_be_refused_from_any_one_on)
{
    refuse_each(INJECT_MREMAP, "mremap", true);
}

// --- from the first instruction on -------------------------------------------------------------------------------------

static const char *const names[INJECT_CALLS] = {"mmap", "mprotect", "madvise", "mremap", "munmap"};

// Run by the facts below; alone nothing is refused. Whether something was depends on how many calls there are.
FACT(a_program_works_that_was_refused_something_at_its_start)
{
    inject_find();
    work_all();
    CHECK(count(INJECT_MMAP) > 0, "no call came to inject.so");
    require_served();
}

static void run_from_start(const char *call, int nth, const char *how, rlim_t address_limit)
{
    char inject[64];
    snprintf(inject, sizeof inject, "%s:%d:%s", call, nth, how);
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {address_limit, address_limit};
        setenv("TARN_INJECT", inject, 1);
        setenv("TARN_OPTIONS", "stats=text", 1); // what is registered for the report needs memory, too
        setrlimit(RLIMIT_AS, &limit);
        execl("/proc/self/exe", "refusals", "a_program_works_that_was_refused_something_at_its_start", (char *)NULL);
        _exit(STATUS_FAILED);
    }
    child_require_well(child, inject, nth);
}

enum { FIRST = 10 }; // what the pool's start and the first blocks take

static void refuse_at_start(const char *how)
{
    inject_find();
    for (size_t call = 0; call < INJECT_CALLS; call++)
        for (int nth = 1; nth <= FIRST; nth += call < INJECT_MADVISE ? 1 : 4)
            run_from_start(names[call], nth, how, RLIM_INFINITY);
}

FACT(any_one_of_the_very_first_calls_may_be_refused)
{
    refuse_at_start("once");
}

FACT(all_calls_may_be_refused_from_the_very_first_on)
{
    refuse_at_start("on");
}

// There the pool makes do with small mappings, asks for more of them as it goes, and gives them back.
static void refuse_under_limit(const char *call, const char *how)
{
    inject_find();
    for (int nth = 1; nth < 40; nth += nth < FIRST ? 1 : 5)
        run_from_start(call, nth, how, 600 * MIB);
}

FACT(any_one_mmap_may_be_refused_under_an_address_space_limit)
{
    refuse_under_limit("mmap", "once");
}

FACT(any_one_munmap_may_be_refused_under_an_address_space_limit)
{
    refuse_under_limit("munmap", "once");
}

FACT(all_munmaps_may_be_refused_from_any_one_on_under_an_address_space_limit)
{
    refuse_under_limit("munmap", "on");
}

// --- the start itself --------------------------------------------------------------------------------------------------

enum { REQUESTS = 100000 };

// Starts itself over, so that every mmap is refused from the first instruction on. A start asks for addresses fourteen times, for less
// each time.
FACT(a_start_that_was_refused_asks_little_when_it_is_tried_again)
{
    if (getenv("TARN_INJECT") == NULL) {
        setenv("TARN_INJECT", "mmap:1:on", 1);
        execl("/proc/self/exe", "refusals", "a_start_that_was_refused_asks_little_when_it_is_tried_again", (char *)NULL);
        _exit(STATUS_FAILED);
    }
    inject_find();
    for (size_t i = 0; i < REQUESTS; i++) {
        errno = 0;
        CHECK(malloc(100) == NULL && errno == ENOMEM, "request %zu was served, or is refused without ENOMEM", i);
    }
    CHECK(count(INJECT_MMAP) > 0, "no call came to inject.so");
    CHECK(count(INJECT_MMAP) < 2 * REQUESTS, "%d requests made %ld calls of mmap", REQUESTS, count(INJECT_MMAP));
    arm(INJECT_MMAP, 0, false);
    CHECK(malloc(100) != NULL, "there is memory, and the first request is refused");
    require_served();
}
