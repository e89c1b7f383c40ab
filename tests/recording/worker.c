// tests/recording/worker.c - programs for the recording's tests, one a name.
//
//   worker NAME [ARGUMENT]...     each says "ready" when it is at work
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 20000u
#define NEVER_INLINED __attribute__((noinline, noclone))

static _Atomic bool stop;

static uint64_t random_next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    return *state ^= *state << 17;
}

static void ready(void)
{
    (void)!write(STDOUT_FILENO, "ready\n", 6);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

// Whatever signals come meanwhile.
static void sleep_seconds(const char *seconds)
{
    for (uint64_t end_ms = now_ms() + (uint64_t)(atof(seconds) * 1000); now_ms() < end_ms;)
        usleep(1000);
}

// --- busy: threads that allocate, and free what others have allocated ------------------------------------------------

static _Atomic(void *) shared[SLOTS];

static size_t size_next(uint64_t *random)
{
    uint64_t kind = random_next(random) % 1000;
    size_t most = kind < 950 ? 500 : kind < 998 ? 30000 : 600000;
    return 1 + random_next(random) % most;
}

// Waves, so that the heap grows and shrinks.
static void *busy_thread(void *argument)
{
    uint64_t random = (uint64_t)(uintptr_t)argument * 77777 + 1;
    pthread_setname_np(pthread_self(), "busy");
    for (unsigned round = 0; !stop; round++) {
        unsigned slot = (unsigned)(random_next(&random) % SLOTS);
        bool empty = round / 200000 % 2 == 1 && random_next(&random) % 8 != 0;
        size_t size = size_next(&random);
        void *block = empty ? NULL : malloc(size);
        if (block != NULL)
            memset(block, 1, size < 64 ? size : 64);
        free(atomic_exchange(&shared[slot], block));
        if (round % 50 == 0) {
            void *grown = realloc(malloc(300000), 300000 + random_next(&random) % 500000);
            free(grown);
        }
    }
    return NULL;
}

// worker busy THREADS [SECONDS]
static int busy(int count, char **arguments)
{
    unsigned threads = count > 0 ? (unsigned)atoi(arguments[0]) : 2;
    pthread_t thread[16];
    for (unsigned i = 0; i < threads && i < 16; i++)
        pthread_create(&thread[i], NULL, busy_thread, (void *)(uintptr_t)(i + 1));
    ready();
    if (count < 2)
        pause();
    sleep_seconds(arguments[1]);
    stop = true;
    for (unsigned i = 0; i < threads && i < 16; i++)
        pthread_join(thread[i], NULL);
    return 0;
}

// --- known amounts ---------------------------------------------------------------------------------------------------

NEVER_INLINED void *known_leak(size_t size)
{
    void *block = malloc(size);
    __asm__ volatile("" : : "r"(block) : "memory"); // no tail call: this frame is to be seen
    return block;
}

NEVER_INLINED void *known_short_lived(size_t size)
{
    void *block = malloc(size);
    __asm__ volatile("" : : "r"(block) : "memory");
    return block;
}

// One in 64 stays, and holds its page. 64 MiB of holes at most.
static int pinned(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    static void *blocks[400000];
    for (unsigned i = 0; i < 400000; i++)
        blocks[i] = i % 64 == 0 ? known_leak(160) : known_short_lived(160);
    for (unsigned i = 0; i < 400000; i++)
        if (i % 64 != 0)
            free(blocks[i]);
    ready();
    return 0;
}

// worker leak BYTES BLOCK
static int leak(int count, char **arguments)
{
    size_t bytes = count > 0 ? (size_t)atoll(arguments[0]) : 64 << 20;
    size_t block = count > 1 ? (size_t)atoll(arguments[1]) : 1000;
    for (size_t i = 0; i < bytes; i += block) {
        memset(known_leak(block), 1, block);
        free(known_short_lived(block));
    }
    ready();
    return 0;
}

// --- peaks -----------------------------------------------------------------------------------------------------------

static void allocate(size_t bytes)
{
    for (size_t i = 0; i < bytes; i += 1000)
        memset(known_leak(1000), 1, 1000);
}

#define SPIKE_BLOCKS (256u << 10) // of 1000 bytes

// What snapshots may cost is spent on many small highs; then comes one that is far higher, and is over at once.
// worker spike
static int spike(int count, char **arguments)
{
    static void *blocks[SPIKE_BLOCKS];
    (void)count;
    (void)arguments;
    for (size_t block = (size_t)1 << 20; block < (size_t)48 << 20; block += block / 8)
        free(memset(malloc(block), 1, block));
    for (unsigned i = 0; i < SPIKE_BLOCKS; i++)
        blocks[i] = memset(malloc(1000), 1, 1000);
    for (unsigned i = 0; i < SPIKE_BLOCKS; i++)
        free(blocks[i]);
    ready();
    allocate((size_t)8 << 20);
    return 0;
}

// --- fork, exec ------------------------------------------------------------------------------------------------------

// A child that allocates, one that does not, one that is killed. worker forks
static int forks(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    allocate((size_t)20 << 20);
    for (int i = 0; i < 3; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            if (i != 1)
                allocate((size_t)30 << 20);
            if (i == 2)
                kill(getpid(), SIGKILL);
            exit(i + 10);
        }
        waitpid(pid, NULL, 0);
    }
    allocate((size_t)20 << 20);
    return 0;
}

