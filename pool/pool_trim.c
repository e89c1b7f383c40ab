// pool/pool_trim.c - see pool_trim.h.
#include "pool_trim.h"

#include "budget.h"
#include "os_linux.h"
#include "zone_leave.h"
#include "zone_purge.h"
#include "zone_withdraw.h"

bool pool_trim_all(heap_t *heap)
{
    size_t given = heap == NULL ? 0 : heap_purge_idle(heap, SIZE_MAX);
    given += heap_orphans_purge();
    given += zone_purge(SIZE_MAX);
    return (given += large_purge(SIZE_MAX)) != 0;
}

void pool_trim_withdraw(heap_t *heap)
{
    if (heap != NULL)
        heap_flush(heap);
    pool_trim_all(heap);
    if (!heap_one_by_one) // the tables of exact sizes and of bits are made for the zones that there are
        zone_leave_empty();
    if (os_commit_counts()) { // else it would cost mappings for nothing
        zone_withdraw();
        large_withdraw();
    }
}

bool pool_trim(size_t keep_bytes)
{
    size_t kept, given = 0;
    if (heap_self != &heap_none) {
        heap_flush(heap_self);
        given = heap_purge_idle(heap_self, SIZE_MAX);
    }
    given += heap_orphans_purge();
    while ((kept = budget_retained()) > keep_bytes) {
        size_t purged = zone_purge(kept - keep_bytes);
        purged += large_purge(kept - keep_bytes);
        if (purged == 0)
            break;
        given += purged;
    }
    return given != 0;
}

void pool_withdraw(void)
{
    if (!pool_start()) // what is reserved afterwards is locked, and counted whole
        return;
    pool_trim(0);
    zone_withdraw();
    large_withdraw();
}

void pool_lock(bool locks)
{
    os_lock(locks);
}
