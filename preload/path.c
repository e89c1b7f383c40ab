// preload/path.c - see path.h.
#include "path.h"

#include "process.h"

bool path_expand(writer_t *writer, const char *pattern)
{
    for (; *pattern != '\0'; pattern++) {
        if (*pattern != '%')
            writer_bytes(writer, pattern, 1);
        else if (*++pattern == 'p')
            writer_format(writer, "%d", (int)process.pid);
        else if (*pattern == 'n')
            writer_text(writer, process.name);
        else
            writer_text(writer, "%");
    }
    return !writer->truncated;
}

bool path_has_pid(const char *pattern)
{
    for (; *pattern != '\0'; pattern++)
        if (*pattern == '%' && *++pattern == 'p')
            return true;
    return false;
}
