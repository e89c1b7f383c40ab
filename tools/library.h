// tools/library.h - where libtarn.so is, and the environment that puts it under a program.
#ifndef TARN_TOOLS_LIBRARY_H
#define TARN_TOOLS_LIBRARY_H

// Finds libtarn.so: `wanted` if given (--library), else $TARN_LIBRARY, else the build tree this executable stands in,
// else where it was installed. Returns its absolute path, or NULL after one line on stderr.
char *library_find(const char *who, const char *wanted);

// Puts `library` first in LD_PRELOAD, before what is there already. Returns 0, or -1 after one line on stderr.
int library_preload(const char *who, const char *library);

#endif
