// tools/allocators.c - see allocators.h. Everything is asked of the system's own tools: ldconfig where a library is,
// the package manager which version, and the dynamic linker itself whether it takes malloc's place.
#include "allocators.h"
#include "library.h"
#include "tool.h"

#include <errno.h>
#include <gnu/libc-version.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct peer {
    const char *name;
    const char *sonames[4]; // the newest first; NULL ends them
    const char *package;    // of Debian and Ubuntu
} peer_t;

static const peer_t peers[] = {
    {"jemalloc", {"libjemalloc.so.2"}, "libjemalloc2"},
    {"mimalloc", {"libmimalloc.so.3", "libmimalloc.so.2"}, "libmimalloc2.0, on newer releases libmimalloc3"},
    {"tcmalloc",
     {"libtcmalloc_minimal.so.4", "libtcmalloc.so.4"},
     "libtcmalloc-minimal4, on newer releases libtcmalloc-minimal4t64"},
};

enum { PEERS = sizeof peers / sizeof peers[0] };

static const char tarn_name[] = "tarn";

const char *allocators_known(void)
{
    return "system, jemalloc, mimalloc, tcmalloc, tarn";
}

static void *or_abort(void *memory)
{
    if (memory == NULL)
        abort();
    return memory;
}

static char *text_copy(const char *text)
{
    return or_abort(strdup(text));
}

__attribute__((format(printf, 1, 2))) static char *text_format(const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        abort();
    va_end(arguments);
    return text;
}

// Calls `line` with each line a shell command prints, without its end, until it returns true; returns that.
static bool lines_any(const char *shell_command, bool (*line)(void *context, char *text), void *context)
{
    FILE *output = popen(shell_command, "re");
    char *text = NULL;
    size_t bytes = 0;
    bool found = false;
    if (output == NULL)
        return false;
    while (getline(&text, &bytes, output) > 0) { // to its end, or the command would die of a closed pipe
        text[strcspn(text, "\n")] = '\0';
        found = found || line(context, text);
    }
    free(text);
    pclose(output);
    return found;
}

// --- where a library lies --------------------------------------------------------------------------------------------

typedef struct wanted_library {
    const char *soname;
    char *path;
} wanted_library_t;

// "	libjemalloc.so.2 (libc6,x86-64) => /lib/x86_64-linux-gnu/libjemalloc.so.2": of the same width as we are.
static bool library_line(void *context, char *text)
{
    wanted_library_t *wanted = context;
    char soname[256], kind[256], path[4096];
    if (sscanf(text, " %255s (%255[^)]) => %4095s", soname, kind, path) != 3 || strcmp(soname, wanted->soname) != 0 ||
        (strstr(kind, "64") != NULL) != (sizeof(void *) == 8))
        return false;
    wanted->path = text_copy(path);
    return true;
}

static char *library_path(const char *soname)
{
    wanted_library_t wanted = {soname, NULL};
    lines_any("PATH=$PATH:/sbin:/usr/sbin ldconfig -p 2>/dev/null", library_line, &wanted);
    return wanted.path;
}

char *allocator_system_library(void)
{
    return library_path("libc.so.6");
}

bool allocator_is_library(const char *path)
{
    static const char *const stems[] = {"libjemalloc.", "libmimalloc", "libtcmalloc", "libtbbmalloc_proxy",
                                        "librpmalloc",  "libsnmalloc", "libhoard",    "libtarn."};
    const char *slash = strrchr(path, '/');
    const char *base = slash != NULL ? slash + 1 : path;
    for (size_t i = 0; i < sizeof stems / sizeof stems[0]; i++)
        if (strncmp(base, stems[i], strlen(stems[i])) == 0)
            return true;
    return false;
}

// --- which version it is ---------------------------------------------------------------------------------------------

static bool version_line(void *context, char *text)
{
    if (*text == '\0')
        return false;
    *(char **)context = text_copy(text);
    return true;
}

// Single quotes for the shell, which a path may hold itself.
static char *text_quoted(const char *text)
{
    char *quoted = or_abort(malloc(4 * strlen(text) + sizeof "''"));
    char *end = quoted;
    *end++ = '\'';
    for (; *text != '\0'; text++)
        end = *text == '\'' ? stpcpy(end, "'\\''") : (*end = *text, end + 1);
    strcpy(end, "'");
    return quoted;
}

