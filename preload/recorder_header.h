// preload/recorder_header.h - what a recording says of its process, and by what it is known to be one.
#ifndef TARN_RECORDER_HEADER_H
#define TARN_RECORDER_HEADER_H

#include <stdbool.h>

// Into the file that was just opened (recorder_header), its magic number last: then it is a recording. One recording begins at a
// time. forked: of the child of a fork, whose heap was its parent's.
void recorder_header_write(bool forked);

#endif
