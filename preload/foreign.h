// preload/foreign.h - pointers that came from the C library's own malloc, or from the loader's.
//
// They reach us where something binds to the C library's malloc past us (a plugin opened with RTLD_DEEPBIND) and the
// block is freed through us. Whose memory it is follows from its address alone; what is before it is read only where that
// may be the C library's.
#ifndef TARN_FOREIGN_H
#define TARN_FOREIGN_H

#include <stdbool.h>
#include <stddef.h>

// Notes where the break is. Before anything is allocated; allocates nothing.
void foreign_start(void);

// After pool_realloc or pool_usable_size has failed: whether that was for a pointer which is the C library's to serve.
bool foreign_was(const void *block);
void *foreign_realloc(void *block, size_t size_bytes);
size_t foreign_usable_size(void *block);

#endif
