// tools/directory.h - where the recordings of one run are kept: one directory a run, one file a process.
//
// As with rr(1), a run leaves nothing in the current directory unless it is told to: recordings go to
// $XDG_STATE_HOME/tarn or ~/.local/state/tarn, and `latest` there leads to the last run's.
#ifndef TARN_TOOLS_DIRECTORY_H
#define TARN_TOOLS_DIRECTORY_H

// A fresh directory named after the command and the time. NULL after one line on stderr.
char *directory_fresh(const char *who, const char *command);

// The directory that -o names, made if it is not there. NULL after one line on stderr.
char *directory_named(const char *who, const char *path);

// The directory of the last run that had a fresh one; NULL if there is none.
char *directory_latest(void);

// `latest` is this one from now on. Nothing happens if the directory is none of directory_fresh's.
void directory_make_latest(const char *directory);

#endif
