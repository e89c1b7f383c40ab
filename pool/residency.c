// pool/residency.c - see residency.h.
#include "residency.h"

static void run_set(residency_t *residency, unsigned at)
{
    size_t os_page = os_page_bytes();
    residency->at = at;
    residency->run_start = residency->run_end = residency->end;
    if (at == residency->count)
        return;
    residency->run_start = residency->start + residency->runs[at].first * os_page;
    residency->run_end = residency->start + residency->runs[at].end * os_page;
}

static void load(residency_t *residency, uintptr_t address, uintptr_t most)
{
    size_t os_page = os_page_bytes(), told = 0;
    residency->start = align_down(address, os_page);
    size_t pages = (align_up(most, os_page) - residency->start) / os_page;
    residency->count = os_residency((void *)residency->start, pages, residency->runs, &told);
    residency->end = residency->start + told * os_page;
    run_set(residency, 0);
}

void residency_forget(residency_t *residency)
{
    residency->start = residency->end = residency->run_start = residency->run_end = 0;
    residency->at = residency->count = 0;
}

// Whoever asks went back.
static bool is_within_one_before(const residency_t *residency, uintptr_t address)
{
    return residency->at != 0 &&
           address < residency->start + residency->runs[residency->at - 1].end * os_page_bytes();
}

// Of from..to, which the runs tell about. A run behind both stays where it is.
static size_t told_bytes(residency_t *residency, uintptr_t from, uintptr_t to)
{
    if (unlikely(from < residency->run_start && is_within_one_before(residency, from)))
        run_set(residency, 0);
    while (residency->run_end <= from && residency->at < residency->count)
        run_set(residency, residency->at + 1);
    size_t bytes = 0;
    while (residency->run_start < to) {
        bytes += size_min(residency->run_end, to) - (residency->run_start > from ? residency->run_start : from);
        if (residency->run_end >= to)
            break;
        run_set(residency, residency->at + 1);
    }
    return bytes;
}

size_t residency_bytes(residency_t *residency, uintptr_t from, uintptr_t to, uintptr_t most)
{
    if (likely(residency_has(residency, from, to) && from <= to))
        return to - from;
    size_t bytes = 0;
    for (uintptr_t at = from, next; at < to; at = next) {
        if (at < residency->start || at >= residency->end)
            load(residency, at, size_max(most, to));
        next = size_min(to, residency->end);
        bytes += told_bytes(residency, at, next);
    }
    return bytes;
}