static pthread_barrier_t together;

static void *together_thread(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&together);
    allocate((size_t)4 << 20);
    return NULL;
}

// Children of vfork that find nothing to execute, in the midst of its work. worker vforks
static int vforks(int count, char **arguments)
{
    (void)count, (void)arguments;
    for (int i = 0; i < 20; i++) {
        allocate((size_t)1 << 20);
        pid_t pid = vfork();
        if (pid == 0)
            _exit(10);
        waitpid(pid, NULL, 0);
    }
    return 0;
}

// A child that may open no file, and so has no recording: malloc does not tell it so by errno.
static int fork_without_files(int count, char **arguments)
{
    (void)count, (void)arguments;
    allocate((size_t)1 << 20);
    pid_t pid = fork();
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        int status = 0;
        setrlimit(RLIMIT_NOFILE, &none);
        for (int i = 0; i < 64 && status == 0; i++) {
            errno = 0;
            void *block = malloc((size_t)128 << 10);
            status = block == NULL || errno != 0;
        }
        _exit(status);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    return status != 0;
}

// Children whose threads all allocate at once, and nothing does before. worker forked_threads CHILDREN
static int forked_threads(int count, char **arguments)
{
    const unsigned threads = 4;
    int children = count > 0 ? atoi(arguments[0]) : 10;
    allocate((size_t)20 << 20);
    for (int i = 0; i < children; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t thread[threads];
            pthread_barrier_init(&together, NULL, threads);
            for (unsigned k = 0; k < threads; k++)
                pthread_create(&thread[k], NULL, together_thread, NULL);
            for (unsigned k = 0; k < threads; k++)
                pthread_join(thread[k], NULL);
            exit(0);
        }
        waitpid(pid, NULL, 0);
    }
    return 0;
}

// worker exec PROGRAM ARGUMENT...
static int run_exec(int count, char **arguments)
{
    (void)count;
    allocate((size_t)10 << 20);
    execv(arguments[0], arguments);
    return 1;
}

// --- libraries that come and go beside allocations ---------------------------------------------------------------------

static const char *const *plugins;

static void *plugin_thread(void *unused)
{
    (void)unused;
    for (unsigned round = 0; !stop; round++) {
        void *library = dlopen(plugins[round % 2], RTLD_NOW);
        if (library == NULL) {
            fprintf(stderr, "%s\n", dlerror());
            _exit(3);
        }
        void *(*allocate_in)(size_t, unsigned);
        *(void **)&allocate_in = dlsym(library, "plugin_allocate");
        for (unsigned i = 0; i < 20; i++)
            free(allocate_in(5000, 4));
        dlclose(library);
    }
    return NULL;
}

// worker plugins SECONDS LIBRARY LIBRARY
static int run_plugins(int count, char **arguments)
{
    pthread_t thread[3];
    if (count < 3)
        return 2;
    plugins = (const char *const *)&arguments[1];
    pthread_create(&thread[0], NULL, plugin_thread, NULL);
    pthread_create(&thread[1], NULL, plugin_thread, NULL);
    pthread_create(&thread[2], NULL, busy_thread, (void *)1);
    ready();
    sleep_seconds(arguments[0]);
    stop = true;
    for (unsigned i = 0; i < 3; i++)
        pthread_join(thread[i], NULL);
    return 0;
}

// --- signals ---------------------------------------------------------------------------------------------------------

static _Atomic unsigned caught;

static void on_alarm(int number)
{
    (void)number;
    atomic_fetch_add(&caught, 1);
}

