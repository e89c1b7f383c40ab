// preload/deepbind.c - see deepbind.h.
#include "deepbind.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "../pool/bits.h"
#include "export.h"
#include "glibc.h"

#if defined(__x86_64__)
#define IS_ADDRESS(type) ((type) == R_X86_64_JUMP_SLOT || (type) == R_X86_64_GLOB_DAT || (type) == R_X86_64_64)
#define IS_CALL(type) ((type) == R_X86_64_JUMP_SLOT)
#elif defined(__aarch64__)
#define IS_ADDRESS(type) ((type) == R_AARCH64_JUMP_SLOT || (type) == R_AARCH64_GLOB_DAT || (type) == R_AARCH64_ABS64)
#define IS_CALL(type) ((type) == R_AARCH64_JUMP_SLOT)
#endif

typedef void *open_function_t(const char *path, int mode);

typedef struct name {
    const char *name;
    void *ours;
} name_t;

#define OURS(function) {#function, (void *)(function)}
static const name_t names[] = {
    OURS(malloc), OURS(free), OURS(calloc), OURS(realloc), OURS(reallocarray), OURS(memalign), OURS(aligned_alloc),
    OURS(posix_memalign), OURS(valloc), OURS(pvalloc), OURS(malloc_usable_size),
};
#define NAMES (sizeof names / sizeof *names)

// An object that may have to be bound anew: the plugin, or one that was loaded later, as what it needs was.
typedef struct candidate {
    struct candidate *next;
    uintptr_t base;
    bool reached[NAMES]; // the C library's function, by the object: a call that is not bound yet would come to it
    char path[];
} candidate_t;

typedef struct binding {
    void *theirs[NAMES]; // the C library's
    uintptr_t plugin;    // its base
    bool is_behind;      // while the objects are gone through: the plugin has been met
    candidate_t *candidates;
} binding_t;

// One of them, as far as it matters.
typedef struct object {
    uintptr_t base;
    const ElfW(Sym) *symbols;
    const char *strings;
    const ElfW(Rela) *data, *calls;
    size_t data_count, calls_count;
    uintptr_t fixed_start, fixed_end; // OS pages that the loader has made read-only
    bool is_open;                     // and that are not so now
} object_t;

// --- what the loader has done with an object --------------------------------------------------------------------------

// The loader adds the base to addresses of the dynamic section where it can write to it.
static const void *dynamic_address(const object_t *object, uintptr_t value)
{
    return (const void *)(value < object->base ? object->base + value : value);
}

static void dynamic_read(object_t *object, const ElfW(Dyn) *entry)
{
    for (; entry->d_tag != DT_NULL; entry++) {
        const void *address = dynamic_address(object, entry->d_un.d_ptr);
        switch (entry->d_tag) {
        case DT_SYMTAB: object->symbols = address; break;
        case DT_STRTAB: object->strings = address; break;
        case DT_RELA: object->data = address; break;
        case DT_RELASZ: object->data_count = entry->d_un.d_val / sizeof(ElfW(Rela)); break;
        case DT_JMPREL: object->calls = address; break;
        case DT_PLTRELSZ: object->calls_count = entry->d_un.d_val / sizeof(ElfW(Rela)); break;
        default: break;
        }
    }
}

static void object_read(object_t *object, const struct dl_phdr_info *info)
{
    uintptr_t os_page = (uintptr_t)getpagesize();
    memset(object, 0, sizeof *object);
    object->base = info->dlpi_addr;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t start = object->base + segment->p_vaddr;
        if (segment->p_type == PT_DYNAMIC)
            dynamic_read(object, (const ElfW(Dyn) *)start);
        if (segment->p_type == PT_GNU_RELRO) { // rounded as the loader does
            object->fixed_start = align_down(start, os_page);
            object->fixed_end = align_down(start + segment->p_memsz, os_page);
        }
    }
}

// --- names bound anew ---------------------------------------------------------------------------------------------------

static bool fixed_protect(const object_t *object, int protection)
{
    return mprotect((void *)object->fixed_start, object->fixed_end - object->fixed_start, protection) == 0;
}

// False: the kernel does not let it be written to.
static bool slot_open(object_t *object, uintptr_t slot)
{
    if (slot < object->fixed_start || slot >= object->fixed_end || object->is_open)
        return true;
    object->is_open = fixed_protect(object, PROT_READ | PROT_WRITE);
    return object->is_open;
}

static void slots_close(const object_t *object)
{
    if (object->is_open)
        fixed_protect(object, PROT_READ);
}

static size_t name_find(const char *name)
{
    size_t i = 0;
    while (i < NAMES && strcmp(names[i].name, name) != 0)
        i++;
    return i;
}

// Whether the address is in a part of the object that the flag (PF_...) is set for.
static bool is_within(const struct dl_phdr_info *info, const void *address, unsigned flag)
{
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        uintptr_t offset = (uintptr_t)address - info->dlpi_addr - segment->p_vaddr;
        if (segment->p_type == PT_LOAD && (segment->p_flags & flag) && offset < segment->p_memsz)
            return true;
    }
    return false;
}

