// tools/demangle.c - by libiberty, not by libstdc++'s __cxa_demangle: it knows Rust's names too, needs no C++ compiler
// to link, and adds no library that would have to be there when tarn runs.
#include "demangle.h"

#include "strings.h"

#include <libiberty/demangle.h>
#include <stdlib.h>
#include <string.h>

// What GCC and Clang append to the name of a copy of a function that they made for one purpose.
static const char *const clone_suffixes[] = {".constprop.", ".isra.", ".part.", ".cold", ".lto_priv.", ".llvm."};

static size_t length_without_clone(const char *name)
{
    size_t length = strlen(name);
    for (size_t i = 0; i < sizeof clone_suffixes / sizeof clone_suffixes[0]; i++) {
        const char *suffix = strstr(name, clone_suffixes[i]);
        if (suffix != NULL && suffix != name && (size_t)(suffix - name) < length)
            length = (size_t)(suffix - name);
    }
    return length;
}

const char *demangle(const char *linkage_name)
{
    size_t length = length_without_clone(linkage_name);
    const char *whole = strings_keep_part(linkage_name, length);
    char *readable = cplus_demangle(whole, DMGL_AUTO | DMGL_ANSI);
    if (readable == NULL)
        return whole;
    const char *kept = strings_keep(readable);
    free(readable);
    return kept;
}
