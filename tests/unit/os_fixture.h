// tests/unit/os_fixture.h - no call of pool/os_linux.h touches errno. For tests with Criterion.
#ifndef TARN_TEST_OS_FIXTURE_H
#define TARN_TEST_OS_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>

#include "os_linux.h"
#include "support.h"

static inline void os_begin(void)
{
    os_start();
    errno = 77;
}

static inline void os_end(void)
{
    support_ends_well(errno == 77 ? NULL : "errno has changed");
}

#endif
