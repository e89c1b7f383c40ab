// tests/bench/calls.c - `calls MODE`: makes a few calls of malloc's family that test_trace.py knows by heart.
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

// Sizes that nothing else in the process asks for.
enum { FIRST = 100003, SECOND = 100019, THIRD = 100043, FOURTH = 100049, GROWN = 200003 };

static void *volatile kept;

static void each_once(void)
{
    void *a = malloc(FIRST), *b = calloc(3, SECOND), *c = aligned_alloc(4096, THIRD), *d = NULL;
    kept = malloc(0);
    free(kept);
    if (posix_memalign(&d, 64, FOURTH) != 0)
        exit(1);
    a = realloc(a, GROWN);
    free(b);
    free(c);
    a = reallocarray(a, 2, FIRST);
    kept = realloc(a, 0); // frees it
    free(realloc(NULL, SECOND));
    kept = d; // stays
}

static void failing(void)
{
    char *a = malloc(FIRST);
    volatile size_t too_much = (size_t)PTRDIFF_MAX + 1;
    kept = malloc(too_much);
    kept = realloc(a, too_much);
    if (malloc_usable_size(a) < FIRST)
        exit(1);
    free(a);
}

static void *take(void *unused)
{
    (void)unused;
    return malloc(SECOND);
}

// Allocated by one thread, freed by another, twice over: the second thread has another number.
static void threads(void)
{
    for (int i = 0; i < 2; i++) {
        pthread_t thread;
        void *block = NULL;
        if (pthread_create(&thread, NULL, take, NULL) != 0)
            exit(1);
        pthread_join(thread, &block);
        free(block);
    }
}

static void child(void)
{
    kept = malloc(FIRST);
    if (fork() == 0) {
        kept = malloc(SECOND);
        execlp("sh", "sh", "-c", "true", NULL);
        _exit(1);
    }
    wait(NULL);
}

// Random replacement by four threads that take blocks from each other.
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *slots[500];

static void *swap(size_t slot, void *block)
{
    pthread_mutex_lock(&lock);
    void *before = slots[slot];
    slots[slot] = block;
    pthread_mutex_unlock(&lock);
    return before;
}

static void *churn(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    for (int i = 0; i < 5000; i++) {
        size_t slot = (size_t)rand_r(&seed) % 500, bytes = 1 + (size_t)rand_r(&seed) % 5000;
        void *block = i % 3 != 0 ? malloc(bytes) : realloc(swap(slot, NULL), bytes);
        free(swap(slot, block));
    }
    return NULL;
}

static void crowd(void)
{
    pthread_t all[4];
    for (uintptr_t i = 0; i < 4; i++)
        if (pthread_create(&all[i], NULL, churn, (void *)i) != 0)
            exit(1);
    for (int i = 0; i < 4; i++)
        pthread_join(all[i], NULL);
}

// More blocks than the first table of pack has room for, freed in another order than they came, and so twice.
static void many(void)
{
    enum { COUNT = 40000, STRIDE = 7919 }; // a prime: each block's turn comes once
    static void *blocks[COUNT];
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < COUNT; i++)
            blocks[i] = malloc(24 + i % 3 * 16);
        for (size_t i = 0; i < COUNT; i++)
            free(blocks[i * STRIDE % COUNT]);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = {{"each", each_once}, {"failing", failing}, {"threads", threads},
                 {"child", child},    {"crowd", crowd},     {"many", many}};
    for (size_t i = 0; argc == 2 && i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(modes[i].name, argv[1]) == 0) {
            modes[i].run();
            return 0;
        }
    return 2;
}
