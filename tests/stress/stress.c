// tests/stress/stress.c - random work by several threads against a shadow, in rounds. Between two rounds all threads
// are quiet, and then the whole heap is checked: by check_pool, block by block, class by class, and against smaps.
//
//   stress [--seed N] [--rounds N] [--threads N] [--exact] [--harden N] [--huge] [--sample BYTES] [--shift]
//          [--soak [--seconds N]]
//
// --soak: in phases, in which all threads fill, churn or empty alike; a signal each millisecond; and between rounds what
// is kept is within the budget. With --seconds it goes on for so long; the round in which something is found is printed,
// and replays with --rounds.
//
// At the end it says how often what is rare happened, and fails if it never did where it should have.
//
// The seed is printed. It fixes what each thread does in each round; how the threads interleave stays chance, so a
// failure with several threads may need some replays, one with --threads 1 none. --exact: with requested=exact. --shift:
// little need be sparse for pages to become mosaics, and some must.
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "books.h"
#include "budget.h"
#include "check.h"
#include "huge.h"
#include "huge_count.h"
#include "mosaic.h"
#include "os_linux.h"
#include "pool.h"
#include "sample.h"
#include "shadow.h"

#define THREADS_MAX 64u

static const unsigned worker_slots = 4000, main_slots = 500;
static const unsigned steps_most = 1500; // a thread and round
static const unsigned child_steps = 300;
static const unsigned child_seconds = 60; // then something in the child waits forever
static const unsigned storm_slots = 20;   // blocks that a short-lived thread replaces
static const size_t huge_live_most_bytes = (size_t)32 << 20; // of a thread
static const size_t left_most_bytes = 64 << 10;
static const size_t shift_sparse_bytes = 8 << 10;
static const unsigned rounds_with_all = 10; // so many have something of everything
static const unsigned live_checked_every = 16; // rounds; every byte of every block

typedef struct worker {
    pthread_t thread;
    shadow_t shadow;
    uint64_t random; // what else it does
    bool begins, ends;
} worker_t;

static uint64_t seed = 1;
static const char *program;
static unsigned rounds = 1000, thread_count = 4;
static bool exact, huge, shift;
static unsigned harden, mosaics_most;
static uint64_t lent_medium;
static bool soaking;
static bool huge_pages_at_start;
static unsigned long seconds;          // 0: `rounds` counts
static _Atomic unsigned long signals;  // that came
static size_t sample_bytes; // mean distance of samples; 0: none are taken
static worker_t workers[THREADS_MAX];
static shadow_t main_shadow;
static pthread_barrier_t begin, end;
static survey_t survey;

void pool_hook_boot(pool_options_t *options)
{
    options->requested_exact = exact;
    options->harden = harden;
    options->huge = huge ? HUGE_ON : HUGE_AUTO;
    options->sample_bytes = sample_bytes;
    options->sample_seed = seed;
}

// --- samples: what the hooks are told, beside the table that they come from ------------------------------------------

#define SAMPLES_MOST (1u << 20)

static _Atomic(const void *) sampled[SAMPLES_MOST];
static _Atomic uint32_t births, deaths;

uint32_t sample_hook_birth(const sample_t *sample)
{
    uint32_t number = atomic_fetch_add(&births, 1) + 1;
    if (number >= SAMPLES_MOST) {
        atomic_fetch_add(&deaths, 1);
        return 0;
    }
    sampled[number] = sample->block;
    return number;
}

void sample_hook_death(uint32_t number, const void *block)
{
    if (atomic_exchange(&sampled[number], NULL) != block)
        shadow_fail("sample %u at %p dies, and was not there", number, block);
    atomic_fetch_add(&deaths, 1);
}

void sample_hook_resize(uint32_t number, const void *old_block, const sample_t *sample)
{
    if (atomic_exchange(&sampled[number], sample->block) != old_block)
        shadow_fail("sample %u at %p is resized, and was not there", number, old_block);
}

