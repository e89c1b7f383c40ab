// tests/stress/refusals.c - see refusals.h.
#include "refusals.h"

#include <stdint.h>
#include <sys/mman.h>

refusals_t refusals;
size_t refusals_address_limit = SIZE_MAX;
bool refusals_commit_counts = true;
_Atomic unsigned refusals_asked, refusals_refused;

static bool is_due(unsigned number)
{
    if (refusals.nth == 0)
        return number % refusals.every == 0;
    return refusals.onwards ? number >= refusals.nth : number == refusals.nth;
}

static bool fails(call_t call)
{
    if ((refusals.calls & call) == 0 || !is_due(atomic_fetch_add(&refusals_asked, 1) + 1))
        return false;
    atomic_fetch_add(&refusals_refused, 1);
    return true;
}

size_t __wrap_os_address_limit_bytes(void);
size_t __wrap_os_address_limit_bytes(void)
{
    return refusals_address_limit;
}

bool __wrap_os_commit_counts(void);
bool __wrap_os_commit_counts(void)
{
    return refusals_commit_counts;
}

void *__real_os_reserve(size_t bytes, size_t alignment);
void *__wrap_os_reserve(size_t bytes, size_t alignment);
void *__real_os_reserve_readable(size_t bytes, size_t alignment);
void *__wrap_os_reserve_readable(size_t bytes, size_t alignment);
bool __real_os_commit(void *start, size_t bytes);
bool __wrap_os_commit(void *start, size_t bytes);
void *__real_os_map(size_t bytes, size_t alignment);
void *__wrap_os_map(size_t bytes, size_t alignment);
bool __real_os_purge(void *start, size_t bytes);
bool __wrap_os_purge(void *start, size_t bytes);
bool __real_os_move(void *old_start, size_t old_bytes, void *new_start, size_t new_bytes, bool *hole);
bool __wrap_os_move(void *old_start, size_t old_bytes, void *new_start, size_t new_bytes, bool *hole);
void *__real_os_resize(void *start, size_t old_bytes, size_t new_bytes);
void *__wrap_os_resize(void *start, size_t old_bytes, size_t new_bytes);
bool __real_os_refresh(void *start, size_t bytes);
bool __wrap_os_refresh(void *start, size_t bytes);
bool __real_os_withdraw(void *start, size_t bytes);
bool __wrap_os_withdraw(void *start, size_t bytes);

void *__wrap_os_reserve(size_t bytes, size_t alignment)
{
    return fails(CALL_RESERVE) ? NULL : __real_os_reserve(bytes, alignment);
}

void *__wrap_os_reserve_readable(size_t bytes, size_t alignment)
{
    return fails(CALL_RESERVE) ? NULL : __real_os_reserve_readable(bytes, alignment);
}

bool __wrap_os_commit(void *start, size_t bytes)
{
    return !fails(CALL_COMMIT) && __real_os_commit(start, bytes);
}

void *__wrap_os_map(size_t bytes, size_t alignment)
{
    return fails(CALL_MAP) ? NULL : __real_os_map(bytes, alignment);
}

bool __wrap_os_purge(void *start, size_t bytes)
{
    return !fails(CALL_PURGE) && __real_os_purge(start, bytes);
}

bool __wrap_os_move(void *old_start, size_t old_bytes, void *new_start, size_t new_bytes, bool *hole)
{
    if (fails(CALL_MOVE) || !__real_os_move(old_start, old_bytes, new_start, new_bytes, hole))
        return false;
    if (!*hole && fails(CALL_HOLE)) {
        mmap(old_start, old_bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
             0); // whoever touches it dies
        *hole = true;
    }
    return true;
}

void *__wrap_os_resize(void *start, size_t old_bytes, size_t new_bytes)
{
    return fails(CALL_RESIZE) ? NULL : __real_os_resize(start, old_bytes, new_bytes);
}

bool __wrap_os_refresh(void *start, size_t bytes)
{
    return !fails(CALL_REFRESH) && __real_os_refresh(start, bytes);
}

bool __wrap_os_withdraw(void *start, size_t bytes)
{
    return !fails(CALL_WITHDRAW) && __real_os_withdraw(start, bytes);
}
