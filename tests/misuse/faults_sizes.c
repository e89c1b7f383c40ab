// tests/misuse/faults_sizes.c - sizes that are told to C++'s delete and C23's free_sized, and are wrong.
#include "faults.h"

// C++'s operator new and delete, sized and with an alignment; C23's.
void *_Znwm(size_t size_bytes) __attribute__((weak));
void *_ZnwmSt11align_val_t(size_t size_bytes, size_t alignment) __attribute__((weak));
void _ZdlPvm(void *block, size_t size_bytes) __attribute__((weak));
void _ZdaPvm(void *block, size_t size_bytes) __attribute__((weak));
void _ZdlPvmSt11align_val_t(void *block, size_t size_bytes, size_t alignment) __attribute__((weak));
void free_sized(void *block, size_t size_bytes) __attribute__((weak));
void free_aligned_sized(void *block, size_t alignment, size_t size_bytes) __attribute__((weak));

// Every size that was asked for is taken without a word.
static void delete_rightly(void)
{
    for (size_t size = 0; size < 2 * MIB; size = size * 5 / 4 + 1) {
        _ZdlPvm(_Znwm(size), size);
        _ZdaPvm(_Znwm(size), size);
        free_sized(malloc(size), size);
        for (size_t alignment = 16; alignment <= MIB; alignment *= 4) { // the last ones are of large blocks
            _ZdlPvmSt11align_val_t(_ZnwmSt11align_val_t(size, alignment), size, alignment);
            free_aligned_sized(aligned_alloc(alignment, size), alignment, size);
        }
        if (size != 0) // what realloc has made of it, wherever it left it
            free_sized(realloc(malloc(size), size * 2 / 3 + 1), size * 2 / 3 + 1);
    }
}

FAULT(sized_delete_of_64_bytes_as_80)
{
    delete_rightly();
    _ZdlPvm(announce(_Znwm(64)), 80);
}

FAULT(sized_delete_of_64_bytes_as_5000)
{
    _ZdaPvm(announce(_Znwm(64)), 5000);
}

FAULT(sized_delete_of_2000_bytes_as_64)
{
    _ZdlPvm(announce(_Znwm(2000)), 64);
}

FAULT(sized_delete_of_1_mib_as_2)
{
    _ZdlPvm(announce(_Znwm(MIB)), 2 * MIB);
}

FAULT(sized_delete_of_100_aligned_bytes_as_1000)
{
    _ZdlPvmSt11align_val_t(announce(_ZnwmSt11align_val_t(100, 64)), 1000, 64);
}

FAULT(free_sized_of_64_bytes_as_200)
{
    free_sized(announce(malloc(64)), 200);
}

FAULT(free_aligned_sized_of_100_bytes_as_1000)
{
    free_aligned_sized(announce(aligned_alloc(64, 100)), 64, 1000);
}

FAULT(sized_delete_of_64_bytes_twice)
{
    void *block = announce(_Znwm(64));
    _ZdlPvm(hide(block), 64);
    _ZdlPvm(hide(block), 64);
}