// Timers as often as the kernel gives them, in two threads that allocate. worker storm SECONDS
static int storm(int count, char **arguments)
{
    struct sigaction action = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 200}, {0, 200}};
    uint64_t end_ms = now_ms() + (uint64_t)((count > 0 ? atof(arguments[0]) : 1) * 1000);
    pthread_t thread[2];
    sigaction(SIGALRM, &action, NULL);
    sigaction(SIGPROF, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    setitimer(ITIMER_PROF, &often, NULL);
    for (uintptr_t i = 0; i < 2; i++)
        pthread_create(&thread[i], NULL, busy_thread, (void *)(i + 1));
    ready();
    while (now_ms() < end_ms)
        kill(getpid(), SIGALRM);
    stop = true;
    for (unsigned i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    return caught == 0;
}

// --- a deep stack ----------------------------------------------------------------------------------------------------

static int deep(unsigned depth)
{
    if (depth == 0)
        return known_leak(4000) != NULL;
    int result = deep(depth - 1);
    __asm__ volatile("" : : : "memory");
    return result;
}

// worker recursion DEPTH
static int recursion(int count, char **arguments)
{
    unsigned depth = count > 0 ? (unsigned)atoi(arguments[0]) : 1000;
    for (unsigned i = 0; i < 5000; i++)
        if (deep(depth) == 0)
            return 1;
    return 0;
}

// --- many stacks -----------------------------------------------------------------------------------------------------

// Each bit of the path is a call from another place.
NEVER_INLINED static int path_take(unsigned path, unsigned depth)
{
    int result;
    if (depth == 0)
        result = known_leak(4000) != NULL;
    else if (path & 1)
        result = path_take(path >> 1, depth - 1);
    else
        result = path_take(path >> 1, depth - 1) + 1;
    __asm__ volatile("" : : : "memory"); // none of the calls is the function's last
    return result;
}

// 2 to the power of DEPTH stacks, each twice. worker paths DEPTH
static int paths(int count, char **arguments)
{
    unsigned depth = count > 0 ? (unsigned)atoi(arguments[0]) : 11;
    for (unsigned i = 0; i < 2u << depth; i++)
        if (path_take(i, depth) == 0)
            return 1;
    return 0;
}

// Blocks of every size, twice, on one stack. worker sizes MOST
static int sizes(int count, char **arguments)
{
    size_t most = count > 0 ? (size_t)atoll(arguments[0]) : 16384;
    for (size_t i = 0; i < 2 * most; i += 16)
        memset(known_leak(i % most + 16), 1, 1);
    ready();
    return 0;
}

// Waits for what comes. worker idle
static int idle(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    allocate((size_t)8 << 20);
    ready();
    char letter;
    while (read(STDIN_FILENO, &letter, 1) == 1)
        allocate((size_t)8 << 20);
    return 0;
}

// Fills 64 MiB at once, and frees it little by little, for a process that hardly runs; then waits. worker ebb
static int ebb(int count, char **arguments)
{
    enum { BLOCKS = 65536, STEPS = 50, STEP_US = 100000 };
    static void *blocks[BLOCKS];
    (void)count;
    (void)arguments;
    for (unsigned i = 0; i < BLOCKS; i++)
        memset(blocks[i] = known_leak(1008), 1, 1008);
    for (unsigned step = 0; step < STEPS; step++) {
        for (unsigned i = step; i < BLOCKS; i += STEPS)
            free(blocks[i]);
        usleep(STEP_US);
    }
    ready();
    pause();
    return 0;
}

typedef struct program {
    const char *name;
    int (*run)(int count, char **arguments);
} program_t;

int main(int count, char **arguments)
{
    static const program_t programs[] = {{"busy", busy},   {"pinned", pinned},       {"leak", leak},
                                         {"forks", forks}, {"exec", run_exec},       {"plugins", run_plugins},
                                         {"storm", storm}, {"recursion", recursion}, {"idle", idle},
                                         {"spike", spike}, {"paths", paths},       {"sizes", sizes},
                                         {"forked_threads", forked_threads}, {"vforks", vforks},
                                         {"fork_without_files", fork_without_files}, {"ebb", ebb}};
    for (unsigned i = 0; count > 1 && i < sizeof programs / sizeof *programs; i++)
        if (strcmp(arguments[1], programs[i].name) == 0)
            return programs[i].run(count - 2, arguments + 2);
    return 2;
}
