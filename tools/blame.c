// tools/blame.c - see blame.h. The names are of functions that take a size and return memory, or that do nothing else
// for their caller: whoever reads a report looks for the code that called them.
#include "blame.h"

#include <string.h>

static const char *const names[] = {
    "malloc", "calloc", "realloc", "reallocarray", "memalign", "aligned_alloc", "posix_memalign", "valloc", "pvalloc",
    "strdup", "strndup", "wcsdup", "asprintf", "vasprintf", "getline", "getdelim",
    "xmalloc", "xcalloc", "xrealloc", "xzalloc", "xstrdup", "xstrndup", "xmemdup", "xnmalloc", "xnrealloc",
    "xreallocarray", "x2realloc", "x2nrealloc", "xcharalloc", "ximalloc", "xicalloc", "xpalloc", "xasprintf",
    "zmalloc", "zcalloc", "zrealloc", "ztrymalloc", "ztrycalloc", "ztryrealloc", "zmalloc_usable", "zcalloc_usable",
    "zrealloc_usable", "ztrymalloc_usable", "ztrycalloc_usable", "ztryrealloc_usable", "zcalloc_num", "zstrdup",
    "ztrymalloc_usable_internal", "ztrycalloc_usable_internal", "ztryrealloc_usable_internal",
    "g_malloc", "g_malloc0", "g_malloc_n", "g_malloc0_n", "g_realloc", "g_realloc_n", "g_try_malloc", "g_try_malloc0",
    "g_try_realloc", "g_slice_alloc", "g_slice_alloc0", "g_strdup", "g_strndup", "g_memdup", "g_memdup2",
    "_PyMem_RawMalloc", "_PyMem_RawCalloc", "_PyMem_RawRealloc", "_PyObject_Malloc", "_PyObject_Calloc",
    "_PyObject_Realloc", "PyMem_RawMalloc", "PyMem_RawCalloc", "PyMem_RawRealloc", "PyMem_Malloc", "PyMem_Calloc",
    "PyMem_Realloc", "PyObject_Malloc", "PyObject_Calloc", "PyObject_Realloc", "_PyObject_GC_New",
    "_PyObject_GC_NewVar", "_PyObject_New", "_PyObject_NewVar", "PyType_GenericAlloc", "_PyType_AllocNoTrack",
    "pymalloc_alloc", "_PyObject_GC_Malloc", "_PyObject_GC_Alloc", "gc_alloc", "_PyMem_DebugRawAlloc",
    "Perl_safesysmalloc", "Perl_safesyscalloc", "Perl_safesysrealloc", "Perl_sv_grow",
    "objalloc_alloc", "_obj_allocate", "_obstack_newchunk", "ruby_xmalloc", "ruby_xcalloc", "ruby_xrealloc",
    "OPENSSL_malloc", "CRYPTO_malloc", "CRYPTO_zalloc", "CRYPTO_realloc", "CRYPTO_strdup", "CRYPTO_memdup",
    "sqlite3Malloc", "sqlite3_malloc", "sqlite3MallocRaw", "sqlite3DbMallocRaw", "sqlite3DbMallocRawNN",
    "dbMallocRawFinish", "sqlite3MemMalloc", "mallocWithAlarm", "av_malloc", "av_mallocz", "av_calloc",
    "os::malloc", "os::realloc", "AllocateHeap", "ReallocateHeap", "resource_allocate_bytes", "Arena::grow", "Arena::Amalloc",
    "v8::internal::AllocWithRetry", "v8::internal::AlignedAlloc", "v8::internal::AlignedAllocWithRetry",
    "node::Malloc", "node::Calloc", "node::Realloc", "node::UncheckedMalloc", "node::UncheckedCalloc",
    "node::UncheckedRealloc",
    "__zend_malloc", "__zend_calloc", "__zend_realloc", "_emalloc", "_ecalloc", "_erealloc", "_safe_emalloc", "_estrdup",
    "MemoryContextAlloc", "MemoryContextAllocZero", "MemoryContextAllocExtended", "palloc", "palloc0", "repalloc",
    "pstrdup", "ngx_alloc", "ngx_calloc", "ngx_palloc", "ngx_pnalloc", "ngx_pcalloc",
    "__rust_alloc", "__rust_alloc_zeroed", "__rust_realloc", "__rdl_alloc", "__rdl_realloc", "__rg_alloc",
};

// Beginnings of names: namespaces and families.
static const char *const families[] = {
    "operator new", "std::", "__gnu_cxx::", "void std::", "boost::container::", "llvm::SmallVectorBase",
    "alloc::", "core::", "hashbrown::", "<alloc::", "<core::", "<hashbrown::", "absl::container_internal::",
};

// Ends of names: the operators of a class.
static const char *const endings[] = {"::operator new", "::operator new[]"};

// Libraries whose every function hands on.
static const char *const libraries[] = {"libc.so",    "libstdc++.so", "libc++.so",
                                        "libtarn.so", "ld-linux",     "libgcc_s.so"};

static bool begins(const char *text, const char *const *beginnings, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (strncmp(text, beginnings[i], strlen(beginnings[i])) == 0)
            return true;
    return false;
}

// "<T as alloc::vec::SpecFromElem>::from_elem": what a library of Rust does for every type. (What a type of the program's
// does for a trait of the library is the program's.)
static bool is_for_all_types(const char *function)
{
    static const char *const traits[] = {"alloc::", "core::", "std::", "hashbrown::"};
    return strncmp(function, "<", 1) == 0 && function[1] >= 'A' && function[1] <= 'Z' &&
           strncmp(function + 2, " as ", 4) == 0 && begins(function + 6, traits, sizeof traits / sizeof traits[0]);
}

static bool ends(const char *text, const char *ending)
{
    size_t length = strlen(text), ending_length = strlen(ending);
    return length > ending_length && strcmp(text + length - ending_length, ending) == 0;
}

static bool is_allocator(const char *function)
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(function, names[i]) == 0)
            return true;
    return false;
}

bool blame_passes_on(const profile_t *profile, const profile_frame_t *frame)
{
    if (frame->module >= 0 &&
        begins(profile->modules[frame->module].name, libraries, sizeof libraries / sizeof libraries[0]))
        return true;
    if (is_allocator(frame->function))
        return true;
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++)
        if (ends(frame->function, endings[i]))
            return true;
    return begins(frame->function, families, sizeof families / sizeof families[0]) || is_for_all_types(frame->function);
}

const profile_frame_t *blame_frame_at(const profile_t *profile, const profile_stack_t *stack, uint32_t index)
{
    for (uint32_t i = 0; i < stack->location_count; i++) {
        const profile_location_t *location = &profile->locations[stack->locations[i]];
        if (index < location->frame_count)
            return &profile->frames[location->frame_first + index];
        index -= location->frame_count;
    }
    return NULL;
}

// A function without a name that an allocator calls is a part of it: in "postgres+0x5c785f < palloc < makeArray", of palloc.
static bool is_within_allocator(const profile_frame_t *frame, const profile_frame_t *caller)
{
    return frame->unnamed && caller != NULL && caller->module == frame->module && is_allocator(caller->function);
}

const profile_frame_t *blame_frame(const profile_t *profile, const profile_stack_t *stack)
{
    const profile_frame_t *frame;
    for (uint32_t i = 0; (frame = blame_frame_at(profile, stack, i)) != NULL; i++)
        if (!blame_passes_on(profile, frame) && !is_within_allocator(frame, blame_frame_at(profile, stack, i + 1)))
            return frame;
    return blame_frame_at(profile, stack, 0);
}