static void slot_bind(const binding_t *binding, const candidate_t *candidate, const struct dl_phdr_info *info, object_t *object,
                      const ElfW(Rela) *relocation)
{
    unsigned type = (unsigned)ELF64_R_TYPE(relocation->r_info);
    if (!IS_ADDRESS(type) || ELF64_R_SYM(relocation->r_info) == 0)
        return;
    size_t i = name_find(object->strings + object->symbols[ELF64_R_SYM(relocation->r_info)].st_name);
    if (i == NAMES)
        return;
    void **slot = (void **)(object->base + relocation->r_offset);
    if (!is_within(info, slot, PF_W)) // in its code: the loader has made that read-only again
        return;
    void *bound = __atomic_load_n(slot, __ATOMIC_RELAXED);
    // A call that is not bound yet goes by the object's own code, to the loader.
    bool theirs = bound == binding->theirs[i], later = IS_CALL(type) && candidate->reached[i] && is_within(info, bound, PF_X);
    if (bound != NULL && (theirs || later) && slot_open(object, (uintptr_t)slot))
        __atomic_store_n(slot, names[i].ours, __ATOMIC_RELEASE);
}

static void object_bind(const binding_t *binding, const candidate_t *candidate, const struct dl_phdr_info *info)
{
    object_t object;
    object_read(&object, info);
    if (object.symbols == NULL || object.strings == NULL)
        return;
    for (size_t i = 0; i < object.data_count; i++)
        slot_bind(binding, candidate, info, &object, &object.data[i]);
    for (size_t i = 0; i < object.calls_count; i++)
        slot_bind(binding, candidate, info, &object, &object.calls[i]);
    slots_close(&object);
}

// --- which objects ------------------------------------------------------------------------------------------------------
//
// Those from the plugin on, in the order in which they were loaded, and not those that its dlopen has brought: another thread may have
// opened it a moment ago, and not yet bound it anew. What is bound as it should be stays.

static int candidate_add(struct dl_phdr_info *info, size_t bytes, void *context)
{
    (void)bytes;
    binding_t *binding = context;
    binding->is_behind |= info->dlpi_addr == binding->plugin;
    size_t length = strlen(info->dlpi_name) + 1;
    candidate_t *candidate = binding->is_behind ? calloc(1, sizeof *candidate + length) : NULL;
    if (candidate != NULL) {
        candidate->base = info->dlpi_addr;
        memcpy(candidate->path, info->dlpi_name, length);
        candidate->next = binding->candidates;
        binding->candidates = candidate;
    }
    return 0;
}

// The loader's lock is held: nothing here may come back to it.
static int candidate_bind(struct dl_phdr_info *info, size_t bytes, void *context)
{
    (void)bytes;
    const binding_t *binding = context;
    for (const candidate_t *candidate = binding->candidates; candidate != NULL; candidate = candidate->next)
        if (candidate->base == info->dlpi_addr && strcmp(candidate->path, info->dlpi_name) == 0)
            object_bind(binding, candidate, info);
    return 0;
}

static void candidate_ask(const binding_t *binding, candidate_t *candidate, open_function_t *open)
{
    void *handle = open(candidate->path, RTLD_LAZY | RTLD_NOLOAD);
    for (size_t i = 0; handle != NULL && i < NAMES; i++)
        candidate->reached[i] = binding->theirs[i] != NULL && dlsym(handle, names[i].name) == binding->theirs[i];
    if (handle != NULL)
        dlclose(handle);
}

// False: the program has a malloc of its own, or the C library is none that we know.
static bool names_look_up(binding_t *binding, open_function_t *open)
{
    void *library = glibc_is_here() ? open("libc.so.6", RTLD_LAZY | RTLD_NOLOAD) : NULL;
    if (library == NULL || dlsym(RTLD_DEFAULT, "malloc") != (void *)malloc)
        return false;
    for (size_t i = 0; i < NAMES; i++)
        binding->theirs[i] = dlsym(library, names[i].name);
    dlclose(library);
    return true;
}

static void plugin_bind(void *plugin, open_function_t *open)
{
    binding_t binding = {0};
    struct link_map *map;
    if (!names_look_up(&binding, open) || dlinfo(plugin, RTLD_DI_LINKMAP, &map) != 0)
        return;
    binding.plugin = map->l_addr;
    dl_iterate_phdr(candidate_add, &binding);
    for (candidate_t *candidate = binding.candidates; candidate != NULL; candidate = candidate->next)
        candidate_ask(&binding, candidate, open);
    dl_iterate_phdr(candidate_bind, &binding);
    for (candidate_t *candidate = binding.candidates, *next; candidate != NULL; candidate = next) {
        next = candidate->next;
        free(candidate);
    }
    dlerror(); // another thread may have closed one of them meanwhile: not the caller's error
}

// --- dlopen -------------------------------------------------------------------------------------------------------------

static open_function_t *next_open(void)
{
    static void *_Atomic next;
    void *function = next;
    if (function == NULL)
        next = function = dlsym(RTLD_NEXT, "dlopen");
    return (open_function_t *)function;
}

static bool is_bound_anew(const char *path, int mode)
{
    return (mode & RTLD_DEEPBIND) != 0 && path != NULL && strchr(path, '/') != NULL && strchr(path, '$') == NULL;
}

static __attribute__((noinline)) void *open_bound(open_function_t *open, const char *path, int mode)
{
    void *plugin = open(path, mode);
    if (plugin != NULL)
        plugin_bind(plugin, open);
    return plugin;
}

// The C library looks from where it was called: so it is left by a jump, which needs the optimizer.
EXPORT RARE __attribute__((optimize("O2"))) void *dlopen(const char *path, int mode)
{
    open_function_t *open = next_open();
    if (unlikely(is_bound_anew(path, mode)))
        return open_bound(open, path, mode);
    return open(path, mode);
}
