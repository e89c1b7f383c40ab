// preload/limit.c - limit=BYTES is reached: said once, with who holds what.
#include "../pool/pool.h"
#include "exit_report.h"

void pool_hook_limit(size_t size_bytes)
{
    exit_report_at_limit(size_bytes);
}
