// preload/fork.h - fork: the pool's locks are taken before it and given back after it, in parent and child.
#ifndef TARN_FORK_H
#define TARN_FORK_H

// Registers the handlers, once. For that the C library reads a constant of its own, which makes 64 KiB of it resident: so it waits
// until the pool starts, where it can. Until then there is nothing to guard.
void fork_start(void);

// From the constructor: at once where it cannot wait.
void fork_start_early(void);

// A child of a fork before that has not been told. It is told when its pool starts, or here.
void fork_catch_up(void);

#endif
