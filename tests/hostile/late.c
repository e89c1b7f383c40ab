// tests/hostile/late.c - a program that loads libtarn.so itself, long after its own malloc has been at work.
//
//   TARN_TEST_LATE=PATH     the library
//
// Loading may fail, with a reason; then nothing else is asked. If it succeeds, there are two heaps side by side, and
// each block goes back through the functions it came from, or through the library's free, which knows both.
#define FACTS_WITHOUT_LIBRARY
#include <malloc.h>
#include <pthread.h>

#include "../conformance/facts.h"

static void *(*their_malloc)(size_t);
static void *(*their_realloc)(void *, size_t);
static void (*their_free)(void *);
static size_t (*their_usable_size)(void *);

static void *load(int mode)
{
    const char *path = getenv("TARN_TEST_LATE");
    CHECK(path != NULL, "TARN_TEST_LATE is not set");
    CHECK(strstr(library_of("malloc"), "libc") != NULL, "malloc is from %s already", library_of("malloc"));
    free(malloc(1000000));
    void *library = dlopen(path, mode);
    if (library == NULL) {
        const char *why = dlerror();
        CHECK(why != NULL && strlen(why) > 0, "no reason is given");
        check_skip(why);
    }
    *(void **)&their_malloc = dlsym(library, "malloc");
    *(void **)&their_realloc = dlsym(library, "realloc");
    *(void **)&their_free = dlsym(library, "free");
    *(void **)&their_usable_size = dlsym(library, "malloc_usable_size");
    CHECK(their_malloc != malloc, "it gives the program's own malloc");
    return library;
}

enum { BLOCKS = 300 };

static void *ours[BLOCKS], *theirs[BLOCKS];

static size_t size_of(size_t i)
{
    return i * i * i % 400001;
}

static void fill_both(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        ours[i] = malloc(size_of(i));
        theirs[i] = their_malloc(size_of(i));
        CHECK(ours[i] != NULL && theirs[i] != NULL, "no memory");
        block_fill(ours[i], size_of(i), i);
        block_fill(theirs[i], size_of(i), i + BLOCKS);
    }
}

static void require_both_filled(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        CHECK(block_is_filled(ours[i], size_of(i), i), "block %zu", i);
        CHECK(block_is_filled(theirs[i], size_of(i), i + BLOCKS), "block %zu of the library", i);
    }
}

static void two_heaps(int mode)
{
    load(mode);
    for (size_t round = 0; round < 10; round++) {
        fill_both();
        require_both_filled();
        for (size_t i = 0; i < BLOCKS; i++) {
            free(ours[i]);
            their_free(theirs[i]);
        }
    }
}

FACT(two_heaps_live_side_by_side)
{
    two_heaps(RTLD_NOW | RTLD_LOCAL);
}

FACT(two_heaps_live_side_by_side_when_loaded_lazily_for_all)
{
    two_heaps(RTLD_LAZY | RTLD_GLOBAL);
}

// strdup allocates with the program's malloc; a plugin that was loaded behind the library might well free it there.
FACT(the_library_hands_foreign_blocks_to_their_owner)
{
    load(RTLD_NOW);
    fill_both();
    for (size_t i = 0; i < BLOCKS; i += 2) {
        CHECK(their_usable_size(ours[i]) >= size_of(i), "block %zu", i);
        ours[i] = their_realloc(ours[i], size_of(i) + 100);
        CHECK(ours[i] != NULL && block_is_filled(ours[i], size_of(i), i), "block %zu", i);
    }
    require_both_filled();
    for (size_t i = 0; i < BLOCKS; i++) {
        their_free(ours[i]);
        their_free(theirs[i]);
    }
    free(malloc(1000));
}

static void *use_in_thread(void *unused)
{
    for (size_t i = 0; i < 1000; i++)
        their_free(memset(their_malloc(i * 10 + 1), 1, 1));
    ours[0] = malloc(100);
    theirs[0] = their_malloc(100);
    return unused;
}

static void thread_run(void *(*body)(void *))
{
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, body, NULL) == 0, "no thread");
    pthread_join(thread, NULL);
}

static pthread_barrier_t used, closed;

static void *use_and_wait(void *unused)
{
    use_in_thread(NULL);
    pthread_barrier_wait(&used);
    pthread_barrier_wait(&closed);
    return unused; // what was registered for the end of the thread must still be there
}

FACT(threads_end_and_processes_fork_after_dlclose)
{
    pthread_t thread;
    void *library = load(RTLD_NOW);
    pthread_barrier_init(&used, NULL, 2);
    pthread_barrier_init(&closed, NULL, 2);
    CHECK(pthread_create(&thread, NULL, use_and_wait, NULL) == 0, "no thread");
    pthread_barrier_wait(&used);
    dlclose(library);
    pthread_barrier_wait(&closed);
    pthread_join(thread, NULL);
    pid_t child = fork();
    if (child == 0)
        exit(EXIT_SUCCESS);
    child_ends_well(child);
}

FACT(loading_and_closing_it_again_and_again)
{
    for (size_t i = 0; i < 20; i++) {
        void *library = load(RTLD_NOW);
        thread_run(use_in_thread);
        free(ours[0]);
        their_free(theirs[0]);
        dlclose(library);
    }
}
