// pool/zone_leave.c - see zone_leave.h.
#include "zone_leave.h"

#include "zone_sets.h"

static _Atomic unsigned zones_staying; // how many threads are between zone_stay_begin and zone_stay_end

// Nothing of it is used, so no pointer of the program's leads here.
static size_t zone_leave(zone_t *zone)
{
    size_t bytes = (size_t)zone->bound << zone->shift;
    if (zone->base == NULL || zone->clean.count + zone->guards != zone->fresh)
        return 0;
    zone_remove(zone);
    return bytes;
}

size_t zone_leave_empty(void)
{
    size_t total = 0;
    if (!zone_sets_lock())
        return 0;
    if (zones_staying == 0)
        for (unsigned i = (unsigned)zone_first_count; i < zone_count(); i++)
            total += zone_leave(&zones[i]);
    lock_give(&zone_lock);
    return total;
}

static void staying_add(unsigned count)
{
    bool locked = zone_sets_lock(); // a zone being left is left whole before, or after
    zones_staying += count;
    if (locked)
        lock_give(&zone_lock);
}

void zone_stay_begin(void)
{
    staying_add(1);
}

void zone_stay_end(void)
{
    staying_add(-1u);
}
