// tools/allocators.h - who can be compared: where each library lies, which version it is, and which package brings it.
//
// An allocator is a library to preload and nothing more. `system` is the C library's own malloc: nothing is preloaded,
// except under a command that links another allocator by itself.
#ifndef TARN_TOOLS_ALLOCATORS_H
#define TARN_TOOLS_ALLOCATORS_H

#include <stdbool.h>

enum { ALLOCATORS_MAX = 16 };

#define ALLOCATOR_SYSTEM "system"

typedef struct allocator {
    char *name;
    char *library; // absolute, as LD_PRELOAD takes it; NULL: nothing is preloaded
    char *version; // as far as it can be found: of the package, else the file's real name
} allocator_t;

typedef struct absence {
    char *name;
    char *reason; // with the package to install, where one is known
} absence_t;

typedef struct allocators {
    allocator_t here[ALLOCATORS_MAX];
    int count;
    absence_t missing[ALLOCATORS_MAX];
    int missing_count;
} allocators_t;

// Those of `list` (names and NAME=/PATH.so, parted by commas; NULL: all that are known) that are here and take malloc's
// place when preloaded; the system's first, which is always among them. With none but NAME=/PATH.so in the list, all
// known ones are in it too. `tarn_library` as in library_find. Returns 0, or TOOL_BAD_INPUT after one line on stderr.
int allocators_choose(const char *who, const char *list, const char *tarn_library, allocators_t *allocators);

// For the help text: "system, jemalloc, ...".
const char *allocators_known(void);

// The C library's own file, for the one case where it is preloaded; NULL if the linker does not know it. To be freed.
char *allocator_system_library(void);

// Whether a mapped file is an allocator's library, by its name.
bool allocator_is_library(const char *path);

void allocators_free(allocators_t *allocators);

#endif