static uint32_t sampled_in(const shadow_t *shadow)
{
    uint32_t count = 0;
    for (unsigned i = 0; i < shadow->slot_count; i++) {
        const void *block = shadow->slots[i].block;
        uint32_t number = block == NULL ? 0 : sample_find(block);
        if (number != 0 && sampled[number] != block)
            shadow_fail("the sample at %p is another's", block);
        count += number != 0;
    }
    return count;
}

// In front of lock.c's (-Wl,--wrap): here nobody ever loses patience with a fork. On a busy machine a fork takes longer
// than that patience, and then memory may come from elsewhere or stay lost, as lock.h says; exact books cannot be
// asked for then. tests/unit/test_lock.c and test_reserve.c are about that case.
void __wrap_lock_fork_begin(uint64_t patience_ms);
void __wrap_lock_fork_end(void);

void __wrap_lock_fork_begin(uint64_t patience_ms)
{
    (void)patience_ms;
}

void __wrap_lock_fork_end(void) {}

static unsigned chance(uint64_t *random, unsigned bound)
{
    return shadow_below(random, bound);
}

// --- checks ----------------------------------------------------------------------------------------------------------

static shadow_count_t count_all(void)
{
    shadow_count_t count = {0};
    for (unsigned i = 0; i < thread_count; i++)
        shadow_count_add(&count, &workers[i].shadow);
    shadow_count_add(&count, &main_shadow);
    return count;
}

// Each sample that was born and has not died is one of the shadows' blocks.
static void samples_check(void)
{
    uint32_t live = sampled_in(&main_shadow);
    for (unsigned i = 0; i < thread_count; i++)
        live += sampled_in(&workers[i].shadow);
    if (live != births - deaths)
        shadow_fail("%u samples live, and %u blocks are sampled", births - deaths, live);
}

static void check_quiet(bool totals)
{
    char why[256];
    const char *wrong = check_pool();
    if (wrong != NULL)
        shadow_fail("check_pool: %s", wrong);
    mosaics_most = mosaic_count() > mosaics_most ? mosaic_count() : mosaics_most;
    survey_take(&survey);
    shadow_count_t count = count_all();
    lent_medium = count.lent_medium;
    shadow_compare(&count, &survey, totals);
    if (!books_agree(&survey, why, sizeof(why)))
        shadow_fail("the books do not balance: %s", why);
}

// --- children --------------------------------------------------------------------------------------------------------

static void child_finish(pid_t pid)
{
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        shadow_fail("no child, or it is gone");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        shadow_fail("a child has failed: status 0x%x", status);
}

static pid_t fork_pool(void)
{
    fflush(NULL);
    pool_fork_prepare();
    pid_t pid = fork();
    if (pid != 0) {
        pool_fork_parent();
        return pid;
    }
    pool_fork_child();
    alarm(child_seconds);
    return 0;
}

// While the other threads work: the child has its own blocks and those it was handed, and can go on with them.
static void fork_amid(shadow_t *shadow)
{
    pid_t pid = fork_pool();
    if (pid == 0) {
        shadow_verify(shadow);
        shadow_steps(shadow, child_steps);
        shadow_verify(shadow);
        shadow_free_all(shadow);
        _exit(0);
    }
    child_finish(pid);
}

// While all threads are quiet: the child's heap is whole, all threads' blocks are there, and it stays so.
static void fork_quiet(void)
{
    pid_t pid = fork_pool();
    if (pid == 0) {
        check_quiet(true);
        shadow_steps(&main_shadow, child_steps);
        for (unsigned i = 0; i < thread_count; i++)
            shadow_steps(&workers[i].shadow, child_steps);
        check_quiet(true);
        _exit(0);
    }
    child_finish(pid);
}

// --- soaking ---------------------------------------------------------------------------------------------------------

static const unsigned phase_rounds = 40;
static const useconds_t signal_us = 1000;

