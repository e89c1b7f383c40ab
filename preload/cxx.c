// preload/cxx.c - C++'s operator new and delete, as plain C functions under their mangled names.
//
//   _Zn w|a m [St11align_val_t] [RKSt9nothrow_t]      new, new[]: size, alignment, nothrow
//   _Zd l|a Pv [m] [St11align_val_t] [RKSt9nothrow_t] delete, delete[]: block, size, alignment, nothrow
//
// Without these a program would reach our malloc anyway, through its C++ library; this is the shorter way. That library
// is not linked: where an allocation fails it is looked up, for the new-handler and to throw. The functions here are
// compiled with unwind tables, and hold nothing that an exception passing through would leave behind.
#include <dlfcn.h>
#include <stdlib.h>

#include "../pool/pool.h"
#include "export.h"
#include "output.h"

#define COLD __attribute__((noinline, cold))

_Static_assert(sizeof(size_t) == sizeof(unsigned long), "size_t is mangled as m");

// --- no memory -------------------------------------------------------------------------------------------------------

// In the program's own scope, or where only a plugin needs C++, in the library it brought. scope: RTLD_DEFAULT, or
// RTLD_NEXT for a name that is ours, too.
static void *cxx_find(void *scope, const char *name)
{
    void *found = dlsym(scope, name);
    if (found != NULL)
        return found;
    void *library = dlopen("libstdc++.so.6", RTLD_LAZY | RTLD_NOLOAD);
    return library == NULL ? NULL : dlsym(library, name);
}

typedef void new_handler_t(void);

static new_handler_t *new_handler(void)
{
    new_handler_t *(*get_new_handler)(void);
    *(void **)&get_new_handler = cxx_find(RTLD_DEFAULT, "_ZSt15get_new_handlerv");
    return get_new_handler == NULL ? NULL : get_new_handler();
}

_Noreturn static void throw_bad_alloc(void)
{
    void (*throw)(void);
    *(void **)&throw = cxx_find(RTLD_DEFAULT, "_ZSt17__throw_bad_allocv");
    if (throw != NULL)
        throw();
    output_line("operator new: no memory, and no C++ library that could throw std::bad_alloc");
    abort();
}

// As the standard has it: the new-handler is called until memory is there, or it throws, or there is none.
static COLD void *new_failed(size_t alignment, size_t size_bytes)
{
    for (;;) {
        new_handler_t *handler = new_handler();
        if (handler == NULL)
            throw_bad_alloc();
        handler();
        void *block = pool_aligned_alloc(alignment, size_bytes);
        if (block != NULL)
            return block;
    }
}

// A new-handler may throw, which a nothrow new must catch, and C cannot. So where there is a handler, the C++ library's
// own nothrow new takes over: it calls the throwing one, ours, and catches.
static COLD void *nothrow_failed(const char *name, size_t size_bytes, const void *nothrow)
{
    void *(*next)(size_t, const void *);
    if (new_handler() == NULL)
        return NULL;
    *(void **)&next = cxx_find(RTLD_NEXT, name);
    return next == NULL ? NULL : next(size_bytes, nothrow);
}

static COLD void *nothrow_aligned_failed(const char *name, size_t size_bytes, size_t alignment, const void *nothrow)
{
    void *(*next)(size_t, size_t, const void *);
    if (new_handler() == NULL)
        return NULL;
    *(void **)&next = cxx_find(RTLD_NEXT, name);
    return next == NULL ? NULL : next(size_bytes, alignment, nothrow);
}

// --- new -------------------------------------------------------------------------------------------------------------

static __attribute__((noinline)) void *new_slow(size_t size_bytes)
{
    void *block = pool_malloc_slow(size_bytes);
    return likely(block != NULL) ? block : new_failed(GRANULE_BYTES, size_bytes);
}

static __attribute__((noinline)) void *new_large(size_t size_bytes)
{
    void *block = pool_alloc_large_quick(size_bytes);
    return likely(block != NULL) ? block : new_slow(size_bytes);
}

static __attribute__((noinline)) void *new_beyond(size_t size_bytes)
{
    return pool_alloc_beyond_or(size_bytes, new_slow, new_large);
}

static HARDENED void *new_hardened(size_t size_bytes, heap_t *heap)
{
    return pool_hardened_or(size_bytes, heap, new_slow);
}

