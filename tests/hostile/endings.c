// tests/hostile/endings.c - allocation before main and after it, and processes that end in the midst of everything.
//
//   TARN_TEST_EXITS=1000     how many processes exit while their threads allocate (default 60)
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/prctl.h>

#include "../conformance/facts.h"

extern char **environ;

// --- constructors and exit handlers --------------------------------------------------------------------------------------

static void *early;
static const size_t early_bytes = 5000;

__attribute__((constructor(101))) static void allocate_first(void)
{
    early = malloc(early_bytes);
    block_fill(early, early_bytes, 1);
    free(malloc(1000000));
}

static void *at_exit;

static void exit_handler(void)
{
    CHECK(block_is_filled(at_exit, 300, 2), "a block at exit");
    free(at_exit);
    for (size_t size = 1; size < 2 * MIB; size *= 3) {
        void *block = realloc(malloc(size), size * 2);
        block_fill(block, size * 2, size);
        free(block);
    }
}

__attribute__((destructor(101))) static void free_last(void)
{
    CHECK(block_is_filled(early, early_bytes, 1), "a block of a constructor, in a destructor");
    free(early);
    CHECK(malloc(100000) != NULL, "nothing to be had in a destructor");
}

FACT(constructors_exit_handlers_and_destructors_allocate)
{
    CHECK(block_is_filled(early, early_bytes, 1), "a block of a constructor, in main");
    at_exit = malloc(300);
    block_fill(at_exit, 300, 2);
    CHECK(atexit(exit_handler) == 0, "no handler");
}

// --- exit while threads allocate -----------------------------------------------------------------------------------------

__attribute__((noreturn)) static void *allocate_for_ever(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    void *blocks[100] = {NULL};
    for (;;) {
        size_t i = random_next(&random) % COUNT(blocks);
        free(blocks[i]);
        blocks[i] = malloc(1 + (random_next(&random) >> 44 >> random_next(&random) % 20));
    }
}

static void start_allocating(void)
{
    for (size_t i = 1; i <= 4; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, allocate_for_ever, (void *)i) == 0, "no thread");
    }
    usleep(500);
}

static void *exit_in_thread(void *unused)
{
    (void)unused;
    exit(EXIT_SUCCESS);
}

// The ways out, each beside four threads that allocate. Run by the fact below, in a process of their own.
FACT(exit_beside_threads)
{
    start_allocating();
    exit(EXIT_SUCCESS);
}

FACT(exit_of_a_thread_beside_threads)
{
    pthread_t thread;
    start_allocating();
    CHECK(pthread_create(&thread, NULL, exit_in_thread, NULL) == 0, "no thread");
    pthread_join(thread, NULL);
}

FACT(underscore_exit_beside_threads)
{
    start_allocating();
    _exit(EXIT_SUCCESS);
}

FACT(quick_exit_beside_threads)
{
    start_allocating();
    quick_exit(EXIT_SUCCESS);
}

FACT(return_from_main_beside_threads)
{
    start_allocating();
}

