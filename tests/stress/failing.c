// tests/stress/failing.c - the kernel refuses: every Nth call of some kind fails while threads work at random. Then
// the heap is whole, no block is lost or damaged, NULL was the only consequence; and as soon as the kernel gives again,
// so does the pool.
//
//   failing [--seed N] [--steps N] [SCENARIO]
//   failing --each [--seed N] [--steps N]        one scenario, by one thread and by three: once without a failure, then
//                                                again and again, with the first call failing, the second, and so on
//                                                to the last; then the same with all calls failing from that one on
//
// Each scenario runs in a process of its own, with the pool not yet started.
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "books.h"
#include "check.h"
#include "os_linux.h"
#include "pool.h"
#include "refusals.h"
#include "shadow.h"

#define THREADS 3u

typedef struct scenario {
    const char *name;
    unsigned calls;     // which ones fail
    unsigned every;     // every how manieth
    bool from_start;    // the first call of all may fail; else the pool starts and works before
    bool must_refuse;   // NULL must have been an answer
    size_t focus_bytes; // most requests are this long; 0: of all sizes
    bool limited;       // the pool believes in an address limit, under which zones are added and left
} scenario_t;

#define LARGE_FOCUS ((size_t)300 << 10)

static const scenario_t scenarios[] = {
    {"nothing-at-all", CALL_ALL, 1, true, true, 0, false},
    {"nothing-any-more", CALL_ALL, 1, false, true, 0, false},
    {"first-and-every-second", CALL_ALL, 2, true, false, 0, false},
    {"every-third", CALL_ALL, 3, false, false, 0, false},
    {"every-seventeenth", CALL_ALL, 17, true, false, 0, false},
    {"no-reservation", CALL_RESERVE, 1, true, true, 0, false},
    {"no-commit", CALL_COMMIT, 1, false, false, 0, false},
    {"every-seventh-commit", CALL_COMMIT, 7, true, false, 0, false},
    {"no-mapping", CALL_MAP, 1, true, false, 0, false},
    {"no-commit-no-mapping", CALL_COMMIT | CALL_MAP, 1, false, true, 0, false},
    {"locked-memory", CALL_PURGE, 1, false, false, 0, false},
    {"every-second-purge", CALL_PURGE, 2, false, false, 0, false},
    {"locked-memory-no-refresh", CALL_PURGE | CALL_REFRESH, 1, false, false, 0, false},
    {"every-third-purge-or-refresh", CALL_PURGE | CALL_REFRESH, 3, false, false, 0, false},
    {"large-locked-memory", CALL_PURGE, 1, false, false, LARGE_FOCUS, false},
    {"large-every-second-purge", CALL_PURGE, 2, false, false, LARGE_FOCUS, false},
    {"large-no-purge-no-refresh", CALL_PURGE | CALL_REFRESH, 1, false, false, LARGE_FOCUS, false},
    {"large-every-second-commit", CALL_COMMIT, 2, false, false, LARGE_FOCUS, false},
    {"large-no-move", CALL_MOVE | CALL_RESIZE, 1, false, false, LARGE_FOCUS, false},
    {"large-every-second-move", CALL_MOVE | CALL_RESIZE, 2, false, false, LARGE_FOCUS, false},
    {"large-every-move-leaves-a-hole", CALL_HOLE, 1, false, false, LARGE_FOCUS, false},
    {"large-every-third", CALL_ALL | CALL_HOLE, 3, false, false, LARGE_FOCUS, false},
    {"no-commit-no-withdrawal", CALL_COMMIT | CALL_MAP | CALL_WITHDRAW, 2, false, false, 0, false},
    {"limited-every-third-reservation", CALL_RESERVE | CALL_MAP, 3, false, false, 0, true},
    {"limited-every-second-commit", CALL_COMMIT | CALL_MAP, 2, false, false, 0, true},
    {"limited-every-fifth", CALL_ALL, 5, false, false, 0, true},
};

// --- a scenario ------------------------------------------------------------------------------------------------------

static const unsigned slot_count = 600, steps_warm = 2000;
static const unsigned large_slot_count = 50;
static const size_t large_live_bytes = (size_t)64 << 20;

static unsigned steps = 2400; // a thread, before and again after the failures stop
static shadow_t shadows[THREADS];
static survey_t survey;
static bool large_blocks; // the scenario is about these

static void *work(void *argument)
{
    shadow_t *shadow = argument;
    for (unsigned done = 0; done < steps; done += steps / 8) {
        if (!large_blocks)
            shadow_mood(shadow);
        shadow_steps(shadow, steps / 8);
        pool_trim(0);
    }
    pool_thread_exit();
    return NULL;
}

static void work_all(void)
{
    pthread_t threads[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, work, &shadows[i]) != 0)
            shadow_fail("no thread");
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void check_quiet(void)
{
    shadow_count_t count = {0};
    const char *wrong = check_pool();
    if (wrong != NULL)
        shadow_fail("check_pool: %s", wrong);
    for (unsigned i = 0; i < THREADS; i++) {
        shadow_verify(&shadows[i]);
        shadow_count_add(&count, &shadows[i]);
    }
    survey_take(&survey);
    if (survey.class_count == 0)
        return; // the pool never started
    shadow_compare(&count, &survey, false);
    if (books_sum(&survey) != survey.heap_rss_bytes)
        shadow_fail("the parts are not the whole");
}

static uint64_t refused_all(void)
{
    uint64_t refused = 0;
    for (unsigned i = 0; i < THREADS; i++)
        refused += shadows[i].refused;
    return refused;
}

static void failures_begin(const scenario_t *scenario)
{
    refusals.every = scenario->every;
    refusals.calls = scenario->calls;
}

