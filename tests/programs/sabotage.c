// sabotage.c - malloc replacements that are wrong on purpose, to show that the cases notice.
//
// Each passes the calls on to the C library and spoils one thing, chosen by -DFAULT=. With `fault_none` nothing is
// spoilt, so that what is noticed under the others is the fault and not the disguise.
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

// The C library's own, under the names that it keeps when malloc is interposed.
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);
extern void __libc_free(void *block);

enum {
    fault_none,
    fault_dirty_calloc,   // calloc does not clear
    fault_short_realloc,  // realloc always moves, and takes along KEPT_BYTES only
    fault_alignment,      // aligned blocks are aligned as malloc's are
};

enum { KEPT_BYTES = 512 };

static void *realloc_short(void *block, size_t size) {
    size_t kept = malloc_usable_size(block);
    if (kept > size)
        kept = size;
    if (kept > KEPT_BYTES)
        kept = KEPT_BYTES;
    void *moved = __libc_malloc(size);
    if (moved) {
        memcpy(moved, block, kept);
        __libc_free(block);
    }
    return moved;
}

EXPORT void *malloc(size_t size) {
    return __libc_malloc(size);
}

EXPORT void *calloc(size_t count, size_t size) {
    void *block = __libc_calloc(count, size);
    if (FAULT == fault_dirty_calloc && block)
        memset(block, 0xa5, count * size);
    return block;
}

EXPORT void *realloc(void *block, size_t size) {
    return FAULT == fault_short_realloc && block && size ? realloc_short(block, size) : __libc_realloc(block, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size) {
    return FAULT == fault_alignment ? __libc_malloc(size) : __libc_memalign(alignment, size);
}

EXPORT void *memalign(size_t alignment, size_t size) {
    return aligned_alloc(alignment, size);
}

EXPORT int posix_memalign(void **block, size_t alignment, size_t size) {
    *block = aligned_alloc(alignment, size);
    return *block ? 0 : ENOMEM;
}
