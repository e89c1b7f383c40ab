// tools/library.c - finds libtarn.so and puts it into LD_PRELOAD.
//
// The build tree comes before the installed path: build/tools/tarn is to run the libtarn.so that was built with it,
// also on a machine where another version is installed.
#include "library.h"
#include "tool.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// An absolute path, since the command may change its directory before it starts others.
static char *library_named(const char *who, const char *path, const char *source)
{
    char *absolute = realpath(path, NULL);
    if (absolute == NULL || access(absolute, R_OK) != 0) {
        tool_error(who, "%s names '%s': %s", source, path, strerror(errno));
        free(absolute);
        return NULL;
    }
    return absolute;
}

// build/tools/tarn -> build/preload/libtarn.so; NULL when this executable does not stand in a build tree.
static char *library_in_build_tree(void)
{
    char *executable = realpath("/proc/self/exe", NULL);
    char *path = NULL;
    if (executable == NULL)
        return NULL;
    int length = asprintf(&path, "%s/../preload/libtarn.so", dirname(executable));
    free(executable);
    if (length < 0)
        return NULL;
    char *absolute = realpath(path, NULL);
    free(path);
    return absolute;
}

char *library_find(const char *who, const char *wanted)
{
    if (wanted != NULL)
        return library_named(who, wanted, "--library");
    const char *from_environment = getenv("TARN_LIBRARY");
    if (from_environment != NULL && *from_environment != '\0')
        return library_named(who, from_environment, "TARN_LIBRARY");
    char *built = library_in_build_tree();
    if (built != NULL)
        return built;
    if (access(TARN_LIBRARY_INSTALLED, R_OK) == 0)
        return strdup(TARN_LIBRARY_INSTALLED);
    tool_error(who, "no libtarn.so at %s: name one with --library", TARN_LIBRARY_INSTALLED);
    return NULL;
}

// The loader parts LD_PRELOAD at spaces and colons, and knows no way to quote them.
int library_preload(const char *who, const char *library)
{
    if (strpbrk(library, ": \t\n") != NULL) {
        tool_error(who, "LD_PRELOAD cannot hold a path with a space or a colon: '%s'", library);
        return -1;
    }
    const char *others = getenv("LD_PRELOAD");
    char *list = NULL;
    int length = others != NULL && *others != '\0' ? asprintf(&list, "%s:%s", library, others)
                                                   : asprintf(&list, "%s", library);
    int failed = length < 0 || setenv("LD_PRELOAD", list, 1) != 0;
    if (failed)
        tool_error(who, "no memory for the environment");
    if (length >= 0)
        free(list);
    return failed ? -1 : 0;
}
