// tools/process_tree.h - the processes that descend from this one, seen from outside through /proc.
//
// The whole tree counts as one program: a command is often a shell that starts the program that matters. What a process
// leaves behind when it ends becomes our child (tree_adopt), so nothing gets out of the tree.
//
// Nothing here costs the processes anything but the kernel's own reading: no signal, no ptrace.
#ifndef TARN_TOOLS_PROCESS_TREE_H
#define TARN_TOOLS_PROCESS_TREE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    TREE_PROCESSES_MAX = 1024, // of a larger tree, that many are seen
    TREE_PATH_BYTES = 512,
};

typedef struct tree {
    pid_t pids[TREE_PROCESSES_MAX]; // parents before their children
    int count;
} tree_t;

// From now on orphans below us become our children. What is our child already is a stranger, whom an exec left to us:
// it and its children are in no tree and get no signal.
void tree_adopt(void);

// Whether the kernel tells children at all (CONFIG_PROC_CHILDREN); without, a tree is our direct children's.
bool tree_is_told(void);

bool tree_is_stranger(pid_t pid);

// All that descend from this process now, but for strangers. `first`, our direct child, is taken as there even where
// the kernel does not tell.
void tree_read(tree_t *tree, pid_t first);

void tree_signal(const tree_t *tree, int number);

// Resident bytes of the whole tree: of one process, what statm says; of several, what each page is to each of them in
// proportion (Pss), so that a page that two share is counted once.
uint64_t tree_resident_bytes(const tree_t *tree);

// The path of its executable; false if it is gone.
bool process_executable(pid_t pid, char path[TREE_PATH_BYTES]);

// Reads /proc/PID/maps: calls `file` with the path of each mapped file until it returns true, and returns that.
bool process_files_any(pid_t pid, bool (*file)(void *context, const char *path), void *context);

#endif
