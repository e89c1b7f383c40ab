// preload/interrupted.h - what a signal interrupted.
#ifndef TARN_INTERRUPTED_H
#define TARN_INTERRUPTED_H

#include <stdint.h>
#include <ucontext.h>

// The instruction that the handler returns to; 0 where it is not known.
static inline uintptr_t interrupted_instruction(const ucontext_t *context)
{
#if defined __x86_64__
    return (uintptr_t)context->uc_mcontext.gregs[REG_RIP];
#elif defined __aarch64__
    return context->uc_mcontext.pc;
#else
    (void)context;
    return 0;
#endif
}

#endif
