// pool/bits.h - pure helpers on integers and words of bits. Knows nothing of the heap.
#ifndef TARN_BITS_H
#define TARN_BITS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define likely(condition) __builtin_expect(!!(condition), 1)
#define unlikely(condition) __builtin_expect(!!(condition), 0)

// For variables of the fast path: reached without the global offset table, since no other library has a say in them.
#define POOL_LOCAL __attribute__((visibility("hidden")))

// For functions that read what another thread may be writing, where any answer of the last moment will do; each says why.
// ThreadSanitizer passes over their own reads. A suppression by their names is not enough: it would have to know the
// reader's stack, and forgets it where that thread goes on for long before the other one writes.
#ifdef __SANITIZE_THREAD__
#define GLANCES __attribute__((noipa, no_sanitize("thread"))) // or the reads are moved into its caller
#else
#define GLANCES
#endif

// Functions and data that a program needs seldom, or at its end alone: compiled for size, and apart from the others in
// libtarn.so, so that they are not mapped along with them (preload/libtarn.ld).
#define RARE __attribute__((cold))
#define RARE_DATA __attribute__((section(".bss.rare")))
#define REPORT_DATA(part) __attribute__((section(".bss.report." part))) // the same, of which each report writes the first bytes

// Functions that small programs do not come to, of callers that each program comes to: never inlined, so that preload/libtarn.ld
// can put them where small programs touch nothing.
#define APART __attribute__((noinline))

// Index of the lowest / highest set bit. word must not be 0.
static inline unsigned bits_lowest(uint64_t word)
{
    return (unsigned)__builtin_ctzll(word);
}

static inline unsigned bits_highest(uint64_t word)
{
    return 63u ^ (unsigned)__builtin_clzll(word); // not a difference: so it is one instruction
}

// The word turned to the right: bit `count` % 64 becomes bit 0. One instruction.
static inline uint64_t bits_turn(uint64_t word, unsigned count)
{
    return word >> (count % 64) | word << (-count % 64);
}

// Set bits in word, by the parallel sums of Hacker's Delight, 5-1: the baseline x86-64 has no instruction for it, and
// the compiler's substitute is a call with a table.
static inline unsigned bits_count(uint64_t word)
{
    word -= (word >> 1) & 0x5555555555555555u;
    word = (word & 0x3333333333333333u) + ((word >> 2) & 0x3333333333333333u);
    word = (word + (word >> 4)) & 0x0f0f0f0f0f0f0f0fu;
    return (unsigned)((word * 0x0101010101010101u) >> 56);
}

// The lowest `count` bits set; count <= 64.
static inline uint64_t bits_mask(unsigned count)
{
    return count >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << count) - 1;
}

// alignment must be a power of two.
static inline size_t align_down(size_t value, size_t alignment)
{
    return value & ~(alignment - 1);
}

static inline size_t align_up(size_t value, size_t alignment)
{
    return align_down(value + alignment - 1, alignment);
}

static inline bool is_power_of_two(size_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static inline size_t size_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static inline size_t size_max(size_t a, size_t b)
{
    return a > b ? a : b;
}

// Counts down what the calling thread alone writes and others read: who sees the new value sees all that was written before. On
// x86-64 each store is such a one, and so it is one instruction.
static inline void bits_count_down(uint32_t *counter)
{
#ifdef __x86_64__
    atomic_signal_fence(memory_order_seq_cst);
    --*counter;
#else
    __atomic_store_n(counter, *counter - 1, __ATOMIC_RELEASE);
#endif
}

#endif
