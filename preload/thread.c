// preload/thread.c - see thread.h.
//
// Destructors of other keys may run after ours, and allocate. Then the pool gives the thread a heap again and calls
// pool_hook_thread again, so ours runs again in the next of the C library's four rounds; what comes after the last one
// the pool serves without keeping a heap.
#include "thread.h"

#include <pthread.h>
#include <stdbool.h>

#include "../pool/pool.h"
#include "kernel.h"
#include "output.h"

static pthread_key_t key;
static bool key_exists; // [const] after thread_start

static void thread_ends(void *unused)
{
    (void)unused;
    pool_thread_exit();
    if (output_is_kept() && kernel_gettid() == kernel_getpid())
        output_end(); // the main thread's thread_local destructors ran, and it was no exit
}

void thread_start(void)
{
    key_exists = pthread_key_create(&key, thread_ends) == 0;
}

void pool_hook_thread(void)
{
    if (key_exists)
        pthread_setspecific(key, &key); // any value but NULL
}
