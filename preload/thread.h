// preload/thread.h - the end of a thread: its heap is given up, for the next thread to take over.
#ifndef TARN_THREAD_H
#define TARN_THREAD_H

// Allocates nothing, and has to come before any allocation: one of the first keys needs no memory in any thread.
void thread_start(void);

#endif
