// preload/foreign.c - see foreign.h.
//
//   whose            where
//   C library        between the break at our start and the break now
//                    in an arena of a thread: a mapping that starts at a multiple of 64 MiB, and reserved
//                    addresses behind it up to the next multiple
//                    mapped alone: anonymous memory, 16 bytes behind the start of an OS page, if the break has moved
//   loader           in the loader's data or right behind it: what it allocated before it knew us is never given back
//   nobody           all else
#include "foreign.h"

#include <errno.h>
#include <dlfcn.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../pool/pool.h"
#include "procfs.h"

// glibc's: the heaps of its arenas, and the header of a block.
#define ARENA_BYTES ((uintptr_t)64 << 20)
#define HEADER_BYTES 16

// The C library's malloc under the names that nobody interposes.
void __libc_free(void *block) __attribute__((weak));
void *__libc_realloc(void *block, size_t size_bytes) __attribute__((weak));

// In the loader's data.
extern void *__libc_stack_end __attribute__((weak));

typedef enum origin { ORIGIN_NOBODY, ORIGIN_LIBC, ORIGIN_LOADER } origin_t;

static uintptr_t break_at_start;
static __thread const void *handed_on __attribute__((tls_model("initial-exec"))); // see foreign_was

// Linux's brk(0) tells the break and changes nothing.
static uintptr_t break_now(void)
{
    return (uintptr_t)syscall(SYS_brk, 0);
}

void foreign_start(void)
{
    if (break_at_start == 0) // the first caller's word counts: boot, or an allocation before it
        break_at_start = break_now();
}

// --- the map -------------------------------------------------------------------------------------------------------

// What a walk over the mappings gathers about one address.
typedef struct search {
    uintptr_t address;
    uintptr_t previous_end;
    bool previous_is_loader;
    bool found;
    bool writable, anonymous, is_loader;
    uintptr_t start;         // of the mapping that holds the address
    uintptr_t reserved_end;  // of the inaccessible one right behind it; 0 if there is none
    char loader_name[256];
} search_t;

static bool is_anonymous(const procfs_mapping_t *mapping)
{
    return mapping->name[0] == '\0' && mapping->is_private;
}

// The loader's file, by a variable of its own; or its zeroed data, which is anonymous and follows the file.
static bool is_loader(search_t *search, const procfs_mapping_t *mapping, const char *loader)
{
    bool named = strcmp(mapping->name, loader) == 0 && loader[0] == '/';
    bool behind = search->previous_is_loader && is_anonymous(mapping) && mapping->start == search->previous_end;
    return named || behind;
}

static bool find_loader(const procfs_mapping_t *mapping, void *context)
{
    search_t *search = context;
    uintptr_t variable = (uintptr_t)&__libc_stack_end;
    if (variable < mapping->start || variable >= mapping->end)
        return true;
    strncpy(search->loader_name, mapping->name, sizeof search->loader_name - 1);
    return false;
}

static bool find_address(const procfs_mapping_t *mapping, void *context)
{
    search_t *search = context;
    if (search->found) { // this is the one behind it
        bool reserved = mapping->start == search->previous_end && !mapping->readable && !mapping->writable;
        search->reserved_end = reserved ? mapping->end : 0;
        return false;
    }
    search->is_loader = is_loader(search, mapping, search->loader_name);
    search->found = search->address >= mapping->start && search->address < mapping->end;
    search->start = mapping->start;
    search->writable = mapping->writable;
    search->anonymous = is_anonymous(mapping);
    search->previous_end = mapping->end;
    search->previous_is_loader = search->is_loader;
    return search->address >= mapping->start;
}

// --- the decision --------------------------------------------------------------------------------------------------

static bool is_arena(const search_t *search)
{
    return search->start % ARENA_BYTES == 0 && search->reserved_end == search->start + ARENA_BYTES;
}

static bool is_mapped_alone(const search_t *search)
{
    return break_now() != break_at_start && search->address % (uintptr_t)getpagesize() == HEADER_BYTES;
}

static origin_t origin_of(const void *block)
{
    uintptr_t address = (uintptr_t)block;
    if (address % HEADER_BYTES != 0)
        return ORIGIN_NOBODY;
    if (address >= break_at_start && address < break_now())
        return ORIGIN_LIBC;
    search_t search = {.address = address};
    procfs_mappings(0, find_loader, &search);
    procfs_mappings(0, find_address, &search);
    if (!search.found || !search.writable)
        return ORIGIN_NOBODY;
    if (search.is_loader)
        return ORIGIN_LOADER;
    return search.anonymous && (is_arena(&search) || is_mapped_alone(&search)) ? ORIGIN_LIBC : ORIGIN_NOBODY;
}

// Only free can be served here. For the other functions the pool reports failure to entry.c, which asks foreign_was.
bool pool_hook_foreign(const char *function, void *address)
{
    int saved = errno; // free keeps it, whatever the search meets
    origin_t origin = __libc_free != NULL ? origin_of(address) : ORIGIN_NOBODY;
    errno = saved;
    if (origin == ORIGIN_NOBODY)
        return false;
    if (strcmp(function, "free") != 0)
        handed_on = address;
    else if (origin == ORIGIN_LIBC)
        __libc_free(address);
    return true;
}

bool foreign_was(const void *block)
{
    bool was = block != NULL && handed_on == block;
    handed_on = NULL;
    return was;
}

void *foreign_realloc(void *block, size_t size_bytes)
{
    return origin_of(block) == ORIGIN_LIBC && __libc_realloc != NULL ? __libc_realloc(block, size_bytes) : NULL;
}

// The C library's next in line has no second name.
size_t foreign_usable_size(void *block)
{
    size_t (*usable_size)(void *) = NULL;
    *(void **)&usable_size = dlsym(RTLD_NEXT, "malloc_usable_size");
    return origin_of(block) == ORIGIN_LIBC && usable_size != NULL ? usable_size(block) : 0;
}
