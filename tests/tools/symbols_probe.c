// tests/tools/symbols_probe.c - symbols_probe FILE BUILD_ID OFFSET...: what tools/symbols.c knows, one line a frame.
//
// BUILD_ID is hex or "-". Each OFFSET ends with a line "--".
#include "../../tools/symbols.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t hex_read(const char *hex, uint8_t *bytes, size_t room)
{
    size_t count = 0;
    for (unsigned byte; count < room && sscanf(hex + 2 * count, "%2x", &byte) == 1; count++)
        bytes[count] = (uint8_t)byte;
    return count;
}

static const char *or_none(const char *text)
{
    return text != NULL ? text : "?";
}

int main(int argc, char **argv)
{
    static const char *const sources[] = {"none", "changed", "table", "debug"};
    uint8_t build_id[64];
    if (argc < 3)
        return 2;
    size_t build_id_bytes = strcmp(argv[2], "-") == 0 ? 0 : hex_read(argv[2], build_id, sizeof build_id);
    symbols_module_t *module = symbols_open(argv[1], build_id, build_id_bytes);
    puts(sources[symbols_source(module)]);
    for (int i = 3; i < argc; i++) {
        symbols_frame_t frames[SYMBOLS_FRAMES_MAX];
        unsigned count = symbols_find(module, strtoull(argv[i], NULL, 0), frames);
        for (unsigned j = 0; j < count; j++)
            printf("%s %s:%u\n", or_none(frames[j].function), or_none(frames[j].file), frames[j].line);
        puts("--");
    }
    symbols_close(module);
    return 0;
}
