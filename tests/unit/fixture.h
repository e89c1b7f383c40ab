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
    support_ends_well(check_pool());
}

// The same in the midst of a test.
static inline void require_whole(void)
{
    const char *wrong = check_pool();
    cr_assert_null(wrong, "%s", wrong);
}

// The survey's figures close, and agree with the kernel's.
static inline void require_survey(const survey_t *survey)
{
    char why[256] = "";
    cr_assert_eq(books_sum(survey), survey->heap_rss_bytes, "the sum of the parts is off by %lld",
                 (long long)(books_sum(survey) - survey->heap_rss_bytes));
    cr_assert(books_agree(survey, why, sizeof(why)), "%s", why);
}

// So do those of a survey now, and the pool is whole.
static inline void require_books(void)
{
    static survey_t survey;
    survey_take(&survey);
    require_survey(&survey);
    require_whole();
}

#endif
