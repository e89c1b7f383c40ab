// tools/symbols.h - from an address in a program or library to functions, files and lines.
//
//   module   one ELF file, known by its path and build-id: the file itself, else its separate debug file
//   frame    one function of the source. An address can have several: f inlined into g inlined into h
//
// A file that has changed since (another build-id) is not used: wrong names are worse than none.
#ifndef TARN_TOOLS_SYMBOLS_H
#define TARN_TOOLS_SYMBOLS_H

#include <stddef.h>
#include <stdint.h>

// All texts are kept (see strings.h).
typedef struct symbols_frame {
    const char *function; // NULL: unknown
    const char *file;     // as the compiler was given it, or absolute; NULL: unknown
    unsigned line;        // 0: unknown
} symbols_frame_t;

enum { SYMBOLS_FRAMES_MAX = 32 }; // deeper inlining than compilers do by default

typedef enum symbols_source {
    SYMBOLS_NONE,    // no file: offsets only
    SYMBOLS_CHANGED, // the file there is another one, and there is no debug file: offsets only
    SYMBOLS_TABLE,   // a symbol table: functions only
    SYMBOLS_DEBUG,   // debug information
} symbols_source_t;

typedef struct symbols_module symbols_module_t;

// `build_id` may be empty: then the file at `path` is taken as it is. Never NULL.
symbols_module_t *symbols_open(const char *path, const uint8_t *build_id, size_t build_id_bytes);
void symbols_close(symbols_module_t *module);

symbols_source_t symbols_source(const symbols_module_t *module);

// The frames at `offset`, an address as the ELF file numbers them (run-time address less the load bias), innermost
// first. Returns how many, at most SYMBOLS_FRAMES_MAX; 0 when nothing is known.
unsigned symbols_find(symbols_module_t *module, uint64_t offset, symbols_frame_t frames[SYMBOLS_FRAMES_MAX]);

#endif
