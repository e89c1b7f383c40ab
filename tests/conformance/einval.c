// tests/conformance/einval.c - alignments that are none, answered as by the GNU C library.
#include <malloc.h>

#include "facts.h"

// No powers of two, or no multiples of a pointer.
static volatile const size_t wrong[] = {0,  1,  2,  3,  4,  5,   6,   7,    9,    12,           15,          17,      20,
                                        24, 31, 33, 40, 48, 100, 192, 1000, 4095, 4096 + 8, 3 * 4096, SIZE_MAX, SIZE_MAX / 2};

FACT(posix_memalign_refuses_a_wrong_alignment_and_leaves_errno_and_result)
{
    for (size_t i = 0; i < COUNT(wrong); i++) {
        void *block = &block;
        errno = EXDEV;
        int error = posix_memalign(&block, wrong[i], 64);
        CHECK(error == EINVAL, "posix_memalign(%zu) gave %d", wrong[i], error);
        CHECK(block == (void *)&block && errno == EXDEV, "posix_memalign(%zu) left %p", wrong[i], block);
    }
}

// It is looked at before the size.
FACT(posix_memalign_names_the_alignment_when_the_size_is_wrong_too)
{
    volatile size_t huge = SIZE_MAX;
    void *block;
    CHECK(posix_memalign(&block, 24, huge) == EINVAL, "not EINVAL");
}

// memalign has always rounded up to a power of two instead of refusing.
FACT(memalign_rounds_a_wrong_alignment_up)
{
    for (size_t i = 0; i < COUNT(wrong) && wrong[i] <= MIB; i++) {
        size_t power = 16;
        while (power < wrong[i])
            power *= 2;
        void *block = memalign(wrong[i], 100);
        CHECK(block != NULL && (uintptr_t)block % power == 0, "memalign(%zu) gave %p", wrong[i], block);
        block_fill(block, 100, i);
        free(block);
    }
}

FACT(memalign_refuses_an_alignment_that_no_power_of_two_reaches)
{
    for (volatile size_t huge = SIZE_MAX / 2 + 2; huge >= SIZE_MAX / 2 + 2; huge += SIZE_MAX / 16) {
        errno = 0;
        CHECK(memalign(huge, 64) == NULL && errno == EINVAL, "memalign(%#zx)", huge);
    }
}

// The GNU C library has taken any alignment until 2.37 and refuses a wrong one with EINVAL since 2.38.
FACT(aligned_alloc_rounds_a_wrong_alignment_up_or_refuses_it)
{
    for (size_t i = 0; i < COUNT(wrong) && wrong[i] <= MIB; i++) {
        bool power = wrong[i] != 0 && (wrong[i] & (wrong[i] - 1)) == 0;
        errno = 0;
        void *block = aligned_alloc(wrong[i], 100);
        CHECK(block != NULL || (!power && errno == EINVAL), "aligned_alloc(%zu)", wrong[i]);
        CHECK((uintptr_t)block % 16 == 0, "aligned_alloc(%zu) gave %p", wrong[i], block);
        free(block);
    }
}

// A size that is no multiple of the alignment was an error in C11 and is none since C17.
FACT(aligned_alloc_takes_a_size_that_is_no_multiple)
{
    for (size_t alignment = 8; alignment <= MIB; alignment *= 2) {
        void *block = aligned_alloc(alignment, alignment + 1);
        CHECK(block != NULL && (uintptr_t)block % alignment == 0, "aligned_alloc(%zu) gave %p", alignment, block);
        free(block);
    }
}