// The kernel gives again: everything that is asked for now is to be had.
static void failures_end(void)
{
    refusals.calls = 0;
    uint64_t before = refused_all();
    work_all();
    check_quiet();
    if (refused_all() != before)
        shadow_fail("%llu requests were refused although the kernel refuses nothing",
                    (unsigned long long)(refused_all() - before));
    for (unsigned i = 0; i < THREADS; i++)
        shadow_free_all(&shadows[i]);
    check_quiet();
}

static void scenario_run(const scenario_t *scenario, uint64_t seed)
{
    large_blocks = scenario->focus_bytes != 0;
    if (scenario->limited)
        refusals_address_limit = (size_t)2 << 30;
    for (unsigned i = 0; i < THREADS; i++) {
        shadow_start(&shadows[i], large_blocks ? large_slot_count : slot_count, shadow_random(&seed));
        shadows[i].may_fail = true;
        shadows[i].focus_bytes = scenario->focus_bytes;
        if (large_blocks)
            shadows[i].live_most_bytes = large_live_bytes;
    }
    if (!scenario->from_start) {
        pool_start();
        shadow_steps(&shadows[0], steps_warm);
    }
    failures_begin(scenario);
    work_all();
    check_quiet();
    uint64_t refused = refused_all();
    if (refusals_refused == 0)
        shadow_fail("not a single call was made that could have failed");
    if (scenario->must_refuse && refused == 0)
        shadow_fail("nothing was refused, where was the memory from?");
    failures_end();
    printf("%-32s %6u calls failed, %6llu requests refused\n", scenario->name, refusals_refused,
           (unsigned long long)refused);
    fflush(NULL);
}

static bool scenario_passes(const scenario_t *scenario, const char *program, uint64_t seed)
{
    int status;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(shadow_replay, sizeof(shadow_replay), "%s --seed %llu --steps %u %s", program,
                 (unsigned long long)seed, steps, scenario->name);
        alarm(120);
        scenario_run(scenario, seed);
        _exit(0);
    }
    if (pid < 0 || waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        printf("%-32s FAILED, seed %llu\n", scenario->name, (unsigned long long)seed);
        return false;
    }
    return true;
}

// --- each call -------------------------------------------------------------------------------------------------------

// A small heap's work: what it asks of the kernel is soon asked. In a child. Returns how many calls were made.
static unsigned each_run(unsigned nth, bool threads, uint64_t seed)
{
    refusals.nth = nth;
    refusals.calls = CALL_ALL;
    for (unsigned i = 0; i < THREADS; i++) {
        shadow_start(&shadows[i], slot_count / 4, shadow_random(&seed));
        shadows[i].may_fail = true;
    }
    if (threads)
        work_all();
    else
        shadow_steps(&shadows[0], steps);
    pool_trim(0);
    unsigned made = refusals_asked;
    check_quiet();
    refusals.calls = 0;
    for (unsigned i = 0; i < THREADS; i++)
        shadow_free_all(&shadows[i]);
    check_quiet();
    return made;
}

// Returns the number of calls that were made, 0 if something was wrong.
static unsigned each_run_apart(unsigned nth, bool threads, uint64_t seed)
{
    int ends[2], status = -1;
    unsigned made = 0;
    fflush(NULL);
    if (pipe(ends) != 0)
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(shadow_replay, sizeof(shadow_replay), "--each --seed %llu --steps %u, call %u%s",
                 (unsigned long long)seed, steps, nth, threads ? " beside threads" : "");
        alarm(120);
        made = each_run(nth, threads, seed);
        _exit(write(ends[1], &made, sizeof made) != sizeof made);
    }
    close(ends[1]);
    bool told = read(ends[0], &made, sizeof made) == sizeof made;
    close(ends[0]);
    waitpid(pid, &status, 0);
    if (told && status == 0)
        return made;
    printf("call %u refused%s: FAILED with status %#x, seed %llu\n", nth, threads ? " beside threads" : "",
           (unsigned)status, (unsigned long long)seed);
    return 0;
}

static bool each_passes(bool threads, bool onwards, uint64_t seed)
{
    refusals.onwards = onwards;
    unsigned calls = each_run_apart(UINT_MAX, threads, seed); // that one never comes
    bool passes = calls != 0;
    for (unsigned nth = 1; nth <= calls; nth++)
        passes &= each_run_apart(nth, threads, seed) != 0;
    printf("each of %u calls failed%s, %s\n", calls, refusals.onwards ? " with all behind it" : " once",
           threads ? "beside threads" : "one thread");
    return passes;
}

int main(int count, char **arguments)
{
    uint64_t seed = 1;
    const char *only = NULL;
    bool passes = true, each = false;
    unsigned run = 0;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--seed") == 0 && i + 1 < count)
            seed = strtoull(arguments[++i], NULL, 0);
        else if (strcmp(arguments[i], "--steps") == 0 && i + 1 < count)
            steps = (unsigned)strtoul(arguments[++i], NULL, 0);
        else if (strcmp(arguments[i], "--each") == 0)
            each = true;
        else
            only = arguments[i];
    }
    os_start(); // for the model; the pool's own start comes in each child
    model_start(MEDIUM_MAX_BYTES, 0);
    if (each)
        return !(each_passes(false, false, seed) & each_passes(true, false, seed) & each_passes(false, true, seed) &
                 each_passes(true, true, seed));
    for (size_t i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++)
        if (only == NULL || strcmp(only, scenarios[i].name) == 0) {
            passes &= scenario_passes(&scenarios[i], arguments[0], seed);
            run++;
        }
    if (run == 0)
        fprintf(stderr, "no such scenario: %s\n", only);
    return passes && run != 0 ? 0 : 1;
}
