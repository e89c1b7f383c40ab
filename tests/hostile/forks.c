// tests/hostile/forks.c - fork at bad moments: while threads allocate, print and flush, and in signal handlers.
//
//   TARN_TEST_FORKS=10000     so many forks are made, however long it takes. Without: at most 2000 and for some seconds
//
// A child that hangs is ended by its own alarm, and the parent sees it; a parent that hangs, by an alarm that each
// fork puts off.
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>

#include "../conformance/facts.h"

#define CHILD_SECONDS 40
#define PARENT_SECONDS 60
#define ENOUGH_SECONDS 4
#define ENOUGH_FORKS 2000

static _Atomic bool stop;

static time_t now_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

// Whether to make one more fork after so many.
static bool more_forks(long done)
{
    static time_t start;
    const char *wanted = getenv("TARN_TEST_FORKS");
    if (start == 0)
        start = now_seconds();
    alarm(PARENT_SECONDS);
    if (wanted != NULL)
        return done < atol(wanted);
    return done == 0 || (done < ENOUGH_FORKS && now_seconds() - start < ENOUGH_SECONDS);
}

static void child_require_well(pid_t child, long number)
{
    int status = -1;
    pid_t got;
    do
        got = waitpid(child, &status, 0);
    while (got < 0 && errno == EINTR);
    CHECK(got == child && status == 0, "child %ld ended with status %#x%s", number, (unsigned)status,
          WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? ": it hung" : "");
}

static void fork_and_wait(void (*in_child)(void), long number)
{
    pid_t child = fork();
    CHECK(child >= 0, "no child %ld", number);
    if (child == 0) {
        alarm(CHILD_SECONDS);
        in_child();
        _exit(EXIT_SUCCESS);
    }
    child_require_well(child, number);
}

// --- threads that are busy meanwhile ---------------------------------------------------------------------------------

static size_t size_any(uint64_t *random)
{
    return 1 + (random_next(random) >> 44 >> random_next(random) % 20); // log-uniform to 1 MiB
}

static void *allocate(void *seed)
{
    enum { BLOCKS = 300 };
    void *blocks[BLOCKS] = {NULL};
    uint64_t random = (uintptr_t)seed;
    while (!stop) {
        size_t i = random_next(&random) % BLOCKS, size = size_any(&random);
        free(blocks[i]);
        blocks[i] = malloc(size);
        CHECK(blocks[i] != NULL, "no memory");
        *(char *)blocks[i] = 1;
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(blocks[i]);
    return NULL;
}

static void *_Atomic handed[64];

// Blocks go from one thread to another, so that frees by others are under way at every fork.
static void *hand_over(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    while (!stop)
        free(atomic_exchange(&handed[random_next(&random) % COUNT(handed)], malloc(size_any(&random) % 3000)));
    return NULL;
}

// Streams allocate their buffers under the list lock or their own, and fork takes those before the allocator's.
static void *print(void *unused)
{
    while (!stop) {
        char *text = NULL, *line = NULL;
        size_t size = 0, capacity = 0;
        FILE *memory = open_memstream(&text, &size), *file = fopen("/proc/self/stat", "r");
        CHECK(memory != NULL && file != NULL, "no stream");
        CHECK(getline(&line, &capacity, file) > 0, "no line");
        for (int i = 0; i < 50; i++)
            fprintf(memory, "%s%*d", line, i * 10, i);
        fclose(file);
        fclose(memory);
        free(line);
        free(text);
    }
    return unused;
}

// Takes the lock of every stream, one after the other, holding that of the list.
static void *flush_all(void *unused)
{
    while (!stop)
        fflush(NULL);
    return unused;
}

static void *allocate_one(void *unused)
{
    (void)unused;
    return malloc(100);
}

static void *create_threads(void *unused)
{
    while (!stop) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, allocate_one, NULL) == 0) {
            void *block;
            pthread_join(thread, &block);
            free(block);
        }
    }
    return unused;
}

typedef void *body_t(void *);

static void busy_while(void (*forks)(void), body_t *const *bodies, size_t count)
{
    pthread_t threads[8];
    for (size_t i = 0; i < count; i++)
        CHECK(pthread_create(&threads[i], NULL, bodies[i], (void *)(i + 1)) == 0, "no thread");
    forks();
    stop = true;
    for (size_t i = 0; i < count; i++)
        pthread_join(threads[i], NULL);
}

// --- what children do --------------------------------------------------------------------------------------------------

// Every size, much of it, and blocks of the parent are freed, too.
static void *inherited[1000];

