// tests/misuse/faults_double_free.c - a block is freed twice: at once, later, when its page is gone, by another thread.
#include <malloc.h>
#include <pthread.h>

#include "faults.h"

static void free_twice(size_t size_bytes)
{
    void *block = announce(malloc(size_bytes));
    free(hide(block));
    free(hide(block));
}

FAULT(double_free_of_1_byte)
{
    free_twice(1);
}

FAULT(double_free_of_64_bytes)
{
    free_twice(64);
}

FAULT(double_free_of_500_bytes)
{
    free_twice(500);
}

FAULT(double_free_of_2000_bytes)
{
    free_twice(2000);
}

FAULT(double_free_of_20000_bytes)
{
    free_twice(20000);
}

FAULT(double_free_of_100000_bytes)
{
    free_twice(100000);
}

FAULT(double_free_of_1_mib)
{
    free_twice(MIB);
}

FAULT(double_free_of_100_mib)
{
    free_twice(100 * MIB);
}

// Other blocks of the same size are live, and one of them is freed in between.
static void free_twice_with_one_between(size_t size_bytes)
{
    void *others[10], *block = announce(malloc(size_bytes));
    for (size_t i = 0; i < COUNT(others); i++)
        others[i] = malloc(size_bytes);
    free(hide(block));
    free(others[5]);
    free(hide(block));
}

FAULT(delayed_double_free_of_64_bytes)
{
    free_twice_with_one_between(64);
}

FAULT(delayed_double_free_of_2000_bytes)
{
    free_twice_with_one_between(2000);
}

FAULT(delayed_double_free_of_20000_bytes)
{
    free_twice_with_one_between(20000);
}

FAULT(delayed_double_free_of_100000_bytes)
{
    free_twice_with_one_between(100000);
}

FAULT(delayed_double_free_of_1_mib)
{
    free_twice_with_one_between(MIB);
}

// The page it lies in was emptied and given up meanwhile.
static void free_again_when_the_page_is_gone(size_t size_bytes)
{
    void *blocks[1000];
    for (size_t i = 0; i < COUNT(blocks); i++)
        blocks[i] = malloc(size_bytes);
    void *block = announce(blocks[500]);
    for (size_t i = 0; i < COUNT(blocks); i++)
        free(blocks[i]);
    malloc_trim(0);
    free(hide(block));
}

FAULT(double_free_of_64_bytes_in_a_page_given_up)
{
    free_again_when_the_page_is_gone(64);
}

FAULT(double_free_of_2000_bytes_in_a_page_given_up)
{
    free_again_when_the_page_is_gone(2000);
}

static void *thread_frees(void *block)
{
    free(block);
    return NULL;
}

static void *thread_frees_twice(void *block)
{
    free(hide(block));
    free(hide(block));
    return NULL;
}

static void run(void *(*body)(void *), void *block)
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, block) == 0, "no thread");
    pthread_join(thread, NULL);
}

FAULT(double_free_of_64_bytes_by_another_thread)
{
    run(thread_frees_twice, announced_with_neighbours(64));
}

FAULT(double_free_of_2000_bytes_by_another_thread)
{
    run(thread_frees_twice, announced_with_neighbours(2000));
}

// With frees between: what a thread gathers of others' blocks is looked at when it is handed over.
static void *thread_frees_second_again(void *array)
{
    void **blocks = array;
    for (size_t i = 0; i < 4; i++)
        free(blocks[i]);
    free(hide(blocks[1]));
    free(blocks[4]);
    return NULL;
}

FAULT(delayed_double_free_of_64_bytes_by_another_thread)
{
    static void *blocks[5];
    for (size_t i = 0; i < 5; i++)
        blocks[i] = malloc(64);
    announce(blocks[1]);
    run(thread_frees_second_again, blocks);
}

FAULT(double_free_of_1_mib_by_another_thread)
{
    run(thread_frees_twice, announced_with_neighbours(MIB));
}

static void owner_frees_then_thread(size_t size_bytes)
{
    void *block = announced_with_neighbours(size_bytes);
    free(hide(block));
    run(thread_frees, hide(block));
}

FAULT(free_of_64_bytes_by_the_owner_then_by_a_thread)
{
    owner_frees_then_thread(64);
}

FAULT(free_of_2000_bytes_by_the_owner_then_by_a_thread)
{
    owner_frees_then_thread(2000);
}

FAULT(free_of_1_mib_by_the_owner_then_by_a_thread)
{
    owner_frees_then_thread(MIB);
}

static void thread_frees_then_owner(size_t size_bytes)
{
    void *block = announced_with_neighbours(size_bytes);
    run(thread_frees, hide(block));
    free(hide(block));
}

FAULT(free_of_64_bytes_by_a_thread_then_by_the_owner)
{
    thread_frees_then_owner(64);
}

FAULT(free_of_2000_bytes_by_a_thread_then_by_the_owner)
{
    thread_frees_then_owner(2000);
}

FAULT(free_of_1_mib_by_a_thread_then_by_the_owner)
{
    thread_frees_then_owner(MIB);
}
