// tests/hostile/threads.c - threads that come and go, on the smallest stacks, and at their very end. Cancelled: cancelled.c.
//
//   TARN_TEST_THREADS=10000     so many rounds of threads that are created and end (default 250)
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>

#include "threads.h"

// --- many ------------------------------------------------------------------------------------------------------------

// Allocates in every tier, leaves one block in four behind.
static void *leave_some(void *seed)
{
    uint64_t random = (uintptr_t)seed;
    void **left = malloc(50 * sizeof *left);
    for (size_t i = 0; i < 50; i++) {
        size_t size = 1 + (random_next(&random) >> 46 >> random_next(&random) % 18);
        free(memset(malloc(size), 1, 1));
        left[i] = i % 4 == 0 ? memset(malloc(size % 3000 + 1), 1, 1) : NULL;
    }
    return left;
}

static void free_left(void *left)
{
    for (size_t i = 0; i < 50; i++)
        free(((void **)left)[i]);
    free(left);
}

// What one thread leaves behind, another frees; nothing may pile up.
FACT(a_storm_of_threads_leaves_no_memory_behind)
{
    enum { AT_ONCE = 8, WARM_UP = 25 };
    const size_t waves = rounds_wanted(250);
    pthread_t threads[AT_ONCE];
    void *left[AT_ONCE] = {NULL};
    size_t before = 0;
    for (size_t wave = 0; wave < waves; wave++) {
        alarm(FACT_SECONDS);
        for (size_t i = 0; i < AT_ONCE; i++)
            threads[i] = thread_start(leave_some, (void *)(wave * AT_ONCE + i + 1));
        for (size_t i = 0; i < AT_ONCE; i++) {
            if (left[i] != NULL)
                free_left(left[i]);
            pthread_join(threads[i], &left[i]);
        }
        if (wave == WARM_UP)
            before = rss_bytes();
    }
    CHECK(rss_bytes() < before + 8 * MIB, "grown from %zu to %zu", before, rss_bytes());
}

static pthread_barrier_t all_there;

static void *wait_with_blocks(void *unused)
{
    void *blocks[20];
    for (size_t i = 0; i < COUNT(blocks); i++) {
        blocks[i] = malloc(i * 40);
        block_fill(blocks[i], i * 40, i);
    }
    pthread_barrier_wait(&all_there);
    for (size_t i = 0; i < COUNT(blocks); i++) {
        CHECK(block_is_filled(blocks[i], i * 40, i), "block %zu", i);
        free(blocks[i]);
    }
    return unused;
}

FACT(a_thousand_threads_allocate_at_the_same_time)
{
    enum { THREADS = 1000 };
    static pthread_t threads[THREADS];
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 * KIB);
    pthread_barrier_init(&all_there, NULL, THREADS);
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], &small, wait_with_blocks, NULL) == 0, "no thread %zu", i);
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
}

static void *give_block(void *unused)
{
    (void)unused;
    return memset(malloc(700), 1, 700);
}

FACT(detached_threads_end_while_others_free_their_blocks)
{
    static void *_Atomic given[64];
    for (size_t round = 0; round < 2000; round++) {
        void *block;
        pthread_join(thread_start(give_block, NULL), &block);
        free(atomic_exchange(&given[round % COUNT(given)], block));
        pthread_detach(thread_start(leave_some, (void *)(round + 1)));
        if (round % 50 == 0)
            usleep(1000);
    }
}

// --- small stacks ------------------------------------------------------------------------------------------------------

FACT(the_smallest_stack_is_enough_for_everything)
{
    enum { SMALLEST = 16384 }; // PTHREAD_STACK_MIN before it became a function
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstacksize(&attributes, SMALLEST) == 0, "not accepted");
    for (size_t i = 0; i < 20; i++) {
        pthread_t thread;
        int error = pthread_create(&thread, &attributes, use_everything, NULL);
        CHECK(error == 0, "no thread: %s", strerror(error));
        pthread_join(thread, NULL);
    }
}

// --- at the end of a thread --------------------------------------------------------------------------------------------

enum { KEYS = 6 };

static pthread_key_t keys[KEYS];
static _Atomic long destroyed;

