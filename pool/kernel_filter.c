// pool/kernel_filter.c - see kernel_filter.h. A filter is a program of the classic packet filter; the kernel has checked it,
// or will refuse it, so nothing here relies on its being whole.
#include "kernel_filter.h"

#include <linux/audit.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>

#include "bits.h"

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#define ARCHITECTURE 0 // no filter is read
#endif

// Two of the longest that the kernel takes; a browser's has a few hundred instructions.
#define KEPT_MOST (2u * BPF_MAXINSNS)
#define FILTERS_MOST 63u

uint32_t kernel_filters;

static RARE_DATA struct sock_filter kept[KEPT_MOST];
static RARE_DATA uint32_t ends[FILTERS_MOST]; // of each filter in `kept`
static uint32_t filters;                      // [atomic] how many; written behind what it counts
static uint32_t beyond;                       // filters that found no room
static bool is_strict;

// Sets of filters, a bit each, and strict mode as one more: those of all threads, and those of the calling one, which a thread that
// begins on the same stack later does not have.
#define ALL_FILTERS_BITS 64u
_Static_assert(FILTERS_MOST < ALL_FILTERS_BITS, "a bit is left for strict mode");
static const uint64_t strict_bit = (uint64_t)1 << FILTERS_MOST;
static uint64_t of_all; // [atomic]
static __thread uint64_t of_thread __attribute__((tls_model("initial-exec")));

// --- the filter's machine ----------------------------------------------------------------------------------------------

typedef struct machine {
    uint32_t accumulator, index, memory[BPF_MEMWORDS];
    const struct seccomp_data *call;
} machine_t;

static uint32_t word_of_call(const machine_t *machine, uint32_t offset)
{
    uint32_t word = 0;
    if (offset <= sizeof *machine->call - sizeof word)
        memcpy(&word, (const char *)machine->call + offset, sizeof word);
    return word;
}

static RARE uint32_t load(const machine_t *machine, const struct sock_filter *step)
{
    switch (BPF_MODE(step->code)) {
    case BPF_IMM:
        return step->k;
    case BPF_ABS:
        return word_of_call(machine, step->k);
    case BPF_MEM:
        return machine->memory[step->k % BPF_MEMWORDS];
    default: // BPF_LEN
        return sizeof *machine->call;
    }
}

static RARE uint32_t compute(uint32_t left, const struct sock_filter *step, uint32_t right)
{
    switch (BPF_OP(step->code)) {
    case BPF_ADD:
        return left + right;
    case BPF_SUB:
        return left - right;
    case BPF_MUL:
        return left * right;
    case BPF_DIV:
        return right == 0 ? 0 : left / right;
    case BPF_OR:
        return left | right;
    case BPF_AND:
        return left & right;
    case BPF_XOR:
        return left ^ right;
    case BPF_LSH:
        return right < 32 ? left << right : 0;
    case BPF_RSH:
        return right < 32 ? left >> right : 0;
    default: // BPF_NEG
        return -left;
    }
}

// How many steps are left out behind this one.
static RARE uint32_t jump(uint32_t left, const struct sock_filter *step, uint32_t right)
{
    bool holds;
    switch (BPF_OP(step->code)) {
    case BPF_JEQ:
        holds = left == right;
        break;
    case BPF_JGT:
        holds = left > right;
        break;
    case BPF_JGE:
        holds = left >= right;
        break;
    case BPF_JSET:
        holds = (left & right) != 0;
        break;
    default: // BPF_JA
        return step->k;
    }
    return holds ? step->jt : step->jf;
}

static RARE void act(machine_t *machine, const struct sock_filter *step, uint32_t operand)
{
    switch (BPF_CLASS(step->code)) {
    case BPF_LD:
        machine->accumulator = load(machine, step);
        break;
    case BPF_LDX:
        machine->index = load(machine, step);
        break;
    case BPF_ST:
        machine->memory[step->k % BPF_MEMWORDS] = machine->accumulator;
        break;
    case BPF_STX:
        machine->memory[step->k % BPF_MEMWORDS] = machine->index;
        break;
    case BPF_ALU:
        machine->accumulator = compute(machine->accumulator, step, operand);
        break;
    case BPF_MISC:
        if (BPF_MISCOP(step->code) == BPF_TAX)
            machine->index = machine->accumulator;
        else
            machine->accumulator = machine->index;
        break;
    default:
        break;
    }
}

