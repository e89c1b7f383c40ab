// tools/demangle.h - function names as their authors wrote them: C++, Rust and D.
#ifndef TARN_TOOLS_DEMANGLE_H
#define TARN_TOOLS_DEMANGLE_H

// The readable name, kept (see strings.h): without parameters, and without the suffixes that compilers give to clones.
const char *demangle(const char *linkage_name);

#endif
