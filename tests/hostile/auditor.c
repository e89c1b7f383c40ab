// tests/hostile/auditor.c - an auditing library (LD_AUDIT), as profilers and security products bring along: the loader
// keeps it in a namespace of its own, with a C library and a heap of its own, and calls it at every step.
#define _GNU_SOURCE
#include <link.h>
#include <stdatomic.h>
#include <stdlib.h>

#define EXPORT __attribute__((visibility("default")))

static void *_Atomic last; // each call, of any thread, allocates and frees what another one has allocated

static void allocate(size_t size_bytes)
{
    free(atomic_exchange(&last, malloc(size_bytes)));
}

EXPORT unsigned la_version(unsigned version)
{
    allocate(100);
    return version;
}

EXPORT unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie)
{
    (void)map;
    (void)space;
    (void)cookie;
    allocate(1000);
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

EXPORT uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, unsigned *flags,
                              const char *name)
{
    (void)index;
    (void)from;
    (void)to;
    (void)flags;
    (void)name;
    allocate(300000);
    return symbol->st_value;
}

EXPORT void la_preinit(uintptr_t *cookie)
{
    (void)cookie;
    allocate(10);
}