static void inherit(void)
{
    for (size_t i = 0; i < COUNT(inherited); i++) {
        inherited[i] = malloc(i * 7);
        block_fill(inherited[i], i * 7, i);
    }
}

static void child_allocates(void)
{
    for (size_t i = 0; i < COUNT(inherited); i++) {
        CHECK(inherited[i] == NULL || block_is_filled(inherited[i], i * 7, i), "block %zu of the parent", i);
        free(inherited[i]);
    }
    blocks_come_and_go(200, 20);
}

static void child_prints(void)
{
    char *text = NULL;
    size_t size = 0;
    FILE *memory = open_memstream(&text, &size);
    for (int i = 0; i < 100; i++)
        fprintf(memory, "%*d", i, i);
    fclose(memory);
    free(text);
    fflush(NULL);
}

static void forks_that_allocate(void)
{
    for (long i = 0; more_forks(i); i++)
        fork_and_wait(child_allocates, i);
}

static void forks_that_print(void)
{
    for (long i = 0; more_forks(i); i++)
        fork_and_wait(child_prints, i);
}

FACT(fork_while_threads_allocate)
{
    body_t *const bodies[] = {allocate, allocate, hand_over, hand_over};
    inherit();
    busy_while(forks_that_allocate, bodies, COUNT(bodies));
}

FACT(fork_while_threads_use_streams)
{
    body_t *const bodies[] = {print, print, allocate, flush_all};
    busy_while(forks_that_print, bodies, COUNT(bodies));
}

FACT(fork_while_threads_come_and_go)
{
    body_t *const bodies[] = {create_threads, create_threads, allocate};
    inherit();
    busy_while(forks_that_allocate, bodies, COUNT(bodies));
}

// --- children with threads of their own ----------------------------------------------------------------------------------

static void *child_thread(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    void *blocks[100] = {NULL};
    for (size_t i = 0; i < 3000; i++) {
        size_t slot = random_next(&random) % COUNT(blocks);
        free(blocks[slot]);
        blocks[slot] = malloc(size_any(&random) % 50000);
    }
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    return NULL;
}

static void child_runs_threads(void)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, child_thread, (void *)(i + 1)) == 0, "no thread");
    fork_and_wait(child_allocates, 1); // a grandchild, while they run
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

static void forks_with_threads(void)
{
    for (long i = 0; more_forks(i); i++)
        fork_and_wait(child_runs_threads, i);
}

FACT(children_run_threads_and_fork_in_turn)
{
    body_t *const bodies[] = {allocate, hand_over, hand_over};
    inherit();
    busy_while(forks_with_threads, bodies, COUNT(bodies));
}

static void *forks_in_a_thread(void *unused)
{
    for (long i = 0; more_forks(i); i++)
        fork_and_wait(child_allocates, i);
    return unused;
}

// The child's only thread is not the main one.
FACT(several_threads_fork_at_once)
{
    pthread_t threads[4];
    inherit();
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, forks_in_a_thread, NULL) == 0, "no thread");
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

// --- exec ------------------------------------------------------------------------------------------------------------

static void child_execs(void)
{
    char *arguments[] = {strdup("true"), NULL};
    for (size_t size = 1; size < 2 * MIB; size *= 7)
        CHECK(memset(malloc(size), 1, 1) != NULL, "no memory");
    execv("/bin/true", arguments);
}

static void forks_that_exec(void)
{
    for (long i = 0; more_forks(i); i++)
        fork_and_wait(child_execs, i);
}

FACT(fork_allocate_and_exec_beside_8_allocating_threads)
{
    body_t *const bodies[] = {allocate, allocate, allocate, allocate, hand_over, hand_over, hand_over, hand_over};
    busy_while(forks_that_exec, bodies, COUNT(bodies));
}

// --- signal handlers -------------------------------------------------------------------------------------------------

// fork is async-signal-safe by tradition. The handler has interrupted malloc, so its child leaves without a malloc of
// its own; the parent goes on.
static _Atomic long forked;
static _Atomic long *forked_seen; // the same, for the child that sends the signals

static void fork_in_handler(int number)
{
    (void)number;
    int saved = errno;
    pid_t child = fork();
    if (child == 0)
        _exit(EXIT_SUCCESS);
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(child > 0 && status == 0, "the child of a handler ended with status %#x", (unsigned)status);
    forked++;
    if (forked_seen != NULL)
        *forked_seen = forked;
    errno = saved;
}

static void exec_in_handler(int number)
{
    (void)number;
    int saved = errno;
    pid_t child = fork();
    if (child == 0) {
        execl("/bin/true", "true", (char *)NULL);
        _exit(STATUS_FAILED);
    }
    int status = -1;
    waitpid(child, &status, 0);
    CHECK(child > 0 && status == 0, "the child of a handler ended with status %#x", (unsigned)status);
    forked++;
    if (forked_seen != NULL)
        *forked_seen = forked;
    errno = saved;
}