// With and without a report, which reads the heap that the threads go on changing. In this process's children nothing
// is written to standard error; with stats_file it is to nowhere that could be kept.
FACT(a_process_ends_while_its_threads_allocate)
{
    static const char *const ways[] = {"exit_beside_threads", "exit_of_a_thread_beside_threads",
                                       "underscore_exit_beside_threads", "quick_exit_beside_threads",
                                       "return_from_main_beside_threads"};
    static const char *const options[] = {"stats=off", "stats=text:stats_file=%s/report.%%p",
                                          "stats=json:stats_file=%s/report.%%p"};
    const char *exits = getenv("TARN_TEST_EXITS");
    char folder[] = "/tmp/tarn-endings-XXXXXX", file[64];
    CHECK(mkdtemp(folder) != NULL, "no folder");
    for (long i = 0; i < (exits != NULL ? atol(exits) : 60); i++) {
        char text[200];
        int status = -1;
        pid_t child = fork();
        if (child == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            snprintf(text, sizeof text, options[i % COUNT(options)], folder);
            setenv("TARN_OPTIONS", text, 1);
            alarm(30);
            execl("/proc/self/exe", "endings", ways[i / COUNT(options) % COUNT(ways)], (char *)NULL);
            _exit(STATUS_FAILED);
        }
        alarm(60);
        waitpid(child, &status, 0);
        snprintf(file, sizeof file, "%s/report.%d", folder, (int)child);
        bool report = access(file, F_OK) == 0;
        unlink(file);
        CHECK(status == 0, "exit %ld, %s, ended with status %#x", i, ways[i / COUNT(options) % COUNT(ways)],
              (unsigned)status);
        CHECK(report == (i % COUNT(options) != 0), "exit %ld wrote %s report", i, report ? "a" : "no");
    }
    CHECK(rmdir(folder) == 0, "%s is not empty", folder);
}

// --- vfork and posix_spawn -----------------------------------------------------------------------------------------------

static void *blocks[1000];

static void inherit(void)
{
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = malloc(i * 5);
        block_fill(blocks[i], i * 5, i);
    }
}

static void inherited_require_whole(void)
{
    for (size_t i = 0; i < COUNT(blocks); i++)
        CHECK(block_is_filled(blocks[i], i * 5, i), "block %zu", i);
}

// The child has the parent's memory, and the parent waits: what the child allocates is the parent's afterwards.
FACT(the_child_of_a_vfork_allocates_and_execs)
{
    inherit();
    for (size_t i = 0; i < 200; i++) {
        static void *volatile given[3];
        int status = -1;
        pid_t child = vfork();
        if (child == 0) {
            for (size_t j = 0; j < COUNT(given); j++)
                given[j] = memset(malloc(100 << j * 6), 1, 100);
            free(malloc(3000000));
            execl("/bin/true", "true", (char *)NULL);
            _exit(STATUS_FAILED);
        }
        waitpid(child, &status, 0);
        CHECK(status == 0, "child %zu ended with status %#x", i, (unsigned)status);
        for (size_t j = 0; j < COUNT(given); j++)
            free(given[j]);
    }
    inherited_require_whole();
}

FACT(the_child_of_a_vfork_ends_without_exec)
{
    inherit();
    for (size_t i = 0; i < 200; i++) {
        int status = -1;
        pid_t child = vfork();
        if (child == 0) {
            free(malloc(i * 100));
            _exit(7);
        }
        waitpid(child, &status, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7, "child %zu ended with status %#x", i, (unsigned)status);
    }
    inherited_require_whole();
}

FACT(posix_spawn_starts_200_children_beside_allocating_threads)
{
    enum { CHILDREN = 200 };
    static pid_t children[CHILDREN];
    char *arguments[] = {(char *)"true", NULL};
    inherit();
    start_allocating();
    for (size_t i = 0; i < CHILDREN; i++) {
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        CHECK(posix_spawn(&children[i], "/bin/true", &actions, NULL, arguments, environ) == 0, "no child %zu", i);
        posix_spawn_file_actions_destroy(&actions);
    }
    for (size_t i = 0; i < CHILDREN; i++) {
        int status = -1;
        waitpid(children[i], &status, 0);
        CHECK(status == 0, "child %zu ended with status %#x", i, (unsigned)status);
    }
    inherited_require_whole();
}

FACT(system_and_popen_work)
{
    char line[100];
    for (int i = 0; i < 20; i++) {
        CHECK(system("exit 3") == 3 << 8, "system");
        FILE *pipe = popen("echo text", "r");
        CHECK(pipe != NULL && fgets(line, sizeof line, pipe) != NULL && strcmp(line, "text\n") == 0, "popen");
        CHECK(pclose(pipe) == 0, "pclose");
    }
}