static void signal_come(int number)
{
    (void)number;
    signals++;
}

// They interrupt whoever runs, in the pool or in a call of the kernel.
static void signals_begin(void)
{
    struct sigaction action = {.sa_handler = signal_come, .sa_flags = SA_RESTART};
    struct itimerval every = {.it_interval.tv_usec = signal_us, .it_value.tv_usec = signal_us};
    if (sigaction(SIGALRM, &action, NULL) != 0 || setitimer(ITIMER_REAL, &every, NULL) != 0)
        shadow_fail("no timer");
}

// All threads fill, or churn, or empty, with one size for most blocks or with all.
static void phase_begin(uint64_t *random)
{
    static const unsigned fills[] = {95, 80, 50, 20, 5};
    unsigned fill = fills[chance(random, 5)];
    size_t focus_bytes = chance(random, 3) == 0 ? 0 : (size_t)16 << chance(random, 11);
    for (unsigned i = 0; i < thread_count; i++) {
        workers[i].shadow.fill = fill;
        workers[i].shadow.focus_bytes = focus_bytes;
    }
}

// What is kept whole is looked at when a page becomes empty, so that is done here. The budget sinks with time: what is found
// wrong counts if the clock stood meanwhile.
static void budget_verify(void)
{
    uint64_t before_ms;
    size_t kept, limit;
    do {
        before_ms = os_now_ms();
        heap_purge_excess(heap_self);
        kept = budget_kept();
        limit = budget_limit(BUDGET_WHOLE);
    } while (kept > limit && os_now_ms() != before_ms);
    if (kept > limit)
        shadow_fail("%zu bytes are kept, and the budget is %zu", kept, limit);
}

static bool is_over(unsigned round, time_t began)
{
    return seconds != 0 ? (unsigned long)(time(NULL) - began) >= seconds : round == rounds;
}

// --- threads ---------------------------------------------------------------------------------------------------------

static void *storm_run(void *argument)
{
    shadow_steps(argument, storm_slots);
    pool_thread_exit();
    return NULL;
}

// A thread that lives for a few calls, on this thread's blocks.
static void storm(shadow_t *shadow)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, storm_run, shadow) != 0)
        shadow_fail("no thread");
    pthread_join(thread, NULL);
}

static void worker_event(worker_t *worker)
{
    switch (chance(&worker->random, 64)) {
    case 0:
        fork_amid(&worker->shadow);
        break;
    case 1:
    case 2:
        pool_trim(chance(&worker->random, 2) << 20);
        break;
    case 3:
    case 4:
    case 5:
        storm(&worker->shadow);
        break;
    case 6:
    case 7:
    case 8:
    case 9:
        shadow_mood(&worker->shadow);
        break;
    default:
        break;
    }
}

static void *worker_run(void *argument)
{
    worker_t *worker = argument;
    bool ends = false;
    while (!ends) {
        pthread_barrier_wait(&begin);
        unsigned steps = chance(&worker->random, steps_most);
        worker_event(worker);
        shadow_steps(&worker->shadow, steps);
        ends = worker->ends;
        if (ends)
            pool_thread_exit();
        pthread_barrier_wait(&end);
    }
    return NULL;
}

static void worker_begin(worker_t *worker)
{
    worker->begins = false;
    if (pthread_create(&worker->thread, NULL, worker_run, worker) != 0)
        shadow_fail("no thread");
}

static void worker_end(worker_t *worker)
{
    pthread_join(worker->thread, NULL);
    worker->begins = true;
}

// --- rounds ----------------------------------------------------------------------------------------------------------

static shadow_t *shadow_any(uint64_t *random)
{
    unsigned i = chance(random, thread_count + 1);
    return i == thread_count ? &main_shadow : &workers[i].shadow;
}

