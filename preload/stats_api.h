// preload/stats_api.h - mallinfo and its kin are in malloc.h; this is for fork.c.
#ifndef TARN_STATS_API_H
#define TARN_STATS_API_H

// In the child of a fork: the thread that may have been asking is not here.
void stats_api_forked(void);

#endif
