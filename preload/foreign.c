// preload/foreign.c - see foreign.h.
//
//   whose            where                                                          and the header before the block says
//   C library        between the break at our start and the break now               (is not looked at)
//                    below that, where we came late: what the kernel calls "[heap]"   of the main arena
//                    anonymous memory behind a multiple of 64 MiB that begins as      of a thread's arena
//                    a thread's arena does
//                    anonymous memory                                                 mapped alone, whole OS pages
//   loader           in the loader's data or right behind it: what it allocated before it knew us is never given back
//   nobody           all else
//
// The mappings come first: a header is read only where they say that memory is there to be read and may be the C
// library's. Its words are those that the C library's own free goes by.
#include "foreign.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "../pool/pool.h"
#include "ending.h"
#include "kernel.h"
#include "procfs.h"
#include "text.h"

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

void foreign_start(void)
{
    if (break_at_start == 0) // the first caller's word counts: boot, or an allocation before it
        break_at_start = kernel_break();
}

// --- the map -------------------------------------------------------------------------------------------------------

typedef char file_name_t[256];

// What a walk over the mappings gathers about one address.
typedef struct search {
    uintptr_t address;
    uintptr_t previous_end;
    bool previous_is_loader;
    bool found;
    bool writable, anonymous, is_loader, is_break;
    uintptr_t start, end; // of the mapping that holds the address
    const char *loader_name;
} search_t;

static bool is_anonymous(const procfs_mapping_t *mapping)
{
    return mapping->name[0] == '\0' && mapping->is_private;
}

// The loader's file, by a variable of its own; or its zeroed data, which is anonymous and follows the file.
static bool is_loader(search_t *search, const procfs_mapping_t *mapping)
{
    const char *loader = search->loader_name;
    bool named = text_equals(mapping->name, loader) && loader[0] == '/';
    bool behind = search->previous_is_loader && is_anonymous(mapping) && mapping->start == search->previous_end;
    return named || behind;
}

static bool find_loader(const procfs_mapping_t *mapping, void *context)
{
    uintptr_t variable = (uintptr_t)&__libc_stack_end;
    if (variable < mapping->start || variable >= mapping->end)
        return true;
    text_copy(context, mapping->name, text_length_within(mapping->name, sizeof(file_name_t) - 1));
    return false;
}

// Looked up once. Two threads that do so at the same time write the same.
static const char *loader_name_get(void)
{
    static RARE_DATA file_name_t name;
    static _Atomic bool known;
    if (!atomic_load_explicit(&known, memory_order_acquire)) {
        procfs_mappings(0, find_loader, name);
        atomic_store_explicit(&known, true, memory_order_release);
    }
    return name;
}

static bool find_address(const procfs_mapping_t *mapping, void *context)
{
    search_t *search = context;
    search->is_loader = is_loader(search, mapping);
    search->found = search->address >= mapping->start && search->address < mapping->end;
    search->start = mapping->start;
    search->end = mapping->end;
    search->writable = mapping->readable && mapping->writable;
    search->anonymous = is_anonymous(mapping);
    search->is_break = text_equals(mapping->name, "[heap]");
    search->previous_end = mapping->end;
    search->previous_is_loader = search->is_loader;
    return search->address >= mapping->end;
}

// --- the header --------------------------------------------------------------------------------------------------------

// What glibc keeps in the words before a block, and at the start of each 64 MiB of a thread's arena (malloc/malloc.c and
// malloc/arena.c, the same since 2.3 but for the names).
typedef struct header {
    uintptr_t before; // mapped alone: bytes between the mapping's start and this header
    uintptr_t size;   // of header and block, and these flags
} header_t;

enum { HEADER_USED_BEFORE = 1, HEADER_MAPPED = 2, HEADER_THREAD_ARENA = 4, HEADER_FLAGS = 7 };

_Static_assert(sizeof(header_t) == HEADER_BYTES, "two words");

static const size_t header_size_least = 2 * sizeof(header_t);
static const size_t arena_start_most = 256; // an arena stands right behind the note at the start of its first 64 MiB

static bool header_read(const search_t *search, header_t *header)
{
    uintptr_t at = search->address - sizeof(header_t);
    if (at < search->start)
        return false;
    memcpy(header, (const void *)at, sizeof(header_t));
    uintptr_t size = header->size & ~(uintptr_t)HEADER_FLAGS;
    return size >= header_size_least && size <= search->end - at;
}

static bool is_mapped_alone(const search_t *search, const header_t *header)
{
    uintptr_t at = search->address - sizeof(header_t), page = (uintptr_t)getpagesize();
    uintptr_t size = header->size & ~(uintptr_t)HEADER_FLAGS;
    return (header->size & HEADER_FLAGS) == HEADER_MAPPED && header->before <= at - search->start &&
           (at - header->before) % page == 0 && (header->before + size) % page == 0;
}

static bool is_in_arena(const search_t *search, const header_t *header)
{
    uintptr_t note = search->address & ~(ARENA_BYTES - 1), arena;
    if ((header->size & (HEADER_FLAGS ^ HEADER_USED_BEFORE)) != HEADER_THREAD_ARENA || note < search->start)
        return false;
    memcpy(&arena, (const void *)note, sizeof arena);
    return arena != 0 && arena % HEADER_BYTES == 0 && arena % ARENA_BYTES <= arena_start_most;
}

static bool is_in_main_arena(const header_t *header)
{
    return (header->size & (HEADER_FLAGS ^ HEADER_USED_BEFORE)) == 0;
}

static bool is_libc(const search_t *search)
{
    header_t header;
    if (!(search->anonymous || search->is_break) || !header_read(search, &header))
        return false;
    if (search->is_break)
        return is_in_main_arena(&header);
    return is_mapped_alone(search, &header) || is_in_arena(search, &header);
}

// --- the decision --------------------------------------------------------------------------------------------------

static origin_t origin_of(const void *block)
{
    uintptr_t address = (uintptr_t)block;
    if (address % HEADER_BYTES != 0)
        return ORIGIN_NOBODY;
    if (address >= break_at_start && address < kernel_break())
        return ORIGIN_LIBC;
    search_t search = {.address = address, .loader_name = loader_name_get()};
    procfs_mappings(0, find_address, &search);
    if (!search.found || !search.writable)
        return ORIGIN_NOBODY;
    if (search.is_loader)
        return ORIGIN_LOADER;
    return is_libc(&search) ? ORIGIN_LIBC : ORIGIN_NOBODY;
}

// Only free can be served here. For the other functions the pool reports failure to entry.c, which asks foreign_was.
bool pool_hook_foreign(const char *function, void *address)
{
    if (ending_has(address))
        return text_equals(function, "free");
    int saved = errno; // free keeps it, whatever the search meets
    origin_t origin = __libc_free != NULL ? origin_of(address) : ORIGIN_NOBODY;
    errno = saved;
    if (origin == ORIGIN_NOBODY)
        return false;
    if (!text_equals(function, "free"))
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
