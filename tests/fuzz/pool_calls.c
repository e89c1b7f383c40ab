// tests/fuzz/pool_calls.c - fuzz target: the input is a program of calls on the pool, run beside the shadow of
// tests/stress. What is wrong ends the process.
//
//   settings   | flags | waste | refusals at the start |         3 bytes
//   calls      | what | who | slot | a | b | ...                 5 bytes each
//
//   flags      bit 0: requested=exact; bits 1, 2: distance of samples; bit 3: an address limit; bit 4: committed
//              memory counts; bits 5, 6: limit, none or 1 to 4 MiB; bit 7: harden=1, or 2 where waste is odd
//   what       names[]; who: bits 0, 1 the thread, bits 2..7 how often, less one, each time with the next slot
//   a, b       a size, an alignment, ...: see each call
//
// Threads act one at a time, in the order that the input says: the same input does the same each time. The clock stands
// unless the input moves it.
#include <inttypes.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apart.h"
#include "books.h"
#include "budget.h"
#include "check.h"
#include "os_linux.h"
#include "pool.h"
#include "refusals.h"
#include "sample.h"
#include "shadow.h"
#include "zone.h"

#define SETTINGS_BYTES 3u
#define CALL_BYTES 5u
#define CALLS_MOST 2000u
#define SLOTS 1024u
#define SLOTS_APART 4u // slot byte times this: where a repeated call begins
#define WORKERS 3u     // beside the first thread
#define CHECKS_MOST 8u // each walks the whole heap
#define FORKS_MOST 2u
#define LIVE_MOST_BYTES ((size_t)6 << 20)
#define SIZE_BITS 22u
#define ALIGNMENT_BITS 23u
#define SAMPLES_MOST (1u << 16)
#define START_REFUSED 240u // from here on the kernel refuses at the start already, every so manieth call
#define LIMITED_BYTES ((size_t)2 << 30)

typedef enum call_name {
    DO_MALLOC,
    DO_CALLOC,
    DO_ALIGNED,
    DO_REALLOC,
    DO_FREE,
    DO_FREE_SPARSE, // each a-th slot from there on
    DO_INSPECT,
    DO_TRIM,
    DO_THREAD_END,
    DO_TIME,
    DO_FORK,
    DO_REFUSE,
    DO_CHECK,
    DO_MISUSE,
    DO_TOO_MUCH, // a size or an alignment that cannot be had
} call_name_t;

// What a byte means, modulo their number: the cheap calls more often.
static const uint8_t names[] = {
    DO_MALLOC, DO_MALLOC, DO_MALLOC, DO_MALLOC, DO_MALLOC, DO_MALLOC, DO_MALLOC, DO_CALLOC,
    DO_CALLOC, DO_ALIGNED, DO_ALIGNED, DO_REALLOC, DO_REALLOC, DO_REALLOC, DO_REALLOC, DO_FREE,
    DO_FREE, DO_FREE, DO_FREE, DO_FREE, DO_FREE, DO_FREE_SPARSE, DO_FREE_SPARSE, DO_INSPECT,
    DO_TRIM, DO_THREAD_END, DO_TIME, DO_FORK, DO_REFUSE, DO_CHECK, DO_MISUSE, DO_TOO_MUCH,
};

typedef struct step {
    uint8_t what, who, slot, a, b;
} step_t;

static shadow_t shadow;
static uint64_t now_ms = 1000000;
static unsigned checks, forks;
static bool refused_before; // from the first refusal on, a block may be of another tier than the model says
static survey_t survey;

// --- settings --------------------------------------------------------------------------------------------------------

static const size_t sample_distances[] = {0, 64, 4096, (size_t)512 << 10};
static pool_options_t settings;

void pool_hook_boot(pool_options_t *options)
{
    *options = settings;
}

uint64_t __wrap_os_now_ms(void);
uint64_t __wrap_os_now_ms(void)
{
    return now_ms;
}

// The model follows the pool when that starts, which may be at any call where the first ones were refused.
bool __real_pool_start(void);
bool __wrap_pool_start(void);
bool __wrap_pool_start(void)
{
    static bool known;
    bool started = __real_pool_start();
    if (started && !known)
        model_start(zone_max_bytes(), harden_tail_bytes);
    known |= started;
    return started;
}

