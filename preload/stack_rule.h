// preload/stack_rule.h - how one frame is left, as the unwind tables say, in a word. x86-64; elsewhere there are none.
//
//   63        32 31               4   3      2     1..0
//   | bp_offset | cfa_offset >> 3 | saves | base | kind |     CFA = (base ? bp : sp) + cfa_offset
//
//   the return address stands at CFA - 8, the caller's sp is CFA, its bp is at CFA + bp_offset, or as it was
//
// Most code is like that; what is not (signal frames, stacks that were realigned, expressions) is RULE_HARD, and left to
// the unwinder. Pure: reads the tables, and notes where.
#ifndef TARN_STACK_RULE_H
#define TARN_STACK_RULE_H

#include <stdbool.h>
#include <stdint.h>

#include "../pool/bits.h"

#if defined(__x86_64__) && defined(__LP64__)
#define STACK_RULES true
#else
#define STACK_RULES false // none are known
#endif

typedef enum rule_kind {
    RULE_NONE = 0, // not known
    RULE_STEP = 1,
    RULE_END = 2, // the outermost frame
    RULE_HARD = 3,
} rule_kind_t;

typedef struct stack_rule {
    uint64_t word;
} stack_rule_t;

static inline rule_kind_t rule_kind(stack_rule_t rule)
{
    return rule.word & 3;
}

static inline bool rule_base_is_bp(stack_rule_t rule)
{
    return rule.word >> 2 & 1;
}

static inline bool rule_saves_bp(stack_rule_t rule)
{
    return rule.word >> 3 & 1;
}

static inline uint64_t rule_cfa_offset(stack_rule_t rule)
{
    return (uint32_t)rule.word >> 4 << 3;
}

static inline int64_t rule_bp_offset(stack_rule_t rule)
{
    return (int32_t)(rule.word >> 32);
}

// Of the frame that a call returns to at this address, whose module has this index of its tables (module_seen_t); 0: it is
// looked for, and what was read is not noted (stack_tables.h). Never RULE_NONE.
RARE stack_rule_t stack_rule_of(uintptr_t return_address, uintptr_t tables);

#endif
