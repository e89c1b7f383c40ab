// tests/hostile/namespaces.c - plugins in a namespace of the loader's own (dlmopen): with their own C library, and its malloc,
// where a preload does not reach. The program's malloc is ours all the time.
//
//   TARN_TEST_PLUGIN=PATH     namespace_plugin.c as a shared object
//   TARN_TEST_SECOND=PATH     libtarn.so
#include <dlfcn.h>
#include <pthread.h>

#include "../conformance/facts.h"

typedef long work_t(uint64_t seed, void (*call_back)(void));

static void *space_open(const char *variable)
{
    const char *path = getenv(variable);
    CHECK(path != NULL, "%s is not set", variable);
    void *library = dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL);
    CHECK(library != NULL, "%s", dlerror());
    return library;
}

static work_t *work_of(void *plugin)
{
    work_t *work;
    void *(*(*plugin_malloc)(void))(size_t);
    *(void **)&work = dlsym(plugin, "plugin_work");
    *(void **)&plugin_malloc = dlsym(plugin, "plugin_malloc");
    CHECK(plugin_malloc() != malloc, "it shares the program's malloc");
    return work;
}

// 0,1,...,99,
static const long written = 10 * 2 + 90 * 3;

static void allocate(void)
{
    blocks_come_and_go(100, 40);
}

static work_t *shared_work;

static void *work_in_thread(void *seed)
{
    for (uint64_t i = 1; i <= 20; i++)
        CHECK(shared_work((uintptr_t)seed * i, allocate) == written, "round %d", (int)i);
    return NULL;
}

FACT(a_plugin_with_its_own_malloc_works_beside_the_program)
{
    pthread_t threads[4];
    shared_work = work_of(space_open("TARN_TEST_PLUGIN"));
    for (size_t i = 0; i < COUNT(threads); i++)
        CHECK(pthread_create(&threads[i], NULL, work_in_thread, (void *)(i + 7)) == 0, "no thread");
    for (size_t i = 0; i < COUNT(threads); i++)
        pthread_join(threads[i], NULL);
    pid_t child = fork();
    if (child == 0) {
        work_in_thread((void *)3);
        exit(EXIT_SUCCESS);
    }
    child_ends_well(child);
}

FACT(namespaces_come_and_go)
{
    for (uint64_t i = 0; i < 10; i++) {
        void *plugin = space_open("TARN_TEST_PLUGIN");
        CHECK(work_of(plugin)(i, allocate) == written, "round %d", (int)i);
        CHECK(dlclose(plugin) == 0, "%s", dlerror());
    }
}

// Another heap beside the program's, that knows nothing of it.
FACT(the_library_serves_a_namespace_of_its_own)
{
    void *second = space_open("TARN_TEST_SECOND");
    void *(*second_malloc)(size_t), *blocks[200];
    void (*second_free)(void *);
    *(void **)&second_malloc = dlsym(second, "malloc");
    *(void **)&second_free = dlsym(second, "free");
    CHECK(second_malloc != malloc, "it is the same");
    for (size_t i = 0; i < COUNT(blocks); i++) {
        size_t size = i * i * 20;
        blocks[i] = i % 2 == 0 ? malloc(size) : second_malloc(size);
        CHECK(blocks[i] != NULL, "no memory");
        block_fill(blocks[i], size, i);
    }
    allocate();
    for (size_t i = 0; i < COUNT(blocks); i++) {
        CHECK(block_is_filled(blocks[i], i * i * 20, i), "block %zu", i);
        i % 2 == 0 ? free(blocks[i]) : second_free(blocks[i]);
    }
}
