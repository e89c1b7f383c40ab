// tests/misuse/faults.h - what the files of faults share: how one is joined to the others, and says what it misuses.
#ifndef TARN_TEST_FAULTS_H
#define TARN_TEST_FAULTS_H

#include "../conformance/check.h"

typedef struct fault {
    const char *name;
    void (*commit)(void);
    struct fault *next;
} fault_t;

extern fault_t *faults;

#define FAULT(fault_name)                                                                                              \
    static void fault_name(void);                                                                                      \
    __attribute__((constructor)) static void fault_name##_join(void)                                                   \
    {                                                                                                                  \
        static fault_t fault = {#fault_name, fault_name, NULL};                                                        \
        fault.next = faults;                                                                                           \
        faults = &fault;                                                                                               \
    }                                                                                                                  \
    static void fault_name(void)

// The same address; the compiler would warn of the fault, had it seen where it comes from.
void *hide(const void *address);
// Prints the address that will be misused, the block's, which is live as yet. Returns it.
void *announce(void *block);
// One that is so many bytes into the block.
void *announce_within(void *block, size_t offset);
// One that belongs to no block.
void *announce_foreign(const void *address);
// A block among live ones of its size, so that its page stays the main thread's.
void *announced_with_neighbours(size_t size_bytes);

// Memory that is no block's.
extern char global[64];
void *foreign_mapping(void); // 1 MiB

#endif
