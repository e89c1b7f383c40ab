// tests/hostile/actor.c - a small program that does what its arguments say, in turn, for the Python tests here.
//
// It does its work (blocks of all sizes, whole contents), prints "worked" and ends as told. What it checks itself ends it
// with status 1 and a line that names this file.
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "../conformance/check.h"

int tarn_report(void) __attribute__((weak));

// --- work ------------------------------------------------------------------------------------------------------------

static void work(const char *unused)
{
    enum { BLOCKS = 3000 };
    static void *blocks[BLOCKS];
    (void)unused;
    for (size_t i = 0; i < BLOCKS; i++) {
        blocks[i] = malloc(i % 97 == 0 ? i * 200 : i % 700);
        CHECK(blocks[i] != NULL, "no memory");
        block_fill(blocks[i], i % 97 == 0 ? i * 200 : i % 700, i);
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        CHECK(block_is_filled(blocks[i], i % 97 == 0 ? i * 200 : i % 700, i), "block %zu", i);
        free(blocks[i]);
    }
}

static void print(const char *text)
{
    puts(text);
    fflush(stdout);
}

static void *thread_work(void *unused)
{
    for (size_t i = 0; i < 2000; i++)
        free(memset(malloc(i * 10 + 1), 1, 1));
    return unused;
}

static void run_threads(const char *count)
{
    pthread_t threads[16];
    int wanted = atoi(count);
    for (int i = 0; i < wanted && i < (int)COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, thread_work, NULL) == 0, "no thread");
    for (int i = 0; i < wanted && i < (int)COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

// --- descriptors -----------------------------------------------------------------------------------------------------

// Without readdir, which would open one itself: the names of all that are open, on one line.
static void print_fds(const char *unused)
{
    struct stat status;
    (void)unused;
    for (int fd = 0; fd < 1024; fd++)
        if (fstat(fd, &status) == 0)
            printf("%d ", fd);
    print("open");
}

static void print_fds_at_exit(void)
{
    print_fds("");
}

static void at_exit_print_fds(const char *unused)
{
    (void)unused;
    CHECK(atexit(print_fds_at_exit) == 0, "no handler");
}

// A file of the program's own gets the number of standard error, as it does with daemons and shells' 2>&-.
static void use_stderr_for(const char *path)
{
    close(STDERR_FILENO);
    CHECK(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600) == STDERR_FILENO, "another number");
    CHECK(write(STDERR_FILENO, "data\n", 5) == 5, "not written");
}

static void close_fd(const char *fd)
{
    close(atoi(fd));
}

static void close_stderr_at_exit(void)
{
    fclose(stderr);
}

// As the coreutils do, to see whether all could be written.
static void at_exit_close_stderr(const char *unused)
{
    (void)unused;
    CHECK(atexit(close_stderr_at_exit) == 0, "no handler");
}

static void go_to(const char *folder)
{
    CHECK(chdir(folder) == 0, "cannot go to %s", folder);
}

// Blocks of 64 KiB until there are no more, each touched; then one is free, and one is to be had.
static void fill_up(const char *unused)
{
    (void)unused;
    enum { BLOCK = 64 << 10, MOST = 100000 };
    static char *blocks[MOST];
    unsigned count = 0;
    errno = 0;
    while (count < MOST && (blocks[count] = malloc(BLOCK)) != NULL)
        memset(blocks[count++], 1, BLOCK);
    CHECK(count < MOST && errno == ENOMEM, "%u blocks, errno %d", count, errno);
    CHECK(malloc(BLOCK) == NULL && calloc(1, (size_t)1 << 40) == NULL, "no limit any more");
    free(blocks[--count]);
    CHECK((blocks[count++] = malloc(BLOCK)) != NULL, "the free block is not to be had");
    printf("%u blocks\n", count);
    while (count != 0)
        free(blocks[--count]);
}

static size_t locked_bytes(void)
{
    return proc_bytes("/proc/self/status", "\nVmLck:");
}

// mlockall(flags): prints how that went, and whether more than the program's first pages are locked.
static void lock_all(const char *flags)
{
    int error = mlockall(atoi(flags)) == 0 ? 0 : errno;
    printf("%s, %s\n", error == 0 ? "locked" : strerror(error), locked_bytes() > MIB ? "much" : "little");
}

static void print_resident(const char *unused)
{
    (void)unused;
    printf("%zu\n", proc_bytes("/proc/self/status", "\nRssAnon:"));
}

