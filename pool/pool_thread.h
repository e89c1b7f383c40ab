// pool/pool_thread.h - the calling thread's heap: begun when it is first wanted, given up at the thread's end, borrowed behind that.
//
// pool_thread_exit (pool.h) gives it up. A thread that goes on calling the pool then, in destructors of the C library's, gets
// another; one at its very end borrows a heap for each call.
#ifndef TARN_POOL_THREAD_H
#define TARN_POOL_THREAD_H

#include "pool.h"

// The calling thread's heap, begun if need be; NULL: no memory.
heap_t *pool_thread_heap(void);
// At the end of a call that may have borrowed one.
void pool_thread_unborrow(void);
// Whether it has given a heap up: it does not begin another one to free a block.
bool pool_thread_has_ended(void);

#endif
