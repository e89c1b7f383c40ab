// preload/path.h - paths of files that tarn writes: %p in them is the process id, %n the program's name, %% a percent.
#ifndef TARN_PATH_H
#define TARN_PATH_H

#include "writer.h"

// Appends the pattern's meaning for this process. False, if it does not fit.
bool path_expand(writer_t *writer, const char *pattern);

// Whether each process gets another path from it.
bool path_has_pid(const char *pattern);

#endif
