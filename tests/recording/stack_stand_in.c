// tests/recording/stack_stand_in.c - what preload/'s stack files ask of their neighbours, for a library with them alone.
#include "../../preload/output.h"
#include "../../preload/process.h"
#include "../../preload/recorder_file.h"

process_t process;
recording_header_t *recorder_header;

void output_line(const char *format, ...)
{
    (void)format;
}

bool recorder_reserve(recording_table_id_t id, uint64_t count)
{
    (void)id, (void)count;
    return false;
}

recording_text_t recorder_text(const char *text, size_t length)
{
    (void)text, (void)length;
    return (recording_text_t){0, 0};
}