// Blocks go from one thread to another: up to a tenth of all, so that a good part of the frees are by others.
static void hand_over(uint64_t *random)
{
    unsigned count = chance(random, thread_count * worker_slots / 10);
    while (count-- > 0)
        shadow_exchange(shadow_any(random), shadow_any(random), random);
}

static void round_run(unsigned round, uint64_t *random)
{
    for (unsigned i = 0; i < thread_count; i++) {
        workers[i].ends = chance(random, 8) == 0;
        if (workers[i].begins)
            worker_begin(&workers[i]);
    }
    pthread_barrier_wait(&begin);
    pthread_barrier_wait(&end);
    for (unsigned i = 0; i < thread_count; i++)
        if (workers[i].ends)
            worker_end(&workers[i]);
    hand_over(random);
    shadow_steps(&main_shadow, chance(random, 200));
    check_quiet(true);
    if (round % live_checked_every == 0)
        for (unsigned i = 0; i < thread_count; i++)
            shadow_verify(&workers[i].shadow);
    if (chance(random, 32) == 0)
        fork_quiet();
    if (soaking)
        budget_verify();
}

static void threads_end(void)
{
    for (unsigned i = 0; i < thread_count; i++) {
        workers[i].ends = true;
        if (workers[i].begins)
            worker_begin(&workers[i]);
    }
    pthread_barrier_wait(&begin);
    pthread_barrier_wait(&end);
    for (unsigned i = 0; i < thread_count; i++)
        worker_end(&workers[i]);
}

static void replay_note(unsigned round_count)
{
    snprintf(shadow_replay, sizeof(shadow_replay), "%s --seed %llu --rounds %u --threads %u --harden %u --sample %zu%s%s%s%s",
             program, (unsigned long long)seed, round_count, thread_count, harden, sample_bytes, exact ? " --exact" : "",
             huge ? " --huge" : "", soaking ? " --soak" : "", shift ? " --shift" : "");
}

// Where an OS page holds several pages: one at the start of the first zone, whose first page is never used, and the last
// ones of the two zones with the smallest pages, behind which others are still to come.
static size_t left_most(void)
{
    return left_most_bytes + (os_page_bytes() > LOW_PAGE_BYTES ? 3 * os_page_bytes() : 0);
}

// Everything freed and given back, all threads gone: nothing is left but tables.
static void finish(void)
{
    for (unsigned i = 0; i < thread_count; i++) {
        shadow_free_all(&workers[i].shadow);
        shadow_end(&workers[i].shadow);
        workers[i].shadow.slot_count = 0;
    }
    shadow_free_all(&main_shadow);
    pool_trim(0);
    check_quiet(true);
    if (survey.heap_rss_bytes > survey.metadata_bytes + left_most())
        shadow_fail("nothing lives, and %llu bytes stay resident", (unsigned long long)survey.heap_rss_bytes);
    shadow_end(&main_shadow);
}

static void rounds_run(void)
{
    uint64_t random = seed;
    shadow_start(&main_shadow, main_slots, shadow_random(&random));
    for (unsigned i = 0; i < thread_count; i++) {
        shadow_start(&workers[i].shadow, worker_slots, shadow_random(&random));
        workers[i].random = shadow_random(&random);
        workers[i].begins = true;
        shadow_mood(&workers[i].shadow);
        if (huge) {
            workers[i].shadow.large_often = true;
            workers[i].shadow.live_most_bytes = huge_live_most_bytes;
        }
    }
    pthread_barrier_init(&begin, NULL, thread_count + 1);
    pthread_barrier_init(&end, NULL, thread_count + 1);
    time_t began = time(NULL);
    unsigned round = 0;
    if (soaking)
        signals_begin();
    for (; !is_over(round, began); round++) {
        if (seconds != 0)
            replay_note(round + 1);
        if (soaking && round % phase_rounds == 0)
            phase_begin(&random);
        round_run(round, &random);
        if (sample_bytes != 0)
            samples_check();
    }
    rounds = round;
    threads_end();
    finish();
}