static void unlock_all(const char *unused)
{
    (void)unused;
    CHECK(munlockall() == 0 && locked_bytes() == 0, "%zu bytes", locked_bytes());
}

// So many MiB in blocks of 100 KiB, kept; prints whether they are to be had, and whether they are locked.
static void hold(const char *amount)
{
    size_t before = locked_bytes(), wanted = strtoul(amount, NULL, 10) * MIB, got = 0, size = 100 * KIB;
    for (void *block; got < wanted && (block = malloc(size)) != NULL; got += size)
        memset(block, 1, size);
    size_t locked = locked_bytes() - before;
    printf("%s, %s\n", got < wanted ? "no memory" : "held", locked < got / 2 ? "not locked" : "locked");
}

// --- misuse, for messages in odd places ------------------------------------------------------------------------------

static void free_wild(const char *unused)
{
    (void)unused;
    volatile uintptr_t wild = 16;
    free((void *)wild);
}

// --- processes -------------------------------------------------------------------------------------------------------

static void wait_for(pid_t child)
{
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0, "the child ended with status %#x", (unsigned)status);
}

// The child works and ends on its own, the parent goes on.
static void fork_and_work(const char *how)
{
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        work(NULL);
        strcmp(how, "_exit") == 0 ? _exit(EXIT_SUCCESS) : exit(EXIT_SUCCESS);
    }
    wait_for(child);
}

// The child allocates nothing before its report.
static void fork_and_report(const char *unused)
{
    (void)unused;
    pid_t child = fork();
    if (child == 0)
        _exit(tarn_report == NULL || tarn_report() != 0);
    wait_for(child);
}

// The child does what it should not: in memory that is its parent's.
static void vfork_and_allocate(const char *unused)
{
    (void)unused;
    pid_t child = vfork();
    if (child == 0) {
        free(malloc(1000));
        _exit(EXIT_SUCCESS);
    }
    wait_for(child);
}

static void run_command(const char *command)
{
    fflush(stdout);
    CHECK(system(command) == 0, "%s", command);
}

static void exec_command(const char *command)
{
    fflush(stdout);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
}

// --- ends ------------------------------------------------------------------------------------------------------------

static void end_exit(const char *status)
{
    exit(atoi(status));
}

static void end_underscore_exit(const char *status)
{
    _exit(atoi(status));
}

static void end_quick_exit(const char *status)
{
    quick_exit(atoi(status));
}

static void end_signal(const char *number)
{
    raise(atoi(number));
}

static void *exit_in_thread(void *status)
{
    exit(atoi((const char *)status));
}

static void end_thread_exit(const char *status)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, exit_in_thread, (void *)(uintptr_t)status) == 0, "no thread");
    pthread_join(thread, NULL);
}

static void end_fault(const char *unused)
{
    volatile int *volatile nowhere = NULL;
    (void)unused;
    *nowhere = 1;
}

static const struct action {
    const char *name;
    void (*act)(const char *argument);
} actions[] = {
    {"work", work},
    {"print", print},
    {"fill-up", fill_up},
    {"lock-all", lock_all},
    {"unlock-all", unlock_all},
    {"print-resident", print_resident},
    {"hold", hold},
    {"threads", run_threads},
    {"fds", print_fds},
    {"fds-at-exit", at_exit_print_fds},
    {"reuse-stderr", use_stderr_for},
    {"close", close_fd},
    {"close-stderr-at-exit", at_exit_close_stderr},
    {"chdir", go_to},
    {"free-wild", free_wild},
    {"fork", fork_and_work},
    {"fork-report", fork_and_report},
    {"vfork-allocate", vfork_and_allocate},
    {"system", run_command},
    {"exec", exec_command},
    {"exit", end_exit},
    {"_exit", end_underscore_exit},
    {"quick_exit", end_quick_exit},
    {"thread-exit", end_thread_exit},
    {"signal", end_signal},
    {"fault", end_fault},
};

static void act(char *argument)
{
    char *value = strchr(argument, '=');
    if (value != NULL)
        *value++ = '\0';
    for (size_t i = 0; i < COUNT(actions); i++)
        if (strcmp(actions[i].name, argument) == 0) {
            actions[i].act(value != NULL ? value : "");
            return;
        }
    CHECK(false, "no action %s", argument);
}

int main(int argc, char **argv)
{
    library_require();
    alarm(30);
    for (int i = 1; i < argc; i++)
        act(argv[i]);
    return EXIT_SUCCESS;
}