// "package version" of the file's package. Merged /usr means that dpkg may know the file by either name; what lies
// outside of these folders it does not know, and it takes long to say so.
static char *package_version(const char *real)
{
    static const char script[] =
        "f=%s; case $f in /usr/* | /lib* | /opt/*) ;; *) exit ;; esac; command -v dpkg-query >/dev/null || "
        "exec rpm -qf \"$f\" 2>/dev/null; "
        "n=$(dpkg-query -S \"$f\" \"${f#/usr}\" \"/usr$f\" 2>/dev/null | head -n 1 | sed 's/: .*//; s/,.*//'); "
        "[ -z \"$n\" ] || dpkg-query -W -f '${Package} ${Version}\\n' \"$n\" 2>/dev/null";
    char *quoted = text_quoted(real), *version = NULL;
    char *command = text_format(script, quoted);
    lines_any(command, version_line, &version);
    free(command);
    free(quoted);
    return version;
}

static char *file_version(const char *path)
{
    char *real = realpath(path, NULL);
    if (real == NULL)
        return text_copy(path);
    char *version = package_version(real);
    if (version == NULL)
        return real;
    free(real);
    return version;
}

static char *system_version(void)
{
    char *path = allocator_system_library();
    char *package = path != NULL ? package_version(path) : NULL;
    char *version = package != NULL ? text_format("glibc %s (%s)", gnu_get_libc_version(), package)
                                    : text_format("glibc %s", gnu_get_libc_version());
    free(package);
    free(path);
    return version;
}

// --- whether it takes malloc's place ---------------------------------------------------------------------------------

// The linker's own account: "   1: binding file tarn [0] to /lib/libx.so [0]: normal symbol `malloc' [GLIBC_2.2.5]".
static bool binding_line(void *context, char *text)
{
    const char *to = strstr(text, " to ");
    size_t length = strlen(context);
    return strstr(text, ": normal symbol `malloc'") != NULL && to != NULL && strncmp(to + 4, context, length) == 0 &&
           to[4 + length] == ' ';
}

// Asked of a program that surely calls malloc: this one.
static bool library_takes_malloc(const char *library)
{
    char *quoted = text_quoted(library);
    char *command = text_format("LD_DEBUG=bindings LD_BIND_NOW=1 LD_PRELOAD=%s TARN_OPTIONS=stats=off "
                                "/proc/%d/exe --version 2>&1 >/dev/null",
                                quoted, (int)getpid());
    bool takes = lines_any(command, binding_line, (void *)library);
    free(command);
    free(quoted);
    return takes;
}

// --- choosing --------------------------------------------------------------------------------------------------------

static void missing_add(allocators_t *allocators, const char *name, char *reason)
{
    if (allocators->missing_count < ALLOCATORS_MAX)
        allocators->missing[allocators->missing_count++] = (absence_t){text_copy(name), reason};
    else
        free(reason);
}

static bool allocators_have(const allocators_t *allocators, const char *name)
{
    for (int i = 0; i < allocators->count; i++)
        if (strcmp(allocators->here[i].name, name) == 0)
            return true;
    return false;
}

// Takes `library` over. LD_PRELOAD parts its entries at colons and spaces, and knows no way to quote them.
static void allocator_add(allocators_t *allocators, const char *name, char *library, char *version)
{
    if (strpbrk(library, ": \t\n") != NULL)
        missing_add(allocators, name,
                    text_format("LD_PRELOAD cannot hold a path with a space or a colon: %s", library));
    else if (!library_takes_malloc(library))
        missing_add(allocators, name, text_format("%s, preloaded, does not take malloc's place", library));
    else {
        if (version == NULL)
            version = file_version(library);
        allocators->here[allocators->count++] = (allocator_t){text_copy(name), library, version};
        return;
    }
    free(version);
    free(library);
}

static void peer_add(allocators_t *allocators, const peer_t *peer)
{
    char *path = NULL;
    for (int i = 0; path == NULL && peer->sonames[i] != NULL; i++)
        path = library_path(peer->sonames[i]);
    if (path != NULL)
        allocator_add(allocators, peer->name, path, NULL);
    else
        missing_add(allocators, peer->name,
                    text_format("%s is not installed (Debian package %s)", peer->sonames[0], peer->package));
}

