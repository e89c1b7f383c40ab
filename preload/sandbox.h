// preload/sandbox.h - a program that filters its own system calls (seccomp) is not ended by those of the library.
//
// prctl and syscall are seen on their way to the C library, for the filters that they set; ../pool/kernel_filter.h asks
// those before each call of ours. A filter that is set by the bare instruction is not known.
#ifndef TARN_SANDBOX_H
#define TARN_SANDBOX_H

// Looks up the C library's functions, since a program may call these two in a signal handler, or in a child of fork.
void sandbox_start(void);

#endif