// A child sends the signals, with pauses of random length: timers would come at the same place again and again. Each comes
// when the one before has been handled: where fork and exec take longer than a pause, the program would get nowhere else.
static void signal_storm(pid_t target, int number)
{
    uint64_t random = 5;
    for (long sent = 0; getppid() == target;) {
        if (*forked_seen == sent) {
            kill(target, number);
            sent++;
        }
        struct timespec pause = {.tv_nsec = (long)(random_next(&random) % 2000000)};
        nanosleep(&pause, NULL);
    }
    _exit(EXIT_SUCCESS);
}

static void allocate_under(void (*handler)(int))
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0, "no handler");
    forked_seen = mmap(NULL, sizeof(*forked_seen), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(forked_seen != MAP_FAILED, "no memory to share");
    pid_t parent = getpid(), sender = fork();
    if (sender == 0)
        signal_storm(parent, SIGUSR1);
    void *blocks[300] = {NULL};
    uint64_t random = 11;
    while (more_forks(forked)) {
        size_t i = random_next(&random) % COUNT(blocks), size = size_any(&random);
        blocks[i] = random % 3 == 0 ? realloc(blocks[i], size) : (free(blocks[i]), malloc(size));
        CHECK(blocks[i] != NULL, "no memory");
        block_fill(blocks[i], size < 100 ? size : 100, i);
    }
    signal(SIGUSR1, SIG_IGN);
    kill(sender, SIGKILL);
    waitpid(sender, NULL, 0);
}

FACT(a_handler_forks_in_the_midst_of_malloc)
{
    allocate_under(fork_in_handler);
}

FACT(a_handler_forks_and_execs_in_the_midst_of_malloc)
{
    allocate_under(exec_in_handler);
}

// Each child signals before its parent is back from fork.
FACT(a_handler_forks_in_the_midst_of_fork)
{
    struct sigaction action = {.sa_handler = fork_in_handler, .sa_flags = SA_RESTART};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0, "no handler");
    for (long i = 0; more_forks(i); i++) {
        pid_t parent = getpid(), child = fork();
        if (child == 0)
            _exit(kill(parent, SIGUSR1));
        child_require_well(child, i);
        free(malloc(1000000 + (size_t)i));
        free(malloc((size_t)i));
    }
    CHECK(forked > 0, "no signal came");
}

static void timer_set(suseconds_t every)
{
    setitimer(ITIMER_PROF, &(struct itimerval){{0, every}, {0, every}}, NULL);
}

// It interrupts computing, not malloc: so it may do anything.
static volatile sig_atomic_t handled;

static void allocate_in_handler(int number)
{
    (void)number;
    for (size_t size = 1; size < 400000; size *= 5) {
        void *block = malloc(size);
        block_fill(block, size, size);
        block = realloc(block, size * 2);
        CHECK(block_is_filled(block, size, size), "%zu bytes", size);
        free(block);
    }
    handled = handled + 1;
}

static void compute_while(bool (*not_yet)(void))
{
    volatile double sum = 0;
    while (not_yet())
        sum = sum * 0.5 + 1;
}

static bool handled_too_few(void)
{
    return handled < 500;
}

FACT(signal_handlers_allocate_while_the_program_computes)
{
    signal(SIGPROF, allocate_in_handler);
    timer_set(500);
    compute_while(handled_too_few);
    timer_set(0);
}

static volatile sig_atomic_t timer_is_off;

static bool timer_is_on(void)
{
    return !timer_is_off;
}

// With many threads the next signal is always there already: only the handler itself can end this.
static void handler_forks_and_child_allocates(int number)
{
    (void)number;
    if (!more_forks(forked)) {
        timer_set(0);
        timer_is_off = 1;
        return;
    }
    fork_and_wait(child_allocates, forked);
    forked++;
}

// Other threads allocate, so that their locks are taken whenever the handler comes; the thread it interrupts computes.
FACT(a_handler_forks_while_other_threads_allocate)
{
    pthread_t threads[3];
    sigset_t only;
    sigemptyset(&only);
    sigaddset(&only, SIGPROF);
    inherit();
    pthread_sigmask(SIG_BLOCK, &only, NULL); // for the threads
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, i == 0 ? print : allocate, (void *)(i + 1)) == 0, "no thread");
    signal(SIGPROF, handler_forks_and_child_allocates);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    timer_set(2000);
    compute_while(timer_is_on);
    stop = true;
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}
