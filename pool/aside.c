// pool/aside.c - threads that can be cancelled at any instruction, not only between two calls.
//
// Such a thread could be cancelled while it holds a lock, or while its lists are half changed. So its heap is set aside:
// between calls the thread has none, as at its start, and no fast path does anything for it. Each call comes here, holds
// cancellation off, takes the heap, and sets it aside again. POSIX allows such a thread no call of malloc; programs make
// them all the same, and would hang in the C library's malloc.
#include "pool.h"

__thread bool pool_is_aside;
static __thread heap_t *heap_aside __attribute__((tls_model("initial-exec"))) = &heap_none;

static void heap_get(void)
{
    pool_is_aside = false;
    heap_self = heap_aside;
}

static void heap_take(void)
{
    if (pool_hook_cancellable)
        pool_hook_cancellable(false);
    heap_get();
}

static void heap_put(void)
{
    heap_aside = heap_self;
    heap_self = &heap_none;
    pool_is_aside = true;
}

// The last that a call does: the thread may be cancelled in it.
static void heap_put_back(void)
{
    heap_put();
    if (pool_hook_cancellable)
        pool_hook_cancellable(true);
}

void pool_thread_cancellable(bool anywhere)
{
    if (anywhere && !pool_is_aside) {
        atomic_store_explicit(&pool_large_slowly, true, memory_order_relaxed);
        heap_put();
    } else if (!anywhere && pool_is_aside) {
        heap_get();
    }
}

void *aside_malloc(size_t size_bytes)
{
    heap_take();
    void *block = pool_malloc(size_bytes);
    heap_put_back();
    return block;
}

void *aside_calloc(size_t size_bytes)
{
    heap_take();
    void *block = pool_calloc(size_bytes);
    heap_put_back();
    return block;
}

void *aside_aligned_alloc(size_t alignment, size_t size_bytes)
{
    heap_take();
    void *block = pool_aligned_alloc(alignment, size_bytes);
    heap_put_back();
    return block;
}

void *aside_realloc(void *block, size_t size_bytes)
{
    heap_take();
    void *resized = pool_realloc(block, size_bytes);
    heap_put_back();
    return resized;
}

void aside_free(void *block)
{
    heap_take();
    pool_free(block);
    heap_put_back();
}

void aside_delete(void *block, size_t size_bytes)
{
    heap_take();
    pool_delete(block, size_bytes);
    heap_put_back();
}

size_t aside_usable_size(void *block)
{
    heap_take();
    size_t bytes = pool_usable_size(block);
    heap_put_back();
    return bytes;
}

void aside_told(const char *function, void *block, size_t alignment, size_t size_bytes, bool resizable)
{
    heap_take();
    pool_told(function, block, alignment, size_bytes, resizable);
    heap_put_back();
}

bool aside_trim(size_t keep_bytes)
{
    heap_take();
    bool given = pool_trim(keep_bytes);
    heap_put_back();
    return given;
}

// It stays as it is from here on: the thread is not cancelled any more, and what destructors still allocate is served as in
// any thread that ends.
void aside_thread_exit(void)
{
    heap_take();
    pool_thread_exit();
}

// From prepare to the parent's or the child's end of it fork holds locks, and so does who looks at the whole heap. Signal
// handlers may do either in between.
static __thread unsigned begun __attribute__((tls_model("initial-exec"))); // [owner]

void aside_hold(void)
{
    if (pool_is_aside)
        heap_take();
    else if (begun == 0)
        return;
    begun++;
}

void aside_release(void)
{
    if (begun != 0 && --begun == 0)
        heap_put_back();
}
