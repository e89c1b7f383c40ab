// tools/directory.c - see directory.h.
#include "directory.h"
#include "tool.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { OWNER_ONLY = 0700, NAMES_TRIED = 1000 };

// NULL: no home, no memory.
static char *home(void)
{
    const char *state = getenv("XDG_STATE_HOME"), *user = getenv("HOME");
    char *path = NULL;
    int length = -1;
    if (state != NULL && state[0] == '/')
        length = asprintf(&path, "%s/tarn", state);
    else if (user != NULL && user[0] == '/')
        length = asprintf(&path, "%s/.local/state/tarn", user);
    return length < 0 ? NULL : path;
}

// As mkdir -p.
static int directories_make(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int failed = mkdir(path, OWNER_ONLY) != 0 && errno != EEXIST;
        *slash = '/';
        if (failed)
            return -1;
    }
    return mkdir(path, OWNER_ONLY) != 0 && errno != EEXIST ? -1 : 0;
}

// HOME/PROGRAM-20261121-094512, or with -2, -3, ... behind it.
static char *fresh_in(const char *parent, const char *program)
{
    char when[32];
    time_t now = time(NULL);
    struct tm local;
    strftime(when, sizeof when, "%Y%m%d-%H%M%S", localtime_r(&now, &local));
    for (int i = 1; i < NAMES_TRIED; i++) {
        char *path = NULL;
        int length = i == 1 ? asprintf(&path, "%s/%s-%s", parent, program, when)
                            : asprintf(&path, "%s/%s-%s-%d", parent, program, when, i);
        if (length < 0)
            return NULL;
        if (mkdir(path, OWNER_ONLY) == 0)
            return path;
        free(path);
        if (errno != EEXIST)
            return NULL;
    }
    return NULL;
}

// A name that a path and TARN_OPTIONS can hold.
static char *program_name(const char *command)
{
    char *copy = strdup(command);
    char *name = copy != NULL ? strdup(basename(copy)) : NULL;
    free(copy);
    for (char *letter = name; letter != NULL && *letter != '\0'; letter++)
        if (strchr("/:% \t\n", *letter) != NULL)
            *letter = '_';
    return name;
}

char *directory_fresh(const char *who, const char *command)
{
    char *parent = home(), *name = program_name(command);
    char *path = NULL;
    if (parent == NULL)
        tool_error(who, "no recording: neither XDG_STATE_HOME nor HOME names a directory; -o DIR does");
    else if (name == NULL || directories_make(parent) != 0 || (path = fresh_in(parent, name)) == NULL)
        tool_error(who, "no recording: cannot make a directory in %s: %s", parent, strerror(errno));
    free(parent);
    free(name);
    return path;
}

char *directory_named(const char *who, const char *path)
{
    struct stat status;
    if (mkdir(path, OWNER_ONLY) != 0 && errno != EEXIST) {
        tool_error(who, "-o: cannot make the directory '%s': %s", path, strerror(errno));
        return NULL;
    }
    char *absolute = realpath(path, NULL);
    if (absolute == NULL || stat(absolute, &status) != 0 || !S_ISDIR(status.st_mode))
        tool_error(who, "-o: '%s' is not a directory", path);
    else if (access(absolute, W_OK | X_OK) != 0)
        tool_error(who, "-o: cannot write into '%s': %s", path, strerror(errno));
    else
        return absolute;
    free(absolute);
    return NULL;
}

static char *latest_link(void)
{
    char *parent = home(), *link = NULL;
    int length = parent != NULL ? asprintf(&link, "%s/latest", parent) : -1;
    free(parent);
    return length < 0 ? NULL : link;
}

char *directory_latest(void)
{
    char *link = latest_link();
    char *target = link != NULL ? realpath(link, NULL) : NULL;
    free(link);
    return target;
}

void directory_make_latest(const char *directory)
{
    char *link = latest_link(), *fresh = NULL;
    struct stat status;
    // Never in the place of something that is no link.
    int ours = link != NULL && (lstat(link, &status) != 0 || S_ISLNK(status.st_mode));
    if (ours && asprintf(&fresh, "%s.%ld", link, (long)getpid()) >= 0) {
        if (symlink(directory, fresh) == 0 && rename(fresh, link) != 0)
            unlink(fresh);
        free(fresh);
    }
    free(link);
}