static __attribute__((noinline)) void *new_refill(size_t size_bytes, heap_t *heap)
{
    if (unlikely(pool_draws()))
        return new_hardened(size_bytes, heap);
    void *block = refill_quick(size_bytes, heap);
    return likely(block != NULL) ? block : new_slow(size_bytes);
}

static inline void *new(size_t size_bytes)
{
    return heap_alloc_small_or(size_bytes, new_refill, new_beyond);
}

static inline void *new_aligned(size_t size_bytes, size_t alignment)
{
    void *block = pool_aligned_alloc(alignment, size_bytes);
    return likely(block != NULL) ? block : new_failed(alignment, size_bytes);
}

static inline void *new_nothrow(const char *name, size_t size_bytes, const void *nothrow)
{
    void *block = pool_malloc(size_bytes);
    return likely(block != NULL) ? block : nothrow_failed(name, size_bytes, nothrow);
}

static inline void *new_aligned_nothrow(const char *name, size_t size_bytes, size_t alignment, const void *nothrow)
{
    void *block = pool_aligned_alloc(alignment, size_bytes);
    return likely(block != NULL) ? block : nothrow_aligned_failed(name, size_bytes, alignment, nothrow);
}

#define DEFINE_NEW(NAME)                                                                                               \
    EXPORT void *NAME(size_t size_bytes);                                                                              \
    EXPORT void *NAME(size_t size_bytes)                                                                               \
    {                                                                                                                  \
        return new (size_bytes);                                                                                       \
    }                                                                                                                  \
    EXPORT void *NAME##RKSt9nothrow_t(size_t size_bytes, const void *nothrow);                                         \
    EXPORT void *NAME##RKSt9nothrow_t(size_t size_bytes, const void *nothrow)                                          \
    {                                                                                                                  \
        return new_nothrow(#NAME "RKSt9nothrow_t", size_bytes, nothrow);                                               \
    }                                                                                                                  \
    EXPORT void *NAME##St11align_val_t(size_t size_bytes, size_t alignment);                                           \
    EXPORT void *NAME##St11align_val_t(size_t size_bytes, size_t alignment)                                            \
    {                                                                                                                  \
        return new_aligned(size_bytes, alignment);                                                                     \
    }                                                                                                                  \
    EXPORT void *NAME##St11align_val_tRKSt9nothrow_t(size_t size_bytes, size_t alignment, const void *nothrow);        \
    EXPORT void *NAME##St11align_val_tRKSt9nothrow_t(size_t size_bytes, size_t alignment, const void *nothrow)         \
    {                                                                                                                  \
        return new_aligned_nothrow(#NAME "St11align_val_tRKSt9nothrow_t", size_bytes, alignment, nothrow);             \
    }

DEFINE_NEW(_Znwm)
DEFINE_NEW(_Znam)

// --- delete ----------------------------------------------------------------------------------------------------------

// Who says the size says the truth, or is told of (pool_told); of the other parameters none matters, and a caller passes
// them in registers: one function serves all names.
#define DEFINE_DELETE(NAME)                                                                                            \
    EXPORT void NAME(void *block);                                                                                     \
    EXPORT void NAME(void *block)                                                                                      \
    {                                                                                                                  \
        pool_free(block);                                                                                              \
    }                                                                                                                  \
    EXPORT void NAME##RKSt9nothrow_t(void *) __attribute__((alias(#NAME)));                                            \
    EXPORT void NAME##m(void *block, size_t size_bytes);                                                               \
    EXPORT void NAME##m(void *block, size_t size_bytes)                                                                \
    {                                                                                                                  \
        pool_delete(block, size_bytes);                                                                                \
    }                                                                                                                  \
    EXPORT void NAME##St11align_val_t(void *) __attribute__((alias(#NAME)));                                           \
    EXPORT void NAME##St11align_val_tRKSt9nothrow_t(void *) __attribute__((alias(#NAME)));                             \
    EXPORT void NAME##mSt11align_val_t(void *block, size_t size_bytes, size_t alignment);                              \
    EXPORT void NAME##mSt11align_val_t(void *block, size_t size_bytes, size_t alignment)                               \
    {                                                                                                                  \
        if (unlikely(harden_level != 0))                                                                               \
            pool_told("operator delete", block, alignment, size_bytes, false);                                         \
        pool_free(block);                                                                                              \
    }

DEFINE_DELETE(_ZdlPv)
DEFINE_DELETE(_ZdaPv)