// --- what is rare ------------------------------------------------------------------------------------------------------

static bool machine_has_huge_pages(void)
{
    return os_gives_huge_pages(HUGE_BYTES);
}

// It has to have happened, or the run says nothing of it. Huge pages where the machine had some at the start and at the end:
// that changes with what else runs on it.
static void rare_verify(void)
{
    printf("at most %u mosaics; %llu medium blocks lent; huge pages: %u new, %u collapsed, %u large blocks; ", mosaics_most,
           (unsigned long long)lent_medium, huge_count.regions, huge_count.collapsed, huge_count.large);
    if (shift && mosaics_most == 0)
        shadow_fail("no page became a mosaic");
    if (harden == 0 && rounds >= rounds_with_all && lent_medium == 0)
        shadow_fail("no medium block was lent");
    if (huge && rounds >= rounds_with_all && huge_pages_at_start && machine_has_huge_pages() && (huge_count.regions == 0 || huge_count.large == 0))
        shadow_fail("huge pages: %u regions, %u large blocks", huge_count.regions, huge_count.large);
}

// --- main ------------------------------------------------------------------------------------------------------------

static uint64_t seed_read(const char *text)
{
    if (strcmp(text, "new") == 0)
        return (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
    return strtoull(text, NULL, 0);
}

static void options_read(int count, char **arguments)
{
    static const struct option known[] = {{"seed", required_argument, NULL, 's'},
                                          {"rounds", required_argument, NULL, 'r'},
                                          {"threads", required_argument, NULL, 't'},
                                          {"exact", no_argument, NULL, 'e'},
                                          {"harden", required_argument, NULL, 'h'},
                                          {"sample", required_argument, NULL, 'm'},
                                          {"soak", no_argument, NULL, 'k'},
                                          {"seconds", required_argument, NULL, 'n'},
                                          {"huge", no_argument, NULL, 'g'},
                                          {"shift", no_argument, NULL, 'i'},
                                          {0}};
    for (int option; (option = getopt_long(count, arguments, "", known, NULL)) != -1;) {
        if (option == 's')
            seed = seed_read(optarg);
        else if (option == 'r')
            rounds = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 't')
            thread_count = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'e')
            exact = true;
        else if (option == 'h')
            harden = (unsigned)strtoul(optarg, NULL, 0);
        else if (option == 'm')
            sample_bytes = strtoul(optarg, NULL, 0);
        else if (option == 'k')
            soaking = true;
        else if (option == 'n')
            seconds = strtoul(optarg, NULL, 0);
        else if (option == 'g')
            huge = true;
        else if (option == 'i')
            shift = true;
        else
            exit(2);
    }
    if (rounds == 0 || thread_count == 0 || thread_count > THREADS_MAX || optind != count) {
        fprintf(stderr, "usage: stress [--seed N|new] [--rounds N] [--threads 1..%u] [--exact] [--harden 0..2] "
                        "[--huge] [--sample BYTES] [--shift] [--soak [--seconds N]]\n", THREADS_MAX);
        exit(2);
    }
}

int main(int count, char **arguments)
{
    options_read(count, arguments);
    program = arguments[0];
    replay_note(rounds);
    puts(shadow_replay);
    fflush(stdout);
    if (shift)
        heap_sparse_least_bytes = shift_sparse_bytes;
    if (!pool_start())
        shadow_fail("the pool does not start");
    model_start(zone_max_bytes(), harden_tail_bytes);
    huge_pages_at_start = huge && machine_has_huge_pages();
    rounds_run();
    rare_verify();
    printf("%u rounds, blocks ever: %llu, resident at the end: %llu bytes\n", rounds,
           (unsigned long long)survey.allocated_total, (unsigned long long)survey.heap_rss_bytes);
    if (soaking && signals == 0)
        shadow_fail("no signal came");
    if (sample_bytes != 0 && births == 0)
        shadow_fail("nothing was sampled");
    return 0;
}
