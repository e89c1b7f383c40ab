// tests/hostile/deepbind.c - a plugin opened with RTLD_DEEPBIND: its malloc is the C library's, the program's is ours.
//
//   TARN_TEST_PLUGIN=PATH     deepbind_plugin.c as a shared object
//
// What the plugin allocates with malloc and the program frees, the library hands to the C library. (A block of the
// library's that the plugin frees comes to the C library first, and nothing can be done about it there.)
#include <malloc.h>
#include <pthread.h>

#include "../conformance/facts.h"

static void *(*plugin_malloc)(size_t);
static void *(*plugin_memalign)(size_t, size_t);
static void (*plugin_free)(void *);

static void plugin_load(void)
{
    const char *path = getenv("TARN_TEST_PLUGIN");
    CHECK(path != NULL, "TARN_TEST_PLUGIN is not set");
    void *plugin = dlopen(path, RTLD_NOW | RTLD_DEEPBIND);
    CHECK(plugin != NULL, "%s", dlerror());
    *(void **)&plugin_malloc = dlsym(plugin, "plugin_malloc");
    *(void **)&plugin_memalign = dlsym(plugin, "plugin_memalign");
    *(void **)&plugin_free = dlsym(plugin, "plugin_free");
}

// In the C library's main heap, and mapped alone there.
static const size_t sizes[] = {1, 24, 100, 1000, 5000, 50000, 130000, 200000, 1000000, 20000000};

FACT(free_takes_what_a_deepbound_plugin_has_allocated)
{
    plugin_load();
    size_t before = rss_bytes();
    for (size_t round = 0; round < 100; round++)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            void *block = plugin_malloc(sizes[i]), *own = malloc(sizes[i]);
            block_fill(block, sizes[i] < 100000 ? sizes[i] : 100000, i);
            free(block);
            free(own);
        }
    CHECK(rss_bytes() < before + 8 * MIB, "grown from %zu to %zu", before, rss_bytes());
}

FACT(realloc_and_malloc_usable_size_take_them_too)
{
    plugin_load();
    for (size_t i = 0; i < COUNT(sizes); i++) {
        void *block = plugin_malloc(sizes[i]);
        CHECK(malloc_usable_size(block) >= sizes[i], "%zu for %zu", malloc_usable_size(block), sizes[i]);
        block_fill(block, sizes[i], i);
        block = realloc(block, sizes[i] * 2);
        CHECK(block != NULL && block_is_filled(block, sizes[i], i), "%zu bytes", sizes[i]);
        block = realloc(block, sizes[i] / 2 + 1);
        CHECK(block != NULL && block_is_filled(block, sizes[i] / 2 + 1, i), "%zu bytes", sizes[i]);
        CHECK(realloc(block, 0) == NULL, "realloc to 0");
    }
}

FACT(free_takes_aligned_blocks_of_a_deepbound_plugin)
{
    plugin_load();
    size_t before = rss_bytes();
    for (size_t alignment = 16; alignment <= 65536; alignment *= 4)
        for (size_t i = 0; i < COUNT(sizes); i++) {
            void *blocks[4];
            for (size_t j = 0; j < COUNT(blocks); j++)
                block_fill(blocks[j] = plugin_memalign(alignment, sizes[i]), sizes[i] < 100000 ? sizes[i] : 100000, j);
            for (size_t j = 0; j < COUNT(blocks); j++)
                free(blocks[j]);
        }
    CHECK(rss_bytes() < before + 8 * MIB, "grown from %zu to %zu", before, rss_bytes());
}

// More than 64 MiB, so that the arena of the thread has several parts, all but the last full to the brim.
enum { FILLING = 2000 };
static const size_t filling_bytes = 100000;

static void *fill_in_thread(void *blocks)
{
    for (size_t i = 0; i < FILLING; i++)
        ((void **)blocks)[i] = plugin_malloc(filling_bytes);
    return NULL;
}

FACT(free_takes_all_of_an_arena_that_a_plugin_s_thread_has_filled)
{
    static void *blocks[FILLING];
    pthread_t thread;
    plugin_load();
    CHECK(pthread_create(&thread, NULL, fill_in_thread, blocks) == 0, "no thread");
    pthread_join(thread, NULL);
    for (size_t i = 0; i < FILLING; i++) {
        CHECK(malloc_usable_size(blocks[i]) >= filling_bytes, "block %zu", i);
        free(blocks[i]);
    }
}

static void *allocate_in_thread(void *blocks)
{
    for (size_t i = 0; i < COUNT(sizes); i++)
        ((void **)blocks)[i] = plugin_malloc(sizes[i]);
    return NULL;
}

// From the arenas that the C library makes for threads.
FACT(free_takes_what_a_plugin_s_thread_has_allocated)
{
    plugin_load();
    for (size_t round = 0; round < 20; round++) {
        void *blocks[COUNT(sizes)];
        pthread_t thread;
        CHECK(pthread_create(&thread, NULL, allocate_in_thread, blocks) == 0, "no thread");
        pthread_join(thread, NULL);
        for (size_t i = 0; i < COUNT(sizes); i++)
            free(blocks[i]);
    }
}

FACT(a_deepbound_plugin_frees_its_own_blocks)
{
    plugin_load();
    for (size_t i = 0; i < 10000; i++) {
        void *block = plugin_malloc(i * 20);
        free(malloc(i * 20));
        plugin_free(block);
    }
}
