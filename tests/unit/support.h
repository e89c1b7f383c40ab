// tests/unit/support.h - what the tests of pool/ share: the hooks, threads, chance.
#ifndef TARN_TEST_SUPPORT_H
#define TARN_TEST_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pool.h"

// What the pool's boot hook will put into the options; to be set before the pool's first use.
extern bool support_exact;
extern unsigned support_harden;
extern unsigned support_trap_every; // 0: none, whatever support_harden says
extern size_t support_limit_bytes;
extern size_t support_sample_bytes;
extern uint64_t support_sample_seed;
extern huge_mode_t support_huge;

// The calls of the misuse hook so far, and the last one.
extern unsigned support_misuses;
extern pool_misuse_t support_misuse;

// Runs function(argument) in a thread of its own, which then ends with pool_thread_exit, and waits for it.
void support_thread(void (*function)(void *), void *argument);
// Runs it in a child of fork, through the pool's fork functions. Returns the status that waitpid gives.
int support_fork(void (*function)(void *), void *argument);

uint64_t support_random(uint64_t *state);
// Blocks from malloc until the class's head list is empty; returns how many. They are put at blocks[].
unsigned support_drain_head(size_t size_bytes, void **blocks, unsigned most);
// Whether a byte can be written there: asked of the kernel, which changes it to 0.
bool support_writable(void *address);
// For teardowns: what is wrong after a test, or NULL. Ends the process by a signal: an assertion that fails in a teardown is
// printed by Criterion, and the test counts as passed.
void support_ends_well(const char *wrong);
// The page a small or medium block is in.
page_t *support_page(const void *block);

#endif
