// pool/check.h - the whole-heap validator: all self-help lives here. Production code never calls it.
#ifndef TARN_CHECK_H
#define TARN_CHECK_H

// Walks everything: pages and their lists, head lists, buckets, inboxes, the zones' sets, the extents, the counters.
// NULL if all is well, else the first thing that is not. All other threads must be quiet (outside the pool).
const char *check_pool(void);

#endif
