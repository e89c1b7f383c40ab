// tests/conformance/exports.c - a name that is missing is served by the C library, whose blocks are another heap's.
#include <malloc.h>

#include "facts.h"

static const char *const c_names[] = {
    "malloc",         "free",     "calloc", "realloc", "reallocarray", "aligned_alloc",      "posix_memalign",
    "memalign",       "valloc",   "pvalloc", "free_sized", "free_aligned_sized", "malloc_usable_size", "malloc_trim",
    "malloc_stats",   "malloc_info", "mallinfo", "mallinfo2", "mallopt",
};

// operator new and delete; `m` is size_t where that is unsigned long.
static const char *const cxx_names[] = {
    "_Znwm",                              // plain
    "_Znam",                              // array
    "_ZnwmRKSt9nothrow_t",                // nothrow
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",               // aligned
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t", // aligned, nothrow
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvm",                            // sized
    "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",             // sized, aligned
    "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
};

static void are_ours(const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        CHECK(strstr(library_of(names[i]), library_wanted()) != NULL, "%s is from %s", names[i], library_of(names[i]));
}

FACT(every_c_name_is_the_library_s)
{
    are_ours(c_names, COUNT(c_names));
}

FACT(every_operator_new_and_delete_is_the_library_s)
{
    if (sizeof(size_t) != sizeof(unsigned long) || sizeof(size_t) != 8)
        check_skip("operator new has other names here");
    are_ours(cxx_names, COUNT(cxx_names));
}

// What the program was linked to, as opposed to what dlsym finds.
FACT(a_linked_name_is_the_library_s)
{
    void *(*volatile const linked[])(size_t) = {malloc, valloc, pvalloc};
    for (size_t i = 0; i < COUNT(linked); i++) {
        Dl_info info;
        void *address = *(void **)&linked[i];
        CHECK(dladdr(address, &info) != 0 && strstr(info.dli_fname, library_wanted()) != NULL, "it is from %s",
              info.dli_fname);
    }
}

// A crash where pvalloc is left to the C library, and so its block to the wrong free.
FACT(free_takes_what_every_function_gives)
{
    for (size_t size = 1; size < 3 * MIB; size = size * 3 / 2 + 1) {
        void *aligned = NULL;
        CHECK(posix_memalign(&aligned, 64, size) == 0, "%zu", size);
        void *blocks[] = {malloc(size),     calloc(1, size),         realloc(NULL, size), reallocarray(NULL, size, 1),
                          memalign(64, size), aligned_alloc(64, size), valloc(size),        pvalloc(size), aligned};
        for (size_t i = 0; i < COUNT(blocks); i++) {
            CHECK(blocks[i] != NULL && malloc_usable_size(blocks[i]) >= size, "number %zu, %zu bytes", i, size);
            block_fill(blocks[i], size, i);
        }
        for (size_t i = 0; i < COUNT(blocks); i++) {
            CHECK(block_is_filled(blocks[i], size, i), "number %zu, %zu bytes", i, size);
            free(i % 2 == 0 ? blocks[i] : realloc(blocks[i], size * 2));
        }
    }
}

// Blocks that the C library allocates for the program: getline, asprintf, strdup, realpath, getcwd.
FACT(free_takes_what_the_c_library_hands_out)
{
    char *line = NULL, *text = NULL;
    size_t capacity = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    CHECK(file != NULL && getline(&line, &capacity, file) > 0, "no line");
    CHECK(asprintf(&text, "%01000d", 7) == 1000, "asprintf");
    char *blocks[] = {line, text, strdup("a text"), realpath("/proc/self/exe", NULL), getcwd(NULL, 0)};
    fclose(file);
    for (size_t i = 0; i < COUNT(blocks); i++) {
        CHECK(blocks[i] != NULL && malloc_usable_size(blocks[i]) > strlen(blocks[i]), "number %zu", i);
        free(blocks[i]);
    }
}

typedef void free_sized_t(void *block, size_t size_bytes);
typedef void free_aligned_sized_t(void *block, size_t alignment, size_t size_bytes);

// C23's; the C library of today does not declare them.
FACT(free_sized_and_free_aligned_sized_free)
{
    free_sized_t *free_sized_c23 = NULL;
    free_aligned_sized_t *free_aligned_sized_c23 = NULL;
    *(void **)&free_sized_c23 = dlsym(RTLD_DEFAULT, "free_sized");
    *(void **)&free_aligned_sized_c23 = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    CHECK(free_sized_c23 != NULL && free_aligned_sized_c23 != NULL, "they are missing");
    free_sized_c23(NULL, 0);
    free_aligned_sized_c23(NULL, 64, 0);
    size_t before = rss_bytes();
    for (size_t round = 0; round < 2000; round++)
        for (size_t size = 1; size < MIB; size = size * 4 + 1) {
            void *block = memset(malloc(size), 1, size < 4096 ? size : 4096);
            free_sized_c23(block, size);
            free_aligned_sized_c23(memset(aligned_alloc(256, size), 1, 1), 256, size);
        }
    CHECK(rss_bytes() < before + 8 * MIB, "grown from %zu to %zu", before, rss_bytes());
}
