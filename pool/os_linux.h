// pool/os_linux.h - the only door to the kernel's memory calls: what all files named os_* give. All sizes in bytes, all
// ranges multiples of the OS page. No function touches errno, allocates, or keeps a file descriptor. Thread safe.
#ifndef TARN_OS_LINUX_H
#define TARN_OS_LINUX_H

#include "bits.h"

// Reads the OS page size and the machine's memory. Before everything else; idempotent.
void os_start(void);
size_t os_page_bytes(void);
size_t os_memory_bytes(void);         // physical memory; at least 64 MiB is claimed
size_t os_address_limit_bytes(void);  // RLIMIT_AS, or SIZE_MAX
size_t os_address_space_bytes(void);  // addresses that there are for a process: 2^47 on x86-64, 2^39 to 2^52 on aarch64

// Reserves addresses without memory behind them (PROT_NONE), aligned to a power of two. NULL if refused.
void *os_reserve(size_t bytes, size_t alignment);
// The same, and it can be read from the start, as zero, until it is made usable. It counts against the limits of addresses and of
// locked memory alone.
void *os_reserve_readable(size_t bytes, size_t alignment);
// Makes a reserved range usable. Its memory reads as zero until written: what is in use already must not be part of it.
bool os_commit(void *start, size_t bytes);
// What is made usable from here on is locked, as far as the process may lock memory, and resident when it is used.
RARE void os_lock(bool locks);
// The opposite of os_commit: the range is as os_reserve returned it, with neither name nor advice. False: nothing has changed.
RARE bool os_withdraw(void *start, size_t bytes);
// A guard: nothing in the range can be read or written, and its memory is given back. Opened it is usable, and reads as
// zero. The range must have been usable once. False: nothing has changed.
RARE bool os_guard(void *start, size_t bytes);
RARE bool os_guard_open(void *start, size_t bytes);
// Whether each guard splits the mapping it lies in, so that it costs two of those that the kernel lets a process have.
// Known from the first os_guard on.
RARE bool os_guard_splits(void);
// Whether committed memory counts against the process (RLIMIT_DATA) or the machine before it is used.
RARE bool os_commit_counts(void);
// Whether the kernel's overcommit policy would grant so much memory at once: asked by mapping it and letting it go.
RARE bool os_would_grant(size_t bytes);
// os_reserve and os_commit in one.
void *os_map(size_t bytes, size_t alignment);
void os_unmap(void *start, size_t bytes);
// Gives the memory back, keeps the addresses: reads as zero afterwards. False if the kernel refuses.
bool os_purge(void *start, size_t bytes);
// Moves a mapping of old_bytes to new_start (inside a range that the caller owns), new_bytes long, page by page table
// entry, without copying, and maps fresh memory where it was. False: nothing has changed.
// *hole is set if the old range could not be mapped again: it is not the caller's any more.
RARE bool os_move(void *old_start, size_t old_bytes, void *new_start, size_t new_bytes, bool *hole);
// mremap wherever there is room. NULL if refused.
void *os_resize(void *start, size_t old_bytes, size_t new_bytes);
// Replaces a range that the caller owns by fresh memory: as os_purge, and its mapping can merge with its neighbours.
bool os_refresh(void *start, size_t bytes);
void os_no_huge_pages(void *start, size_t bytes);
// What is touched there from now on is backed by huge pages, where the kernel has some and all of one lies in the range.
void os_ask_huge_pages(void *start, size_t bytes);
// Backs an unused range of a huge page's size and alignment by one: resident then, and zero. again: it may have been
// touched before. False: there is none to be had, and the range is not resident and opts out.
RARE bool os_huge_page(char *start, size_t bytes, bool again);
// The same for a range that is partly in use: what it holds stays, the rest reads as zero. (Linux 6.1)
RARE bool os_huge_page_collapse(char *start, size_t bytes);
// Whether the kernel backs memory that asks for it by huge pages of so many bytes: a collapse would be done even where the
// machine's owner wants none.
RARE bool os_gives_huge_pages(size_t bytes);
RARE unsigned os_resident_percent(const char *start, size_t bytes);
// Shows `name` in /proc/PID/maps as [anon:name], where the kernel can.
void os_name(void *start, size_t bytes, const char *name);

// OS pages that are resident, one behind the other: from number `first` of those asked about up to, and without, `end`.
typedef struct os_run {
    uint16_t first, end;
} os_run_t;

#define OS_RUNS 1024u      // room for so many: a page of 4 KiB
#define OS_RUN_PAGES 4096u // no more are asked about at once: the kernel locks the address space for that, and 16 MiB take 30 us

// Fills the runs of so many OS pages, in order, and returns how many; what is not mapped is not resident, and before Linux 6.7
// nothing of what is mapped in part. *told: OS pages that they tell about, the first of those; at least one.
RARE unsigned os_residency(void *start, size_t pages, os_run_t *runs, size_t *told);

typedef struct os_range {
    uintptr_t start, end; // of whole OS pages
} os_range_t;

// Resident bytes of all of them: what an os_residency for each would tell, and cheaper.
RARE size_t os_resident_bytes(const os_range_t *ranges, unsigned count);

// Waits while *word == expected (or is woken, or 10 ms pass); wakes one waiter.
void os_wait(uint32_t *word, uint32_t expected);
void os_wake_one(uint32_t *word);
void os_yield(void);
// The calling thread's barrier is one for every other thread of the process, too: each of them has done all that it did before in
// its program's order, and sees all that the caller did before, whatever it does next. False: the kernel has no such call (Linux
// 4.14) or refuses it, or os_barrier_start was not called.
RARE bool os_barrier_threads(void);
// Before there is a second thread: after that it takes 10 to 20 ms.
void os_barrier_start(void);
uint64_t os_now_ms(void); // monotonic, coarse
uint64_t os_now_us(void); // the same clock, exact
// Nobody outside the process can guess it, as long as the kernel has random bits for us.
RARE uint64_t os_random(void);
int os_thread_id(void);
// Whether the thread of this process runs, or would if it had a processor. False: it sleeps, or nothing is known of it.
bool os_thread_runs(int thread);

#endif
