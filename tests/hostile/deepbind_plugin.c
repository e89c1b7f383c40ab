// tests/hostile/deepbind_plugin.c - see deepbind.c.
#include <malloc.h>
#include <stdlib.h>

void *plugin_malloc(size_t size_bytes);
void *plugin_memalign(size_t alignment, size_t size_bytes);
void plugin_free(void *block);

__attribute__((visibility("default"))) void *plugin_malloc(size_t size_bytes)
{
    return malloc(size_bytes);
}

__attribute__((visibility("default"))) void *plugin_memalign(size_t alignment, size_t size_bytes)
{
    return memalign(alignment, size_bytes);
}

__attribute__((visibility("default"))) void plugin_free(void *block)
{
    free(block);
}
