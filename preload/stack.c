// preload/stack.c - see stack.h.
#include "stack.h"

#include <stdatomic.h>
#include <unwind.h>

#include "output.h"
#include "process.h"
#include "recorder_modules.h"
#include "text.h"
#include "writer.h"

#define LINE_BYTES 800

// From the first stack on: all write the same. [atomic] own_end: release behind the others, acquire before them
static _Atomic uintptr_t own_start, own_end;
static _Atomic uint64_t own_identity;

stack_own_t stack_own(void)
{
    uintptr_t end = atomic_load_explicit(&own_end, memory_order_acquire);
    if (end == 0) {
        module_seen_t seen = module_of((uintptr_t)stack_own);
        atomic_store_explicit(&own_start, seen.start, memory_order_relaxed);
        atomic_store_explicit(&own_identity, seen.identity, memory_order_relaxed);
        atomic_store_explicit(&own_end, end = seen.end, memory_order_release);
    }
    return (stack_own_t){atomic_load_explicit(&own_start, memory_order_relaxed), end,
                         atomic_load_explicit(&own_identity, memory_order_relaxed)};
}

static bool is_ours(uintptr_t address)
{
    stack_own_t own = stack_own();
    return address >= own.start && address < own.end;
}

// Every address is that of a return, so that readers may look up the byte before; where a signal interrupted, it is
// the instruction itself.
static RARE _Unwind_Reason_Code frame_visit(struct _Unwind_Context *context, void *argument)
{
    stack_walk_t *walk = argument;
    int is_instruction = 0;
    uintptr_t address = _Unwind_GetIPInfo(context, &is_instruction);
    if (address == 0)
        return _URC_END_OF_STACK;
    if (!walk->outside && is_ours(address))
        return _URC_NO_REASON;
    walk->outside = true;
    if (walk->depth == walk->most) {
        walk->cut = true;
        return _URC_END_OF_STACK;
    }
    walk->address[walk->depth++] = address + (is_instruction != 0);
    return _URC_NO_REASON;
}

void stack_walk(stack_walk_t *walk)
{
    if (module_find_is_there()) // the unwinder aborts where it finds not even its caller
        _Unwind_Backtrace(frame_visit, walk);
}

static void frame_write(writer_t *writer, uintptr_t address)
{
    module_seen_t module = module_of(address);
    const char *name = module.path[0] != '\0' ? module.path : process.name; // the loader has none for the program
    for (const char *at = name; *at != '\0'; at++)
        if (*at == '/')
            name = at + 1;
    if (module.end == 0)
        writer_format(writer, "0x%zx", (size_t)address);
    else
        writer_format(writer, "%s+0x%zx", name, (size_t)(address - module.bias));
}

void stack_tell(const char *what, uint32_t thread, const uintptr_t *address, uint32_t depth)
{
    char text[LINE_BYTES];
    writer_t writer = WRITER(text);
    writer_format(&writer, thread != 0 ? "  %s by thread %u: " : "  %s: ", what, thread);
    for (uint32_t i = 0; i < depth && !writer.truncated; i++) {
        writer_text(&writer, i == 0 ? "" : " < ");
        frame_write(&writer, address[i] - 1);
    }
    output_line("%s%s", text, depth == 0 ? "no stack is known" : "");
}
