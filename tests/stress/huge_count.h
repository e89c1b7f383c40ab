// tests/stress/huge_count.h - how often the pool got or asked for huge pages, counted in front of os_linux.c (-Wl,--wrap).
#ifndef TARN_TEST_HUGE_COUNT_H
#define TARN_TEST_HUGE_COUNT_H

#include <stdatomic.h>

typedef struct huge_count {
    _Atomic unsigned regions, collapsed; // that got one when they were new, or in use
    _Atomic unsigned large;              // blocks that asked
} huge_count_t;

extern huge_count_t huge_count;

#endif
