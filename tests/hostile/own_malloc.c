// tests/hostile/own_malloc.c - a program with a malloc of its own: compiled as it is, it defines the whole family, and no
// block may come from the preloaded library; with WRAPPER defined it defines malloc and free alone, which count and pass
// on, as tracers do, and the rest of the family is the library's.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Atomic long mallocs, frees;

#ifdef WRAPPER

void *malloc(size_t size)
{
    static void *(*_Atomic next)(size_t);
    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "malloc");
    mallocs++;
    return next(size);
}

void free(void *block)
{
    static void (*_Atomic next)(void *);
    if (next == NULL)
        *(void **)&next = dlsym(RTLD_NEXT, "free");
    frees++;
    next(block);
}

static bool is_own(const void *block)
{
    return block != NULL;
}

#else

static _Alignas(16) char arena[64 << 20];
static _Atomic size_t used;

// The size stands before each block; nothing is used again.
void *malloc(size_t size)
{
    size_t at = atomic_fetch_add(&used, (size + 31) & ~(size_t)15);
    if (at + size + 16 > sizeof arena) {
        errno = ENOMEM;
        return NULL;
    }
    mallocs++;
    *(size_t *)(arena + at) = size;
    return arena + at + 16;
}

static bool is_own(const void *block)
{
    return (uintptr_t)block - (uintptr_t)arena < sizeof arena;
}

void free(void *block)
{
    frees++;
    if (block != NULL && !is_own(block))
        abort();
}

void *calloc(size_t count, size_t size)
{
    return malloc(count * size);
}

void *realloc(void *block, size_t size)
{
    void *other = malloc(size);
    if (block != NULL && other != NULL) {
        size_t old = ((size_t *)block)[-2];
        memcpy(other, block, old < size ? old : size);
    }
    return other;
}

void *memalign(size_t alignment, size_t size)
{
    char *block = malloc(size + alignment + 16);
    if (block == NULL)
        return NULL;
    char *aligned = (char *)(((uintptr_t)block + 16 + alignment - 1) / alignment * alignment);
    ((size_t *)aligned)[-2] = size;
    return aligned;
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    *block = memalign(alignment, size);
    return *block == NULL ? ENOMEM : 0;
}

#endif

static void require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "own_malloc: %s\n", what);
    exit(1);
}

static void *use(void *unused)
{
    for (size_t i = 1; i < 300; i++) {
        char *block = malloc(i * 10), *text = strdup("a text of the C library's"), *zero = calloc(i, 7);
        void *aligned = NULL;
        require(is_own(block) && is_own(text) && is_own(zero), "whose block is it?");
        memset(block, 1, i * 10);
        block = realloc(block, i * 20);
        require(is_own(block) && block[i * 10 - 1] == 1, "realloc");
        require(posix_memalign(&aligned, 64, i) == 0 && is_own(aligned) && (uintptr_t)aligned % 64 == 0, "alignment");
        free(block);
        free(text);
        free(zero);
        free(aligned);
    }
    return unused;
}

int main(void)
{
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        require(pthread_create(&threads[i], NULL, use, NULL) == 0, "no thread");
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    char *line = NULL;
    size_t capacity = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    while (file != NULL && getline(&line, &capacity, file) > 0)
        ;
    free(line);
    if (file != NULL)
        fclose(file);
    require(mallocs > 2000 && frees > 4000, "they were not called");
    puts("worked");
    return 0;
}
