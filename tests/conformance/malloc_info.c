// tests/conformance/malloc_info.c - holds some memory, prints mallinfo2's figures and then malloc_info's document.
//
//   malloc_info THREADS     so many threads have allocated, so that a library with arenas has more than one
#include <malloc.h>
#include <pthread.h>

#include "check.h"

enum { BLOCKS = 5000, LARGE_BLOCKS = 3, THREADS_MAX = 16 };

static void *hold(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < BLOCKS; i++) {
        void *freed = malloc(i % 3000), *held = malloc(i % 2000);
        CHECK(held != NULL, "no memory");
        free(freed);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[THREADS_MAX];
    int count = argc > 1 ? atoi(argv[1]) : 0;
    library_require();
    setvbuf(stdout, NULL, _IONBF, 0); // its buffer would be one block more
    hold(NULL);
    for (int i = 0; i < count && i < THREADS_MAX; i++)
        CHECK(pthread_create(&threads[i], NULL, hold, NULL) == 0, "no thread");
    for (int i = 0; i < count && i < THREADS_MAX; i++)
        pthread_join(threads[i], NULL);
    for (size_t i = 0; i < LARGE_BLOCKS; i++)
        CHECK(malloc(4 * MIB) != NULL, "no memory");
    CHECK(malloc_info(1, stdout) == EINVAL, "options are not defined: only 0 is right");
    struct mallinfo2 info = mallinfo2();
    printf("%zu %zu %zu %zu %zu\n", info.arena, info.uordblks, info.fordblks, info.hblks, info.hblkhd);
    errno = 0;
    CHECK(malloc_info(0, stdout) == 0, "it failed");
    return EXIT_SUCCESS;
}
