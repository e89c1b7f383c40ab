// tests/unit/fixture.h - a pool that is started before each test, and found whole after it. For tests with Criterion.
#ifndef TARN_TEST_FIXTURE_H
#define TARN_TEST_FIXTURE_H

#include <criterion/criterion.h>

#include "books.h"
#include "check.h"
#include "support.h"

static inline void fixture_begin(void)
{
    cr_assert(pool_start());
}

static inline void fixture_end(void)
{
    const char *wrong = check_pool();
    cr_assert_null(wrong, "%s", wrong);
}

// The survey's figures agree with the kernel's, and the pool is whole.
static inline void require_books(void)
{
    static survey_t survey;
    char why[256] = "";
    survey_take(&survey);
    cr_assert(books_agree(&survey, why, sizeof(why)), "%s", why);
    fixture_end();
}

#endif
