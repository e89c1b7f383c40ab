// tests/hostile/deepbind_caller.c - see deepbind.c: a library that knows where its plugins are (DT_RUNPATH), and opens them by name.
#include <dlfcn.h>

void *caller_open(const char *name, int mode);

__attribute__((visibility("default"))) void *caller_open(const char *name, int mode)
{
    void *volatile plugin = dlopen(name, mode); // a call, no jump: this library is the caller
    return plugin;
}
