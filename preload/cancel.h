// preload/cancel.h - where a thread that can be cancelled at any instruction must not end: see cancel.c.
#ifndef TARN_CANCEL_H
#define TARN_CANCEL_H

// Before main: finds the C library's functions, for which later calls would need the loader's lock.
void cancel_start(void);
// From here to cancel_release() the calling thread does not end, wherever it is: it has locks that outlive the call. Pairs
// may be nested. For fork; in the child, too.
void cancel_hold(void);
void cancel_release(void);
// The calling thread is not cancelled until its state is restored: for calls of the C library that are cancellation points.
int cancel_disable(void);
void cancel_restore(int state);
// In the child: its thread has another number, and no timer.
void cancel_forked(void);

#endif
