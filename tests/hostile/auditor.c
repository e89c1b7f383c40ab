// tests/hostile/auditor.c - an auditing library (LD_AUDIT), as profilers and security products bring along: the loader
// keeps it in a namespace of its own, with a C library and a heap of its own, and calls it at every step; and at every call
// from one library to another that is bound lazily.
//
//   TARN_TEST_AUDIT=PATH     a line there for each malloc that is bound, "FROM TO", and for 1000 calls of it, "1000 calls"
#define _GNU_SOURCE
#include <fcntl.h>
#include <link.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static void *_Atomic last; // each call, of any thread, allocates and frees what another one has allocated

static void allocate(size_t size_bytes)
{
    free(atomic_exchange(&last, malloc(size_bytes)));
}

static void note(const char *first, const char *second)
{
    const char *path = getenv("TARN_TEST_AUDIT");
    int file = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (file >= 0) {
        dprintf(file, "%s %s\n", first, second);
        close(file);
    }
}

EXPORT unsigned la_version(unsigned version)
{
    allocate(100);
    return version;
}

EXPORT unsigned la_objopen(struct link_map *map, Lmid_t space, uintptr_t *cookie)
{
    (void)space;
    *cookie = (uintptr_t)map;
    allocate(1000);
    return LA_FLG_BINDTO | LA_FLG_BINDFROM;
}

EXPORT uintptr_t la_symbind64(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to, unsigned *flags,
                              const char *name)
{
    (void)index;
    (void)flags;
    allocate(300000);
    if (strcmp(name, "malloc") == 0)
        note(((struct link_map *)*from)->l_name, ((struct link_map *)*to)->l_name);
    return symbol->st_value;
}

#if defined(__x86_64__)
EXPORT Elf64_Addr la_x86_64_gnu_pltenter(Elf64_Sym *symbol, unsigned index, uintptr_t *from, uintptr_t *to,
                                         La_x86_64_regs *registers, unsigned *flags, const char *name, long *frame_bytes)
{
    static _Atomic unsigned calls;
    (void)index;
    (void)from;
    (void)to;
    (void)registers;
    (void)flags;
    (void)frame_bytes;
    allocate(50);
    if (strcmp(name, "malloc") == 0 && atomic_fetch_add(&calls, 1) == 999)
        note("1000", "calls");
    return symbol->st_value;
}
#endif

EXPORT void la_preinit(uintptr_t *cookie)
{
    (void)cookie;
    allocate(10);
}
