// tests/hostile/cancelled.c - threads that are cancelled: between calls, with a cancellation pending in each, and at any
// instruction.
//
//   TARN_TEST_THREADS=2000     so many rounds (default 200)
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>

#include "threads.h"

// --- between calls -----------------------------------------------------------------------------------------------------

static void ends_cancelled(pthread_t thread)
{
    void *result;
    pthread_join(thread, &result);
    CHECK(result == PTHREAD_CANCELED, "not cancelled");
}

static void *allocate_until_cancelled(void *unused)
{
    for (size_t i = 1;; i++) {
        free(memset(malloc(i % 5000 + 1), 1, 1));
        free(realloc(malloc(i % 300000), i % 900000));
        pthread_testcancel();
    }
    return unused;
}

FACT(a_thread_is_cancelled_in_a_malloc_loop)
{
    for (size_t i = 0; i < 300; i++) {
        pthread_t thread = thread_start(allocate_until_cancelled, NULL);
        usleep(i % 7 * 100);
        pthread_cancel(thread);
        ends_cancelled(thread);
    }
    use_everything(NULL);
}

// A cancellation is pending all the time; none of these functions is a cancellation point, whatever they do inside.
static void *allocate_while_cancelled(void *done)
{
    FILE *unbuffered = fopen("/dev/null", "w");
    setvbuf(unbuffered, NULL, _IONBF, 0);
    pthread_cancel(pthread_self());
    use_everything(NULL);
    void *blocks[500];
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = memset(malloc(20000), 1, 20000);
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    malloc_trim(0);
    malloc_info(0, unbuffered);
    *(bool *)done = true;
    pthread_testcancel();
    return NULL;
}

FACT(no_function_is_a_cancellation_point)
{
    bool done = false;
    void *result;
    pthread_join(thread_start(allocate_while_cancelled, &done), &result);
    CHECK(done && result == PTHREAD_CANCELED, "cancelled within");
    use_everything(NULL);
}

// --- at any instruction ------------------------------------------------------------------------------------------------

// POSIX does not allow it, and the C library's malloc hangs then: the next who wants the cancelled thread's lock waits for ever.
static void *allocate_until_cancelled_anywhere(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    void *blocks[20] = {NULL}; // small ones: nobody frees what is left
    CHECK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0, "not accepted");
    for (;;) {
        size_t i = random_next(&random) % COUNT(blocks), size = 1 + (random_next(&random) >> 45 >> random % 19);
        free(realloc(calloc(1, size), size + size / 4));
        if (random & 1)
            free(blocks[i]);
        blocks[i] = random & 1 ? malloc(size % 1000) : realloc(blocks[i], size % 1000 + 1);
        if (random % 16 == 0)
            CHECK(mallinfo2().uordblks != 0, "nothing is live");
        for (volatile unsigned work = 0; work < 10000; work++) // as much as that takes, so that it is found at either
            ;
    }
}

static _Atomic bool stop;

// What the cancelled ones leave behind in whatever state must not reach it.
static void *allocate_beside_cancelled(void *unused)
{
    enum { BLOCKS = 500 };
    static void *blocks[BLOCKS];
    static size_t sizes[BLOCKS];
    uint64_t random = 7;
    while (!stop) {
        size_t i = random_next(&random) % BLOCKS;
        CHECK(blocks[i] == NULL || block_is_filled(blocks[i], sizes[i], i), "a block of %zu bytes", sizes[i]);
        free(blocks[i]);
        sizes[i] = 1 + (random_next(&random) >> 46 >> random % 18);
        blocks[i] = malloc(sizes[i]);
        CHECK(blocks[i] != NULL, "no memory");
        block_fill(blocks[i], sizes[i], i);
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return unused;
}

FACT(threads_are_cancelled_in_the_midst_of_malloc_and_free)
{
    pthread_t bystander = thread_start(allocate_beside_cancelled, NULL);
    for (size_t i = 0, rounds = rounds_wanted(200); i < rounds; i++) {
        pthread_t threads[2];
        alarm(FACT_SECONDS);
        for (size_t j = 0; j < COUNT(threads); j++)
            threads[j] = thread_start(allocate_until_cancelled_anywhere, (void *)(i * COUNT(threads) + j + 1));
        usleep(300 + i % 7 * 100);
        for (size_t j = 0; j < COUNT(threads); j++)
            pthread_cancel(threads[j]);
        for (size_t j = 0; j < COUNT(threads); j++)
            ends_cancelled(threads[j]);
        if (i % 50 == 0) {
            pid_t child = fork(); // wants every lock
            if (child == 0) {
                use_everything(NULL);
                _exit(EXIT_SUCCESS);
            }
            child_ends_well(child);
        }
    }
    stop = true;
    pthread_join(bystander, NULL);
    use_everything(NULL);
}

// What else the C library does with such a thread it still does.
static _Atomic bool is_there, goes_on;
static pthread_mutex_t never_given = PTHREAD_MUTEX_INITIALIZER;

static void anywhere_from_here(void)
{
    CHECK(pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL) == 0, "not accepted");
    is_there = true;
}