static void refuse(unsigned calls, unsigned every)
{
    refusals.calls = every == 0 ? 0 : calls & (CALL_ALL | CALL_HOLE);
    refusals.every = every;
    if (refusals.calls != 0)
        refused_before = shadow.may_fail = true;
}

static void settings_take(const uint8_t *data)
{
    settings = (pool_options_t){.requested_exact = data[0] & 1, .sample_bytes = sample_distances[data[0] >> 1 & 3],
                                .sample_seed = 1, .waste_percent = data[1] * 4u,
                                .limit_bytes = (data[0] >> 5 & 3) == 0 ? 0 : (size_t)1 << (19 + (data[0] >> 5 & 3))};
    settings.harden = data[0] >> 7 == 0 ? 0 : 1 + (data[1] & 1);
    refusals_address_limit = data[0] & 8 ? LIMITED_BYTES : SIZE_MAX;
    refusals_commit_counts = data[0] & 16;
    shadow_start(&shadow, SLOTS, 1);
    shadow.live_most_bytes = LIVE_MOST_BYTES;
    // Under each of these a block may be of another tier than the model says.
    refused_before = shadow.may_fail = settings.limit_bytes != 0 || refusals_address_limit != SIZE_MAX;
    refuse(CALL_ALL, data[2] < START_REFUSED ? 0 : data[2] - START_REFUSED);
    os_start();
    model_start(MEDIUM_MAX_BYTES, 0);
    if (!pool_start() && refusals.calls == 0)
        shadow_fail("the pool does not start");
}

// --- samples: a shadow of the table ----------------------------------------------------------------------------------

static const void *sampled[SAMPLES_MOST];
static uint32_t samples;

uint32_t sample_hook_birth(const sample_t *sample)
{
    if (sample->weight < SAMPLE_BLOCK || sample->requested_bytes > sample->block_bytes)
        shadow_fail("a sample of %zu bytes in %zu, weight %" PRIu64, sample->requested_bytes, sample->block_bytes,
                    sample->weight);
    if (samples + 1 == SAMPLES_MOST)
        return 0;
    sampled[++samples] = sample->block;
    return samples;
}

void sample_hook_death(uint32_t number, const void *block)
{
    if (number == 0 || number > samples || sampled[number] != block)
        shadow_fail("sample %u at %p dies, and was not there", number, block);
    sampled[number] = NULL;
}

void sample_hook_resize(uint32_t number, const void *old_block, const sample_t *sample)
{
    if (number == 0 || number > samples || sampled[number] != old_block)
        shadow_fail("sample %u at %p is resized, and was not there", number, old_block);
    sampled[number] = sample->block;
}

static bool is_live(const void *block)
{
    for (unsigned i = 0; i < SLOTS; i++)
        if (shadow.slots[i].block == block)
            return true;
    return false;
}

static void samples_verify(void)
{
    for (uint32_t i = 1; i <= samples; i++)
        if (sampled[i] != NULL && !is_live(sampled[i]))
            shadow_fail("sample %u at %p outlives its block", i, sampled[i]);
}

// --- the whole -------------------------------------------------------------------------------------------------------

static void check_whole(bool totals)
{
    shadow_count_t count = {0};
    const char *wrong = check_pool();
    if (wrong != NULL)
        shadow_fail("check_pool: %s", wrong);
    shadow_verify(&shadow);
    samples_verify();
    shadow_count_add(&count, &shadow);
    survey_take(&survey);
    if (survey.class_count == 0)
        return; // the pool never started
    survey.requested_exact &= !refused_before; // a size that could not be noted counts as its block's
    shadow_compare(&count, &survey, totals && !refused_before);
    if (books_sum(&survey) != survey.heap_rss_bytes)
        shadow_fail("the parts are not the whole");
}

// --- one call --------------------------------------------------------------------------------------------------------

// Any size to 512 exactly, above that about; and a few bytes more or less, so that every bound is met.
static size_t size_of(const step_t *step)
{
    size_t size_bytes = (size_t)(256 + step->b) << step->a % SIZE_BITS >> 8;
    size_t off = step->a / SIZE_BITS; // 0..11
    size_bytes = size_bytes + off >= 6 ? size_bytes + off - 6 : 0;
    return shadow.live_bytes + size_bytes > LIVE_MOST_BYTES ? size_bytes % 256 : size_bytes;
}

