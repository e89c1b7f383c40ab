// tests/hostile/deepbind.c - plugins opened with RTLD_DEEPBIND.
//
//   TARN_TEST_PLUGIN=PATH     deepbind_plugin.c as a shared object; TARN_TEST_PLUGIN_NOW the same, all of it bound when it is opened,
//                             and read-only then; TARN_TEST_PLUGIN_OWN with a malloc of its own;
//                             TARN_TEST_PLUGIN_CODE with an address that the loader writes into its code
//   TARN_TEST_CALLER=PATH     deepbind_caller.c as a shared object, which knows its plugins to be beside it
//
// Opened by the program's dlopen, a plugin's malloc and free are ours. Opened past us they are the C library's: what such a plugin
// allocates and the program frees, the library hands to the C library. (A block of ours that it frees comes to the C library, and
// nothing can be done about it there.)
#include <malloc.h>
#include <pthread.h>

#include "../conformance/facts.h"

static void *(*plugin_malloc)(size_t);
static void *(*plugin_memalign)(size_t, size_t);
static void (*plugin_free)(void *);

static void (*plugin_free_by_table)(void *);

typedef void *open_t(const char *path, int mode);

static const char *path_of(const char *variable)
{
    const char *path = getenv(variable);
    CHECK(path != NULL, "%s is not set", variable);
    return path;
}

static void plugin_load_by(open_t *open, const char *variable, int mode)
{
    void *plugin = open(path_of(variable), mode | RTLD_DEEPBIND);
    CHECK(plugin != NULL, "%s", dlerror());
    CHECK(dlerror() == NULL, "an error is told where there was none");
    *(void **)&plugin_malloc = dlsym(plugin, "plugin_malloc");
    *(void **)&plugin_memalign = dlsym(plugin, "plugin_memalign");
    *(void **)&plugin_free = dlsym(plugin, "plugin_free");
    *(void **)&plugin_free_by_table = dlsym(plugin, "plugin_free_by_table");
}

// Past us.
static void plugin_load(void)
{
    open_t *open;
    *(void **)&open = dlsym(dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD), "dlopen");
    plugin_load_by(open, "TARN_TEST_PLUGIN", RTLD_NOW);
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

// --- opened by the program's dlopen -----------------------------------------------------------------------------------------

static void require_ours(const char *variable, int mode)
{
    plugin_load_by(dlopen, variable, mode);
    for (size_t round = 0; round < 3; round++) // a call is bound at the first
        for (size_t i = 0; i < COUNT(sizes); i++) {
            void *block = malloc(sizes[i]), *other = malloc(sizes[i]), *its_own = plugin_malloc(sizes[i]);
            CHECK(malloc_usable_size(its_own) == malloc_usable_size(block), "%zu bytes are %zu", sizes[i],
                  malloc_usable_size(its_own));
            block_fill(its_own, sizes[i] < 100000 ? sizes[i] : 100000, i);
            plugin_free(block); // the C library's free would abort, or crash
            plugin_free_by_table(other);
            free(its_own);
            void *aligned = plugin_memalign(4096, sizes[i]);
            CHECK((uintptr_t)aligned % 4096 == 0, "not aligned");
            plugin_free_by_table(aligned);
            plugin_free(strdup("from within the C library"));
        }
}

FACT(a_deepbound_plugin_has_our_malloc)
{
    require_ours("TARN_TEST_PLUGIN", RTLD_NOW);
}

FACT(so_has_one_whose_calls_are_bound_later)
{
    require_ours("TARN_TEST_PLUGIN", RTLD_LAZY | RTLD_GLOBAL);
}

FACT(so_has_one_whose_bindings_are_read_only)
{
    require_ours("TARN_TEST_PLUGIN_NOW", RTLD_LAZY);
    FILE *map = fopen("/proc/self/maps", "r");
    char line[1000];
    unsigned read_only = 0, changed = 0;
    while (fgets(line, sizeof line, map) != NULL)
        if (strstr(line, "plugin_now") != NULL)
            read_only += strstr(line, " r--p ") != NULL, changed += strstr(line, " rwxp ") != NULL;
    fclose(map);
    CHECK(read_only >= 2 && changed == 0, "%u mappings of it are read-only: its constants, and what the loader has bound", read_only);
}

// Code is not written to. What is called is ours.
FACT(one_that_has_an_address_in_its_code_is_opened)
{
    require_ours("TARN_TEST_PLUGIN_CODE", RTLD_NOW);
}

FACT(one_with_a_malloc_of_its_own_keeps_it)
{
    plugin_load_by(dlopen, "TARN_TEST_PLUGIN_OWN", RTLD_LAZY);
    char *first = plugin_malloc(100), *second = plugin_malloc(100);
    CHECK(second == first + 112, "%p and %p are not side by side", (void *)first, (void *)second);
    plugin_free(first);
    CHECK(*first == 'f', "not freed by its own");
}

FACT(a_deepbound_plugin_can_be_opened_closed_and_opened_again)
{
    for (size_t i = 0; i < 100; i++) {
        void *plugin = dlopen(path_of("TARN_TEST_PLUGIN"), RTLD_LAZY | RTLD_DEEPBIND);
        CHECK(plugin != NULL, "%s", dlerror());
        void (*give)(void *);
        *(void **)&give = dlsym(plugin, "plugin_free");
        give(malloc(i * 100));
        CHECK(dlclose(plugin) == 0, "%s", dlerror());
    }
}

static void *open_and_close(void *unused)
{
    a_deepbound_plugin_can_be_opened_closed_and_opened_again();
    return unused;
}

FACT(by_four_threads_at_once_too)
{
    pthread_t threads[4];
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, open_and_close, NULL) == 0, "no thread");
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
}

FACT(dlopen_tells_what_failed)
{
    CHECK(dlopen("/nowhere/plugin.so", RTLD_NOW | RTLD_DEEPBIND) == NULL, "opened");
    const char *error = dlerror();
    CHECK(error != NULL && strstr(error, "/nowhere/plugin.so") != NULL, "%s", error);
    CHECK(dlerror() == NULL, "twice");
}

static void file_copy(const char *from, const char *to)
{
    char command[2048];
    snprintf(command, sizeof command, "cp '%s' '%s'", from, to);
    CHECK(system(command) == 0, "%s", command);
}

// The C library finds it by who calls. In a folder of its own, which nothing else (LD_LIBRARY_PATH) leads to.
FACT(a_library_finds_its_plugins_by_its_own_path)
{
    char folder[] = "/tmp/tarn-deepbind-XXXXXX", path[100], found[100];
    CHECK(mkdtemp(folder) != NULL, "no folder");
    snprintf(path, sizeof path, "%s/caller.so", folder);
    snprintf(found, sizeof found, "%s/found.so", folder);
    file_copy(path_of("TARN_TEST_CALLER"), path);
    file_copy(path_of("TARN_TEST_PLUGIN"), found);
    void *caller = dlopen(path, RTLD_NOW);
    CHECK(caller != NULL, "%s", dlerror());
    open_t *open;
    *(void **)&open = dlsym(caller, "caller_open");
    CHECK(dlopen("found.so", RTLD_NOW) == NULL, "the program finds it, too: this test shows nothing");
    CHECK(open("found.so", RTLD_NOW) != NULL, "%s", dlerror());
    CHECK(open("found.so", RTLD_NOW | RTLD_DEEPBIND) != NULL, "%s", dlerror());
    remove(path);
    remove(found);
    rmdir(folder);
    CHECK(dlopen(NULL, RTLD_NOW) != NULL, "the program itself");
}
