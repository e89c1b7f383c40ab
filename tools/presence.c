// tools/presence.c - see presence.h.
#include "presence.h"
#include "allocators.h"

#include <elf.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// How long a program must have been seen without the library before that means anything: the linker maps it within the
// first millisecond, but a busy machine may let it wait.
enum { SURE_NS = 20 * 1000 * 1000 };

typedef struct look {
    presence_t *presence;
    bool has;
} look_t;

static bool file_look(void *context, const char *path)
{
    look_t *look = context;
    if (look->presence->library != NULL && strcmp(path, look->presence->library) == 0)
        look->has = true;
    else if (look->presence->own[0] == '\0' && allocator_is_library(path))
        strncpy(look->presence->own, path, TREE_PATH_BYTES - 1);
    return false; // to the end of the list
}

// A process that becomes another program by exec is looked at anew.
static presence_program_t *program_find(presence_t *presence, pid_t pid, const char *path)
{
    for (int i = 0; i < presence->count; i++)
        if (presence->programs[i].pid == pid && strcmp(presence->programs[i].path, path) == 0)
            return &presence->programs[i];
    if (presence->count == PRESENCE_PROGRAMS_MAX)
        return NULL;
    presence_program_t *program = &presence->programs[presence->count++];
    *program = (presence_program_t){.pid = pid};
    strcpy(program->path, path);
    return program;
}

// A child of ours that has not become the command yet: on a busy machine that takes its time.
static bool is_ourselves(const char *path)
{
    static char own[TREE_PATH_BYTES];
    return (own[0] != '\0' || process_executable(getpid(), own)) && strcmp(path, own) == 0;
}

void presence_observe(void *context, pid_t pid, uint64_t age_ns)
{
    presence_t *presence = context;
    char path[TREE_PATH_BYTES];
    if (!process_executable(pid, path) || is_ourselves(path))
        return;
    presence_program_t *program = program_find(presence, pid, path);
    if (program == NULL || program->has)
        return;
    look_t look = {presence, false};
    process_files_any(pid, file_look, &look);
    program->has = look.has;
    if (program->first_ns == 0)
        program->first_ns = age_ns;
    program->last_ns = age_ns;
}

static bool program_is_without(const presence_program_t *program)
{
    return !program->has && program->last_ns - program->first_ns >= SURE_NS;
}

const char *presence_program_without(const presence_t *presence)
{
    for (int i = 0; i < presence->count; i++)
        if (program_is_without(&presence->programs[i]))
            return presence->programs[i].path;
    return NULL;
}

bool presence_is_nowhere(const presence_t *presence)
{
    for (int i = 0; i < presence->count; i++)
        if (presence->programs[i].has)
            return false;
    return presence_program_without(presence) != NULL;
}

// --- the file --------------------------------------------------------------------------------------------------------

// As execvp finds it: a name with a slash is a path, another is looked for in PATH.
static bool command_find(const char *command, char path[TREE_PATH_BYTES])
{
    const char *folders = getenv("PATH");
    if (strchr(command, '/') != NULL) {
        strncpy(path, command, TREE_PATH_BYTES - 1);
        path[TREE_PATH_BYTES - 1] = '\0';
        return access(path, X_OK) == 0;
    }
    for (const char *folder = folders != NULL ? folders : "/bin:/usr/bin"; folder != NULL;) {
        size_t width = strcspn(folder, ":");
        if (width + strlen(command) + 2 <= TREE_PATH_BYTES) {
            memcpy(path, folder, width);
            path[width] = '/';
            strcpy(path + width + (width > 0), command); // an empty entry is this directory
            if (access(path, X_OK) == 0)
                return true;
        }
        folder = folder[width] == ':' ? folder + width + 1 : NULL;
    }
    return false;
}

// The linker ignores LD_PRELOAD where the kernel says AT_SECURE: when the file's owner or group is not ours.
static bool file_raises_privileges(int file)
{
    struct stat facts;
    return fstat(file, &facts) == 0 && (((facts.st_mode & S_ISUID) != 0 && facts.st_uid != geteuid()) ||
                                        ((facts.st_mode & S_ISGID) != 0 && facts.st_gid != getegid()));
}

// An executable of our own width without an interpreter has no dynamic linker. A script, or anything else, has none of
// these headers.
static bool file_is_static(int file)
{
    Elf64_Ehdr header;
    if (pread(file, &header, sizeof header, 0) != sizeof header || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 ||
        header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_phentsize != sizeof(Elf64_Phdr))
        return false;
    for (int i = 0; i < header.e_phnum; i++) {
        Elf64_Phdr part;
        if (pread(file, &part, sizeof part, (off_t)(header.e_phoff + (Elf64_Off)i * sizeof part)) != sizeof part ||
            part.p_type == PT_INTERP)
            return false;
    }
    return true;
}

const char *presence_obstacle(const char *command)
{
    char path[TREE_PATH_BYTES];
    int file = command_find(command, path) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0)
        return NULL;
    const char *obstacle = file_raises_privileges(file) ? "runs with raised privileges (set-user-ID)"
                           : file_is_static(file)       ? "is linked statically"
                                                        : NULL;
    close(file);
    return obstacle;
}
