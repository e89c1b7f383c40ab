// pool/pool_thread.c - see pool_thread.h.
#include "pool_thread.h"


// A thread that allocates after its heap has been given up this often is at its very end (the C library calls
// destructors in four rounds): it borrows a heap for each call.
static const unsigned last_rounds = 3;

static __thread unsigned char ended_count __attribute__((tls_model("initial-exec")));

heap_t *pool_thread_heap(void)
{
    if (likely(heap_self != &heap_none))
        return heap_self;
    if (!pool_start())
        return NULL;
    heap_t *heap = heap_begin();
    if (heap != NULL && ended_count < last_rounds && pool_hook_thread)
        pool_hook_thread(); // may allocate: the heap is in place
    return heap;
}

bool pool_thread_has_ended(void)
{
    return ended_count != 0;
}

void pool_thread_unborrow(void)
{
    if (unlikely(ended_count >= last_rounds) && heap_self != &heap_none)
        heap_end();
}

void pool_thread_exit(void)
{
    if (heap_self == &heap_none)
        return;
    heap_end();
    ended_count++;
}