static unsigned times_of(const step_t *step)
{
    return 1 + (step->who >> 2);
}

static slot_t *slot_of(const step_t *step, unsigned i)
{
    return &shadow.slots[(step->slot * SLOTS_APART + i) % SLOTS];
}

static void free_full(slot_t *slot)
{
    if (slot->block != NULL)
        shadow_free(&shadow, slot);
}

static void alloc_one(const step_t *step, slot_t *slot)
{
    free_full(slot);
    if (step->what == DO_MALLOC)
        shadow_malloc(&shadow, slot, size_of(step));
    else if (step->what == DO_CALLOC)
        shadow_calloc(&shadow, slot, size_of(step));
    else
        shadow_aligned(&shadow, slot, (size_t)1 << (step->a ^ step->b) % (ALIGNMENT_BITS + 1), size_of(step));
}

static void resize_one(const step_t *step, slot_t *slot)
{
    if (slot->block == NULL)
        shadow_malloc(&shadow, slot, size_of(step));
    else
        shadow_resize(&shadow, slot, size_of(step));
}

// A pointer that is seen to be wrong in any case (pool/README.md, 13).
static void misuse_one(const step_t *step, slot_t *slot)
{
    if (slot->block == NULL || slot->block_bytes <= SMALL_MAX_BYTES || slot->block_bytes < 32)
        return;
    unsigned char *inside = slot->block + 16 + step->b;
    shadow_misuses_due = 1;
    if (step->a % 3 == 0)
        pool_free(inside);
    else if (step->a % 3 == 1)
        (void)pool_usable_size(inside);
    else if (pool_realloc(inside, 1 + step->b) != NULL)
        shadow_fail("realloc of a wrong pointer gives a block");
    if (shadow_misuses_due != 0)
        shadow_fail("%p in a block of %zu bytes passes for a block", (void *)inside, slot->block_bytes);
}

static void slot_do(const step_t *step, slot_t *slot)
{
    uint64_t refused = shadow.refused;
    switch (step->what) {
    case DO_MALLOC:
    case DO_CALLOC:
    case DO_ALIGNED:
        alloc_one(step, slot);
        break;
    case DO_REALLOC:
        resize_one(step, slot);
        break;
    case DO_FREE:
        free_full(slot);
        break;
    case DO_INSPECT:
        if (slot->block != NULL)
            shadow_inspect(&shadow, slot);
        break;
    default:
        misuse_one(step, slot);
    }
    if (settings.limit_bytes != 0 && budget_used() + budget_retained() > settings.limit_bytes)
        shadow_fail("%zu bytes are counted, beyond the limit", budget_used() + budget_retained());
    if (shadow.refused != refused && refusals.calls == 0 && settings.limit_bytes == 0)
        shadow_fail("refused, although the kernel refuses nothing");
}

static void too_much(const step_t *step)
{
    size_t size_bytes = SIZE_MAX - ((size_t)step->b << step->a % 56);
    if (size_bytes <= PTRDIFF_MAX)
        return;
    void *block = step->a & 128 ? pool_aligned_alloc((size_t)1 << step->b % 63, size_bytes) : pool_malloc(size_bytes);
    if (block != NULL || pool_calloc(size_bytes) != NULL)
        shadow_fail("%zu bytes were given", size_bytes);
}

static void free_sparse(const step_t *step)
{
    unsigned apart = 1 + step->a % 64;
    for (unsigned i = step->b % apart; i < SLOTS; i += apart)
        free_full(slot_of(step, i));
}

static void step_do(const step_t *step)
{
    if (step->what == DO_FREE_SPARSE)
        free_sparse(step);
    else if (step->what == DO_TRIM)
        pool_trim((size_t)step->a << step->b % 24);
    else if (step->what == DO_THREAD_END)
        pool_thread_exit();
    else if (step->what == DO_TOO_MUCH)
        too_much(step);
    else
        for (unsigned i = 0; i < times_of(step); i++)
            slot_do(step, slot_of(step, i));
}

// --- threads ---------------------------------------------------------------------------------------------------------

typedef struct worker {
    pthread_t thread;
    bool begun;
    sem_t go, done;
    const step_t *step; // NULL: end
} worker_t;

static worker_t workers[WORKERS];

