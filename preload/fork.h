// preload/fork.h - fork: the pool's locks are taken before it and given back after it, in parent and child.
#ifndef TARN_FORK_H
#define TARN_FORK_H

// May allocate. From the constructor: prepare handlers run in reverse order, and those of libraries that come later
// may still allocate.
void fork_start(void);

#endif