static void *reckon(void *unused)
{
    free(malloc(100));
    anywhere_from_here();
    for (volatile unsigned long i = 0;; i++)
        ;
    return unused;
}

static void *wait_for_a_mutex(void *unused)
{
    anywhere_from_here();
    pthread_mutex_lock(&never_given);
    return unused;
}

static void *wait_for_input(void *unused)
{
    int pipe_ends[2];
    char byte;
    CHECK(pipe(pipe_ends) == 0, "no pipe");
    anywhere_from_here();
    CHECK(read(pipe_ends[0], &byte, 1) == 1, "read has ended");
    return unused;
}

static void *cancel_oneself(void *unused)
{
    anywhere_from_here();
    pthread_cancel(pthread_self());
    return unused;
}

static void *sleep_while_disabled(void *unused)
{
    struct timespec little = {.tv_nsec = 30 * 1000 * 1000};
    int before;
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL) == 0, "not accepted");
    anywhere_from_here();
    while (!goes_on)
        CHECK(nanosleep(&little, NULL) == 0, "interrupted");
    CHECK(pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &before) == 0 && before == PTHREAD_CANCEL_DISABLE, "not there");
    return unused;
}

static void *change_to_anywhere(void *unused)
{
    is_there = true;
    while (!goes_on)
        ;
    pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
    return unused;
}

static _Atomic unsigned cleaned_up;

static void clean_up(void *block)
{
    free(block);
    cleaned_up++;
}

static void *reckon_and_clean_up(void *unused)
{
    pthread_cleanup_push(clean_up, malloc(1000));
    reckon(NULL);
    pthread_cleanup_pop(0);
    return unused;
}

static void one_is_cancelled(void *(*body)(void *))
{
    alarm(FACT_SECONDS);
    is_there = goes_on = false;
    pthread_t thread = thread_start(body, NULL);
    while (!is_there)
        usleep(100);
    usleep(2000);
    int error = pthread_cancel(thread);
    CHECK(error == 0 || body == cancel_oneself, "%s", strerror(error));
    usleep(50 * 1000);
    goes_on = true;
    ends_cancelled(thread);
}

FACT(a_thread_that_can_be_cancelled_anywhere_is_wherever_it_waits_or_reckons)
{
    pthread_mutex_lock(&never_given);
    for (unsigned i = 0; i < 5; i++) {
        one_is_cancelled(reckon);
        one_is_cancelled(wait_for_a_mutex);
        one_is_cancelled(wait_for_input);
        one_is_cancelled(cancel_oneself);
        one_is_cancelled(sleep_while_disabled);
        one_is_cancelled(change_to_anywhere);
        one_is_cancelled(reckon_and_clean_up);
    }
    CHECK(cleaned_up == 5, "%u of 5 have cleaned up", cleaned_up);
}

// A handler that takes longer than the thread does anything else, and is itself interrupted by the cancellation.
static void handle_for_long(int number)
{
    (void)number;
    for (volatile unsigned i = 0; i < 100000; i++)
        ;
}

