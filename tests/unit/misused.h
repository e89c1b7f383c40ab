// tests/unit/misused.h - what was told of a caller's mistake. For tests with Criterion.
#ifndef TARN_TEST_MISUSED_H
#define TARN_TEST_MISUSED_H

#include <criterion/criterion.h>

#include "support.h"

// One mistake has been told since the last call, and it was this one.
static inline void misused(const char *function, const void *address, const char *what)
{
    cr_assert_eq(support_misuses, 1, "%u reports", support_misuses);
    cr_assert_str_eq(support_misuse.function, function);
    cr_assert_eq(support_misuse.address, address);
    cr_assert_str_eq(support_misuse.what, what);
    support_misuses = 0;
}

#endif