static int tarn_add(const char *who, allocators_t *allocators, const char *wanted)
{
    char *path = library_find(who, wanted);
    if (path == NULL)
        return TOOL_BAD_INPUT;
    allocator_add(allocators, tarn_name, path, text_format("%s (%s)", TARN_VERSION, path));
    return 0;
}

static int known_add(const char *who, allocators_t *allocators, const char *name, const char *tarn_library)
{
    if (strcmp(name, ALLOCATOR_SYSTEM) == 0)
        return 0; // always there
    if (strcmp(name, tarn_name) == 0)
        return tarn_add(who, allocators, tarn_library);
    for (int i = 0; i < PEERS; i++)
        if (strcmp(peers[i].name, name) == 0) {
            peer_add(allocators, &peers[i]);
            return 0;
        }
    tool_error(who, "--with: no allocator '%s': one of %s, or NAME=/PATH.so", name, allocators_known());
    return TOOL_BAD_INPUT;
}

static int all_add(const char *who, allocators_t *allocators, const char *tarn_library)
{
    for (int i = 0; i < PEERS; i++)
        peer_add(allocators, &peers[i]);
    return tarn_add(who, allocators, tarn_library);
}

// One NAME=/PATH.so of the list.
static int named_add(const char *who, allocators_t *allocators, char *entry)
{
    char *path = strchr(entry, '=');
    *path++ = '\0';
    char *absolute = realpath(path, NULL);
    if (*entry == '\0' || absolute == NULL || access(absolute, R_OK) != 0) {
        if (*entry == '\0')
            tool_error(who, "--with: '=%s' has no name: wanted NAME=/PATH.so", path);
        else
            tool_error(who, "--with %s: '%s': %s", entry, path, strerror(errno));
        free(absolute);
        return TOOL_BAD_INPUT;
    }
    allocator_add(allocators, entry, absolute, NULL);
    return 0;
}

static int entry_add(const char *who, allocators_t *allocators, char *entry, const char *tarn_library)
{
    size_t width = strcspn(entry, "=");
    char *name = or_abort(strndup(entry, width));
    bool twice = allocators_have(allocators, name) && (strcmp(name, ALLOCATOR_SYSTEM) != 0 || entry[width] == '=');
    if (twice)
        tool_error(who, "--with: there are two of the name '%s'", name);
    else if (allocators->count == ALLOCATORS_MAX)
        tool_error(who, "--with: at most %d allocators", ALLOCATORS_MAX);
    free(name);
    if (twice || allocators->count == ALLOCATORS_MAX)
        return TOOL_BAD_INPUT;
    return entry[width] == '=' ? named_add(who, allocators, entry) : known_add(who, allocators, entry, tarn_library);
}

// Whether some entry is a bare name: then the list says who takes part, and does not merely add to all.
static bool list_selects(const char *list)
{
    for (const char *entry = list; *entry != '\0'; entry += strcspn(entry, ",") + (entry[strcspn(entry, ",")] != '\0'))
        if (memchr(entry, '=', strcspn(entry, ",")) == NULL)
            return true;
    return false;
}

static int list_add(const char *who, allocators_t *allocators, const char *list, const char *tarn_library)
{
    char *copy = text_copy(list), *rest = copy;
    int status = 0;
    for (char *entry; status == 0 && (entry = strsep(&rest, ",")) != NULL;)
        status = entry_add(who, allocators, entry, tarn_library);
    free(copy);
    return status;
}

int allocators_choose(const char *who, const char *list, const char *tarn_library, allocators_t *allocators)
{
    *allocators = (allocators_t){.count = 1};
    allocators->here[0] = (allocator_t){text_copy(ALLOCATOR_SYSTEM), NULL, system_version()};
    int status = 0;
    if (list == NULL || !list_selects(list))
        status = all_add(who, allocators, tarn_library);
    if (status == 0 && list != NULL)
        status = list_add(who, allocators, list, tarn_library);
    return status;
}

void allocators_free(allocators_t *allocators)
{
    for (int i = 0; i < allocators->count; i++) {
        free(allocators->here[i].name);
        free(allocators->here[i].library);
        free(allocators->here[i].version);
    }
    for (int i = 0; i < allocators->missing_count; i++) {
        free(allocators->missing[i].name);
        free(allocators->missing[i].reason);
    }
}