FACT(a_handler_that_interrupted_malloc_is_no_place_to_be_cancelled_in)
{
    struct sigaction action = {.sa_handler = handle_for_long, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    for (size_t i = 0; i < 100; i++) {
        alarm(FACT_SECONDS);
        pthread_t thread = thread_start(allocate_until_cancelled_anywhere, (void *)(i + 1));
        usleep(500);
        for (unsigned j = 0; j < 3; j++) {
            pthread_kill(thread, SIGUSR1);
            usleep(20);
        }
        pthread_cancel(thread);
        ends_cancelled(thread);
        use_everything(NULL); // wants every lock
    }
}

// As the kernel has it; the C library's functions refuse this signal.
typedef struct disposition {
    void (*handler)(int, siginfo_t *, void *);
    unsigned long flags;
    void *restorer;
    unsigned long mask;
} disposition_t;

enum { SIGNAL_CANCEL = 32 };
static disposition_t behind;
static _Atomic unsigned passed_on;

static void pass_on(int number, siginfo_t *info, void *context)
{
    passed_on++;
    behind.handler(number, info, context);
}

static void handler_put_before(void (*handler)(int, siginfo_t *, void *))
{
    disposition_t before;
    CHECK(syscall(SYS_rt_sigaction, SIGNAL_CANCEL, NULL, &behind, sizeof behind.mask) == 0, "not told");
    before = behind;
    before.handler = handler;
    CHECK(syscall(SYS_rt_sigaction, SIGNAL_CANCEL, &before, NULL, sizeof before.mask) == 0, "not accepted");
}

// Another copy of the library, in a namespace of its own, has one.
FACT(a_handler_that_is_put_before_the_librarys_may_pass_on_to_it)
{
    one_is_cancelled(reckon);
    handler_put_before(pass_on);
    one_is_cancelled(wait_for_input);
    one_is_cancelled(reckon);
    CHECK(passed_on >= 2, "passed on %u times", passed_on);
}

static void *cancel_one_of_many(void *unused)
{
    one_is_cancelled(reckon);
    return unused;
}

FACT(a_child_of_fork_cancels_threads_too)
{
    for (unsigned i = 0; i < 20; i++) {
        one_is_cancelled(reckon);
        pid_t child = fork();
        if (child == 0) {
            one_is_cancelled(reckon);
            anywhere_from_here(); // and can be cancelled by a thread of its own
            pthread_join(thread_start(cancel_one_of_many, NULL), NULL);
            use_everything(NULL);
            _exit(EXIT_SUCCESS);
        }
        child_ends_well(child);
    }
}

static void cancel_self(int number)
{
    (void)number;
    pthread_cancel(pthread_self());
}

FACT(a_handler_that_interrupted_malloc_cancels_its_own_thread_behind_it)
{
    struct sigaction action = {.sa_handler = cancel_self, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL);
    one_is_cancelled(reckon); // the C library loads its unwinder when the first is, and allocates for that
    for (size_t i = 0; i < 100; i++) {
        alarm(FACT_SECONDS);
        pthread_t thread = thread_start(allocate_until_cancelled_anywhere, (void *)(i + 1));
        usleep(500 + i % 7 * 10);
        pthread_kill(thread, SIGUSR1);
        ends_cancelled(thread);
        use_everything(NULL); // wants every lock
    }
}

static void *allocate_and_end(void *ready)
{
    void *blocks[64] = {NULL};
    anywhere_from_here();
    for (size_t i = 0; i < 1000; i++) {
        free(blocks[i % COUNT(blocks)]);
        blocks[i % COUNT(blocks)] = malloc(3000 + i * 50);
    }
    *(_Atomic bool *)ready = true;
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static size_t timers_count(void)
{
    char line[256];
    size_t count = 0;
    FILE *timers = fopen("/proc/self/timers", "r");
    if (timers == NULL)
        check_skip("this kernel does not tell of timers");
    while (fgets(line, sizeof line, timers) != NULL)
        count += strncmp(line, "ID:", 3) == 0;
    fclose(timers);
    return count;
}

// It ends while the library waits for a place to cancel it in.
FACT(a_cancelled_thread_leaves_no_timer_behind)
{
    for (size_t i = 0, rounds = rounds_wanted(250) * 4; i < rounds; i++) {
        _Atomic bool ready = false;
        alarm(FACT_SECONDS);
        pthread_t thread = thread_start(allocate_and_end, (void *)&ready);
        while (!ready)
            ;
        for (volatile unsigned wait = 0; wait < i % 3000; wait++)
            ;
        pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
    CHECK(timers_count() <= 1, "%zu timers", timers_count()); // that of the last one
}

static void *allocate_only(void *unused)
{
    anywhere_from_here();
    for (;;) {
        void *block = realloc(malloc(3000), 5000);
        free(malloc(90000));
        free(block);
    }
    return unused;
}

// As a debugger does: it has each signal first, and takes longer than the library waits between two.
static void signals_hold_up(pid_t child)
{
    pid_t stopped;
    int status;
    while ((stopped = waitpid(-1, &status, __WALL)) > 0) {
        if (WIFSTOPPED(status)) {
            usleep(100);
            ptrace(PTRACE_CONT, stopped, NULL, status >> 16 != 0 ? 0 : WSTOPSIG(status));
        } else if (stopped == child) {
            CHECK(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS, "status %x", (unsigned)status);
            return;
        }
    }
}

FACT(a_thread_is_cancelled_although_each_signal_takes_long)
{
    pid_t child = fork();
    if (child == 0) {
        alarm(FACT_SECONDS);
        raise(SIGSTOP);
        for (unsigned i = 0; i < 10; i++)
            one_is_cancelled(allocate_only);
        _exit(EXIT_SUCCESS);
    }
    waitpid(child, NULL, WUNTRACED);
    if (ptrace(PTRACE_SEIZE, child, NULL, PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL) != 0) {
        kill(child, SIGKILL);
        check_skip("this machine does not let a process trace its child");
    }
    kill(child, SIGCONT);
    signals_hold_up(child);
}

// Handlers of fork that are registered before the library's run between its own: it has its locks then.
static _Atomic bool forks_for_long;

static void fork_for_long(void)
{
    for (volatile unsigned i = 0; forks_for_long && i < 3000000; i++)
        ;
}

static void before_all_others(void)
{
    pthread_atfork(NULL, fork_for_long, NULL);
}

__attribute__((section(".preinit_array"), used)) static void (*const first)(void) = before_all_others;

static void *fork_until_cancelled(void *unused)
{
    forks_for_long = true;
    anywhere_from_here();
    for (;;) {
        pid_t child = fork();
        if (child == 0)
            _exit(EXIT_SUCCESS);
        child_ends_well(child);
    }
    return unused;
}

FACT(a_thread_is_not_cancelled_between_the_locks_of_a_fork)
{
    for (unsigned i = 0; i < 5; i++) {
        one_is_cancelled(fork_until_cancelled);
        forks_for_long = false;
        use_everything(NULL); // wants every lock
        while (waitpid(-1, NULL, 0) > 0)
            ;
    }
}

// The constructor waits for a thread that changes how it can be cancelled, and holds the loader's lock.
FACT(a_plugin_waits_for_a_thread_in_its_constructor)
{
    const char *path = getenv("TARN_TEST_PLUGIN");
    CHECK(path != NULL, "TARN_TEST_PLUGIN is not set");
    CHECK(dlopen(path, RTLD_NOW) != NULL, "%s", dlerror());
}

// The thread keeps its heap: what it had stays its own, there and back again.
static void *change_type_and_allocate(void *unused)
{
    static void *blocks[200];
    for (size_t i = 0; i < COUNT(blocks) * 10; i++) {
        int type = i % 3 == 0 ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED, before;
        CHECK(pthread_setcanceltype(type, &before) == 0, "not accepted");
        CHECK(before == (i % 3 == 1 ? PTHREAD_CANCEL_ASYNCHRONOUS : PTHREAD_CANCEL_DEFERRED), "it was %d", before);
        CHECK(pthread_setcanceltype(99, NULL) == EINVAL, "accepted");
        size_t slot = i % COUNT(blocks), size = slot * slot * 4;
        CHECK(blocks[slot] == NULL || block_is_filled(blocks[slot], size, slot), "block %zu", slot);
        free(blocks[slot]);
        CHECK((blocks[slot] = malloc(size)) != NULL && malloc_usable_size(blocks[slot]) >= size, "no memory");
        block_fill(blocks[slot], size, slot);
        if (i == COUNT(blocks))
            use_everything(NULL);
    }
    for (size_t i = 0; i < COUNT(blocks); i++) {
        free(blocks[i]);
        blocks[i] = NULL;
    }
    return unused;
}

FACT(a_thread_changes_how_it_can_be_cancelled_and_keeps_its_heap)
{
    size_t before = 0;
    for (size_t i = 0; i < 20; i++) {
        pthread_join(thread_start(change_type_and_allocate, NULL), NULL);
        if (i == 2)
            before = rss_bytes();
    }
    CHECK(rss_bytes() < before + 2 * MIB, "grown from %zu to %zu", before, rss_bytes());
}
