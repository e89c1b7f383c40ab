// tarn.h - what a program may call that runs under libtarn.so.
//
// Nothing has to be called, and no program has to link libtarn.so: one that calls these can declare them weak,
//
//     #pragma weak tarn_report
//     if (tarn_report)
//         tarn_report();
//
// and works without the library, too.
#ifndef TARN_H
#define TARN_H

#ifdef __cplusplus
extern "C" {
#endif

// The version of the library that is loaded, "0.1.0".
const char *tarn_version(void);

// Writes the balance sheet as of now, in the format and to the place that TARN_OPTIONS names: stats_file, if there is
// one, else standard error. Returns 0, or -1 with errno: ENOTSUP if stats=off, EBUSY if another thread is writing one,
// EFAULT if the heap is damaged, else what went wrong with the file. Thread safe; not to be called in signal handlers.
int tarn_report(void);

#ifdef __cplusplus
}
#endif

#endif