static void *worker_run(void *argument)
{
    worker_t *worker = argument;
    for (;;) {
        sem_wait(&worker->go);
        if (worker->step == NULL)
            break;
        step_do(worker->step);
        if (worker->step->what == DO_THREAD_END)
            break;
        sem_post(&worker->done);
    }
    pool_thread_exit();
    return NULL;
}

static void worker_begin(worker_t *worker)
{
    sem_init(&worker->go, 0, 0);
    sem_init(&worker->done, 0, 0);
    if (pthread_create(&worker->thread, NULL, worker_run, worker) != 0)
        shadow_fail("no thread");
    worker->begun = true;
}

static void worker_end(worker_t *worker)
{
    pthread_join(worker->thread, NULL);
    worker->begun = false;
}

static void worker_do(worker_t *worker, const step_t *step)
{
    if (!worker->begun)
        worker_begin(worker);
    worker->step = step;
    sem_post(&worker->go);
    if (step == NULL || step->what == DO_THREAD_END)
        worker_end(worker);
    else
        sem_wait(&worker->done);
}

static void workers_end(void)
{
    for (unsigned i = 0; i < WORKERS; i++)
        if (workers[i].begun)
            worker_do(&workers[i], NULL);
}

// --- fork ------------------------------------------------------------------------------------------------------------

// The child frees all that there was, also of threads that are not there, and has a whole heap of its own.
static void child_run(void)
{
    pool_fork_child();
    samples = 0;
    memset(sampled, 0, sizeof sampled);
    for (unsigned i = 0; i < SLOTS; i++)
        free_full(&shadow.slots[i]);
    for (unsigned i = 0; i < SLOTS; i++)
        shadow_malloc(&shadow, &shadow.slots[i], settings.limit_bytes == 0 ? i * 37 % 5000 : 16);
    const char *wrong = check_pool();
    if (wrong != NULL)
        shadow_fail("check_pool in the child: %s", wrong);
    shadow_verify(&shadow);
    shadow_free_all(&shadow);
    pool_trim(0);
}

static void fork_do(void)
{
    int status = -1;
    if (refusals.calls != 0 || ++forks > FORKS_MOST)
        return;
    pool_fork_prepare();
    pid_t pid = fork();
    if (pid == 0) {
        alarm(APART_SECONDS);
        child_run();
        _exit(0);
    }
    pool_fork_parent();
    if (pid < 0)
        return; // the machine has no process left, beside other work: that says nothing of the pool
    if (!apart_wait(pid, &status) || status != 0)
        shadow_fail("a child of fork ended with status %#x", (unsigned)status);
}

// --- the input -------------------------------------------------------------------------------------------------------

static void step_run(const step_t *step)
{
    if (step->what == DO_TIME)
        now_ms += (uint64_t)step->a << step->b % 16;
    else if (step->what == DO_FORK)
        fork_do();
    else if (step->what == DO_REFUSE)
        refuse(step->a | (unsigned)step->b << 8, times_of(step) % 32);
    else if (step->what == DO_CHECK && checks++ < CHECKS_MOST)
        check_whole(true);
    else if (step->what != DO_CHECK && step->who % (WORKERS + 1) == 0)
        step_do(step);
    else if (step->what != DO_CHECK)
        worker_do(&workers[step->who % (WORKERS + 1) - 1], step);
}

// Everything is freed and given back, and then nothing is left.
static void end_run(void)
{
    refuse(0, 0);
    check_whole(true);
    workers_end();
    check_whole(true);
    shadow_free_all(&shadow);
    pool_trim(0);
    check_whole(true);
    if (budget_retained() != 0)
        shadow_fail("%zu bytes are retained when all is given back", budget_retained());
    pool_thread_exit();
    check_whole(true);
}

static void input_run(const uint8_t *data, size_t size)
{
    snprintf(shadow_replay, sizeof shadow_replay, "the input");
    settings_take(data);
    data += SETTINGS_BYTES;
    size -= SETTINGS_BYTES;
    for (unsigned i = 0; i < CALLS_MOST && size >= CALL_BYTES; i++, data += CALL_BYTES, size -= CALL_BYTES) {
        step_t step = {names[data[0] % sizeof names], data[1], data[2], data[3], data[4]};
        step_run(&step);
    }
    end_run();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size >= SETTINGS_BYTES)
        apart_run(input_run, data, size);
    return 0;
}
