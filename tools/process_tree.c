// tools/process_tree.c - /proc, read: see process_tree.h.
#include "process_tree.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum {
    NAME_BYTES = 64,     // "/proc/4194304/task/4194304/children"
    SMALL_BYTES = 4096,  // statm and smaps_rollup are shorter
    STRANGERS_MAX = 256, // background jobs of a shell that became tarn by exec
};

static pid_t strangers[STRANGERS_MAX];
static int stranger_count;

// The whole of a small file, terminated; its length, or -1.
static ssize_t small_read(const char *name, char *text, size_t bytes)
{
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    size_t length = 0;
    ssize_t more;
    while (length < bytes - 1 && (more = read(file, text + length, bytes - 1 - length)) > 0)
        length += (size_t)more;
    close(file);
    text[length] = '\0';
    return (ssize_t)length;
}

static ssize_t process_read(pid_t pid, const char *file, char *text, size_t bytes)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "/proc/%d/%s", (int)pid, file);
    return small_read(name, text, bytes);
}

// The number, in KiB, behind `key` in lines of "Key:   123 kB"; in bytes.
static uint64_t kib_after(const char *text, const char *key)
{
    const char *found = strstr(text, key);
    return found != NULL ? strtoull(found + strlen(key), NULL, 10) * 1024 : 0;
}

// --- the tree --------------------------------------------------------------------------------------------------------

static bool tree_has(const tree_t *tree, pid_t pid)
{
    for (int i = 0; i < tree->count; i++)
        if (tree->pids[i] == pid)
            return true;
    return false;
}

static void tree_add(tree_t *tree, pid_t pid)
{
    if (tree->count < TREE_PROCESSES_MAX && pid > 0 && !tree_is_stranger(pid) && !tree_has(tree, pid))
        tree->pids[tree->count++] = pid;
}

static void tree_add_children_of_thread(tree_t *tree, pid_t pid, const char *thread)
{
    char name[NAME_BYTES], text[TREE_PROCESSES_MAX * sizeof "4194304"];
    snprintf(name, sizeof name, "/proc/%d/task/%.16s/children", (int)pid, thread);
    if (small_read(name, text, sizeof text) <= 0)
        return;
    char *at = text, *end;
    for (long child; (child = strtol(at, &end, 10)) > 0 && end != at; at = end)
        tree_add(tree, (pid_t)child);
}

// A child is listed under the thread that started it.
static void tree_add_children(tree_t *tree, pid_t pid)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "/proc/%d/task", (int)pid);
    DIR *threads = opendir(name);
    if (threads == NULL)
        return;
    for (struct dirent *entry; (entry = readdir(threads)) != NULL;)
        if (isdigit((unsigned char)entry->d_name[0]))
            tree_add_children_of_thread(tree, pid, entry->d_name);
    closedir(threads);
}

void tree_adopt(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    tree_t already = {.count = 0};
    tree_add_children(&already, getpid());
    stranger_count = already.count < STRANGERS_MAX ? already.count : STRANGERS_MAX;
    memcpy(strangers, already.pids, (size_t)stranger_count * sizeof *strangers);
}

bool tree_is_told(void)
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "/proc/%d/task/%d/children", (int)getpid(), (int)getpid());
    return access(name, R_OK) == 0;
}

bool tree_is_stranger(pid_t pid)
{
    for (int i = 0; i < stranger_count; i++)
        if (strangers[i] == pid)
            return true;
    return false;
}

void tree_read(tree_t *tree, pid_t first)
{
    tree->count = 0;
    tree_add(tree, first);
    tree_add_children(tree, getpid());
    for (int i = 0; i < tree->count; i++) // grows meanwhile
        tree_add_children(tree, tree->pids[i]);
}

void tree_signal(const tree_t *tree, int number)
{
    for (int i = 0; i < tree->count; i++)
        kill(tree->pids[i], number);
}

// --- resident memory -------------------------------------------------------------------------------------------------

static uint64_t resident_bytes(pid_t pid)
{
    char text[SMALL_BYTES], *second;
    if (process_read(pid, "statm", text, sizeof text) <= 0)
        return 0;
    strtoull(text, &second, 10); // the size of its address space
    return strtoull(second, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

// Of a process that may not be read in detail (it changed its user), all it has resident.
static uint64_t proportional_bytes(pid_t pid)
{
    char text[SMALL_BYTES];
    if (process_read(pid, "smaps_rollup", text, sizeof text) <= 0)
        return resident_bytes(pid);
    return kib_after(text, "\nPss:");
}

uint64_t tree_resident_bytes(const tree_t *tree)
{
    if (tree->count == 1)
        return resident_bytes(tree->pids[0]);
    uint64_t sum = 0;
    for (int i = 0; i < tree->count; i++)
        sum += proportional_bytes(tree->pids[i]);
    return sum;
}

// --- what it runs ----------------------------------------------------------------------------------------------------

bool process_executable(pid_t pid, char path[TREE_PATH_BYTES])
{
    char name[NAME_BYTES];
    snprintf(name, sizeof name, "/proc/%d/exe", (int)pid);
    ssize_t length = readlink(name, path, TREE_PATH_BYTES - 1);
    if (length < 0)
        return false;
    path[length] = '\0';
    return true;
}

bool process_files_any(pid_t pid, bool (*file)(void *context, const char *path), void *context)
{
    char name[NAME_BYTES], *line = NULL;
    size_t bytes = 0;
    bool found = false;
    snprintf(name, sizeof name, "/proc/%d/maps", (int)pid);
    FILE *maps = fopen(name, "re");
    if (maps == NULL)
        return false;
    while (!found && getline(&line, &bytes, maps) > 0) {
        char *path = strchr(line, '/');
        if (path != NULL) {
            path[strcspn(path, "\n")] = '\0';
            found = file(context, path);
        }
    }
    free(line);
    fclose(maps);
    return found;
}
