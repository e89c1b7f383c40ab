// tests/hostile/deepbind_plugin.c - see deepbind.c. With OWN_MALLOC it has a malloc of its own.
#include <malloc.h>
#include <stdlib.h>

void *plugin_malloc(size_t size_bytes);
void *plugin_memalign(size_t alignment, size_t size_bytes);
void plugin_free(void *block);
void plugin_free_by_table(void *block);

#define SHOWN __attribute__((visibility("default")))

#ifdef OWN_MALLOC
static char memory[1 << 20];
static size_t used_bytes;

SHOWN void *malloc(size_t size_bytes)
{
    void *block = memory + used_bytes;
    used_bytes += (size_bytes + 15) & ~(size_t)15;
    return block;
}

SHOWN void free(void *block)
{
    *(char *)block = 'f';
}
#endif

typedef struct functions {
    void (*free)(void *);
} functions_t;

functions_t plugin_functions = {free}; // an address in data, not a call

SHOWN void *plugin_malloc(size_t size_bytes)
{
    return malloc(size_bytes);
}

SHOWN void *plugin_memalign(size_t alignment, size_t size_bytes)
{
    return memalign(alignment, size_bytes);
}

SHOWN void plugin_free(void *block)
{
    free(block);
}

SHOWN void plugin_free_by_table(void *block)
{
    plugin_functions.free(block);
}

#ifdef ADDRESS_IN_CODE
__asm__(".text\n.balign 8\n.quad malloc\n");
#endif