// Goes on as long as the C library calls, PTHREAD_DESTRUCTOR_ITERATIONS rounds, and frees what the round before left.
static void destroy(void *value)
{
    size_t *block = value;
    size_t size = block[0];
    CHECK(block_is_filled(block + 1, size - sizeof size, size), "a block of %zu bytes in a destructor", size);
    free(block);
    size_t *next = malloc(size * 2);
    next[0] = size * 2;
    block_fill(next + 1, size * 2 - sizeof size, size * 2);
    if (atomic_fetch_add(&destroyed, 1) % KEYS < KEYS - 1)
        free(memset(malloc(size * 100), 1, 1));
    for (size_t i = 0; i < KEYS; i++)
        if (pthread_getspecific(keys[i]) == NULL) {
            pthread_setspecific(keys[i], next);
            return;
        }
    free(next);
}

static void *set_keys(void *unused)
{
    for (size_t i = 0; i < KEYS; i++) {
        size_t size = 64 << i, *block = malloc(size);
        block[0] = size;
        block_fill(block + 1, size - sizeof size, size);
        pthread_setspecific(keys[i], block);
    }
    return unused;
}

// Blocks that the last round leaves are the program's loss: KEYS of them a thread, of some KiB.
FACT(key_destructors_allocate_in_every_round)
{
    for (size_t i = 0; i < KEYS; i++)
        CHECK(pthread_key_create(&keys[i], destroy) == 0, "no key");
    for (size_t i = 0; i < 300; i++)
        pthread_join(thread_start(set_keys, NULL), NULL);
    CHECK(destroyed >= 300 * KEYS * 3, "%ld calls", destroyed);
    use_everything(NULL);
}

// Keys whose destructors only allocate and free: nothing may be lost.
static void destroy_once(void *value)
{
    free(value);
    for (size_t size = 8; size < 100000; size *= 3)
        free(memset(malloc(size), 1, 1));
}

static void *set_key(void *unused)
{
    pthread_setspecific(keys[0], malloc(100));
    pthread_setspecific(keys[1], malloc(5000));
    return unused;
}

FACT(what_destructors_allocate_and_free_is_not_lost)
{
    size_t before = 0;
    pthread_key_create(&keys[0], destroy_once);
    pthread_key_create(&keys[1], destroy_once);
    for (size_t i = 0; i < 2000; i++) {
        pthread_join(thread_start(set_key, NULL), NULL);
        if (i == 100)
            before = rss_bytes();
    }
    CHECK(rss_bytes() < before + 2 * MIB, "grown from %zu to %zu", before, rss_bytes());
}

// How C++ destroys thread_local objects, in C.
int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object, void *library);
extern void *__dso_handle;

static void destroy_object(void *object)
{
    CHECK(block_is_filled(object, 1000, 7), "the object");
    free(object);
    void *other = malloc(100000);
    block_fill(other, 100000, 8);
    free(other);
    atomic_fetch_add(&destroyed, 1);
}

static void *use_thread_local(void *unused)
{
    for (size_t i = 0; i < 10; i++) {
        void *object = malloc(1000);
        block_fill(object, 1000, 7);
        __cxa_thread_atexit_impl(destroy_object, object, &__dso_handle);
    }
    return unused;
}

FACT(thread_local_destructors_allocate)
{
    for (size_t i = 0; i < 200; i++)
        pthread_join(thread_start(use_thread_local, NULL), NULL);
    CHECK(destroyed == 2000, "%ld calls", destroyed);
}

// --- the main thread goes first ------------------------------------------------------------------------------------------

static void *allocate_on(void *main_thread)
{
    pthread_join(*(pthread_t *)main_thread, NULL);
    use_everything(NULL);
    exit(EXIT_SUCCESS);
}

FACT(other_threads_go_on_after_the_main_thread)
{
    static pthread_t main_thread;
    main_thread = pthread_self();
    for (size_t i = 0; i < 10; i++)
        CHECK(malloc(1000) != NULL, "no memory");
    pthread_detach(thread_start(allocate_on, &main_thread));
    pthread_exit(NULL);
}