// What the filter says of the call: SECCOMP_RET_...
static RARE uint32_t run(const struct sock_filter *step, const struct sock_filter *end, const struct seccomp_data *call)
{
    machine_t machine = {.call = call};
    for (; step < end; step++) {
        uint32_t operand = BPF_SRC(step->code) == BPF_X ? machine.index : step->k;
        if (BPF_CLASS(step->code) == BPF_RET)
            return BPF_RVAL(step->code) == BPF_A ? machine.accumulator : step->k;
        if (BPF_CLASS(step->code) == BPF_JMP)
            step += size_min(jump(machine.accumulator, step, operand), (size_t)(end - step) - 1);
        else
            act(&machine, step, operand);
    }
    return SECCOMP_RET_KILL_PROCESS;
}

// --- the question --------------------------------------------------------------------------------------------------------

static bool is_fatal(uint32_t answer)
{
    uint32_t action = answer & SECCOMP_RET_ACTION_FULL;
    return action == SECCOMP_RET_KILL_PROCESS || action == SECCOMP_RET_KILL_THREAD || action == SECCOMP_RET_TRAP;
}

// What the C library's malloc calls: all that is tried where the filters are not known. A thread is refused none of it for the sake
// of another one's filter: its malloc would fail.
static bool is_usual(long number)
{
    return number == SYS_mmap || number == SYS_munmap || number == SYS_mremap || number == SYS_mprotect ||
           number == SYS_madvise || number == SYS_futex || number == SYS_write;
}

static bool is_strictly_allowed(long number)
{
    return number == SYS_read || number == SYS_write || number == SYS_exit || number == SYS_rt_sigreturn;
}

RARE bool kernel_filter_kills(long number, long a, long b, long c, long d, long e, long f)
{
    const struct seccomp_data call = {.nr = (int)number, .arch = ARCHITECTURE,
                                      .args = {(uint64_t)a, (uint64_t)b, (uint64_t)c, (uint64_t)d, (uint64_t)e, (uint64_t)f}};
    uint64_t asked = is_usual(number) ? __atomic_load_n(&of_all, __ATOMIC_ACQUIRE) | of_thread : UINT64_MAX;
    if ((is_strict && (asked & strict_bit) && !is_strictly_allowed(number)) || (beyond != 0 && !is_usual(number)))
        return true;
    uint32_t count = __atomic_load_n(&filters, __ATOMIC_ACQUIRE), start = 0;
    for (uint32_t i = 0; i < count; start = ends[i++])
        if ((asked >> i & 1) && is_fatal(run(kept + start, kept + ends[i], &call)))
            return true;
    return false;
}

// --- what is known -----------------------------------------------------------------------------------------------------

static void holds(uint64_t bit, bool for_all)
{
    of_thread |= bit;
    if (for_all)
        __atomic_store_n(&of_all, of_all | bit, __ATOMIC_RELEASE);
}

// One that the kernel would not take is not kept.
static bool is_readable(const struct sock_fprog *filter)
{
    return ARCHITECTURE != 0 && filter != NULL && filter->len != 0 && filter->len <= BPF_MAXINSNS;
}

static uint32_t kept_count(void)
{
    return filters == 0 ? 0 : ends[filters - 1];
}

static void count_tell(void)
{
    __atomic_store_n(&kernel_filters, kept_count() + beyond + is_strict, __ATOMIC_RELEASE);
}

// Two threads that set filters at the same time, each for itself, are not expected. Once one found no room no other is kept, so that
// the last one is known.
RARE void kernel_filter_add(const struct sock_fprog *filter, bool for_all)
{
    if (!is_readable(filter))
        return;
    uint32_t start = kept_count();
    if (beyond != 0 || filters == FILTERS_MOST || filter->len > KEPT_MOST - start) {
        beyond++;
    } else {
        memcpy(kept + start, filter->filter, filter->len * sizeof *kept);
        ends[filters] = start + filter->len;
        holds((uint64_t)1 << filters, for_all);
        __atomic_store_n(&filters, filters + 1, __ATOMIC_RELEASE);
    }
    count_tell();
}

RARE void kernel_filter_drop(const struct sock_fprog *filter)
{
    if (!is_readable(filter))
        return;
    if (beyond != 0) {
        beyond--;
    } else if (filters != 0) {
        __atomic_store_n(&filters, filters - 1, __ATOMIC_RELEASE);
        of_thread &= ~((uint64_t)1 << filters);
        __atomic_store_n(&of_all, of_all & ~((uint64_t)1 << filters), __ATOMIC_RELEASE);
    }
    count_tell();
}

RARE void kernel_filter_strict(bool for_all)
{
    holds(strict_bit, for_all);
    is_strict = true;
    count_tell();
}
