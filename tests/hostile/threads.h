// tests/hostile/threads.h - what tests of threads have in common.
#ifndef TARN_TESTS_THREADS_H
#define TARN_TESTS_THREADS_H

#include <malloc.h>
#include <pthread.h>

#include "../conformance/facts.h"

static inline pthread_t thread_start(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, body, argument);
    CHECK(error == 0, "no thread: %s", strerror(error));
    return thread;
}

// As many as TARN_TEST_THREADS says.
static inline size_t rounds_wanted(size_t usual)
{
    const char *wanted = getenv("TARN_TEST_THREADS");
    return wanted != NULL ? strtoul(wanted, NULL, 10) : usual;
}

// Every function, every tier. As a thread's body, too.
static inline void *use_everything(void *unused)
{
    for (size_t size = 1; size < 4 * MIB; size = size * 2 + 1) {
        char *block = malloc(size);
        block = realloc(block, size * 2);
        block[size * 2 - 1] = 1;
        free(block);
        free(calloc(size, 1));
        free(memalign(4096, size));
    }
    volatile size_t too_much = SIZE_MAX / 2 + 1;
    CHECK(malloc(too_much) == NULL, "not refused");
    malloc_trim(0);
    CHECK(mallinfo2().uordblks > 0, "nothing is live");
    return unused;
}

#endif
