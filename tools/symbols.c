// tools/symbols.c - libdwfl opens the file and finds its debug information (build-id, debuglink, minidebuginfo); libdw
// reads it. Each module is a session of its own, so that two builds of one library can be told apart.
#include "symbols.h"

#include "demangle.h"
#include "memory.h"
#include "strings.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEBUG_FOLDER "/usr/lib/debug/.build-id"

struct symbols_module {
    Dwfl *session;       // NULL: no file
    Dwfl_Module *module; // in `session`
    Dwarf_Addr bias;     // libdwfl's address of what the file calls 0
    symbols_source_t source;
};

static const Dwfl_Callbacks callbacks = {
    .find_elf = dwfl_build_id_find_elf,
    .find_debuginfo = dwfl_standard_find_debuginfo,
};

// --- opening -------------------------------------------------------------------------------------------------------

// A path of a recording can name anything: only a regular file is read, and opening a FIFO must not wait.
static int file_open(const char *path)
{
    struct stat status;
    int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file >= 0 && (fstat(file, &status) != 0 || !S_ISREG(status.st_mode))) {
        close(file);
        return -1;
    }
    return file;
}

static bool build_id_is(Dwfl_Module *module, const uint8_t *build_id, size_t build_id_bytes)
{
    const unsigned char *found;
    GElf_Addr where;
    int found_bytes = dwfl_module_build_id(module, &found, &where);
    return found_bytes > 0 && (size_t)found_bytes == build_id_bytes && memcmp(found, build_id, build_id_bytes) == 0;
}

// Opens the file at `path` as the whole of a session. False: there is none, it is no ELF file, or another build.
static bool session_open(symbols_module_t *module, const char *path, const uint8_t *build_id, size_t build_id_bytes)
{
    int file = file_open(path);
    if (file < 0)
        return false;
    Dwfl *session = dwfl_begin(&callbacks);
    if (session == NULL) {
        close(file);
        return false;
    }
    Dwfl_Module *found = dwfl_report_elf(session, path, path, file, 0, true);
    if (found == NULL)
        close(file); // libdwfl takes it only when it succeeds
    dwfl_report_end(session, NULL, NULL);
    bool usable = found != NULL && dwfl_module_getelf(found, &module->bias) != NULL;
    if (usable && build_id_bytes != 0 && !build_id_is(found, build_id, build_id_bytes)) {
        module->source = SYMBOLS_CHANGED;
        usable = false;
    }
    if (!usable) {
        dwfl_end(session);
        return false;
    }
    module->session = session;
    module->module = found;
    return true;
}

// Where distributions put the debug information of a build: /usr/lib/debug/.build-id/ab/cdef....debug
static char *debug_path(const uint8_t *build_id, size_t build_id_bytes)
{
    char *hex = memory_get(2 * build_id_bytes + 1, 1);
    for (size_t i = 0; i < build_id_bytes; i++)
        snprintf(hex + 2 * i, 3, "%02x", build_id[i]);
    char *path = memory_format("%s/%.2s/%s.debug", DEBUG_FOLDER, hex, hex + 2);
    free(hex);
    return path;
}

static bool session_open_debug(symbols_module_t *module, const uint8_t *build_id, size_t build_id_bytes)
{
    if (build_id_bytes < 2)
        return false;
    symbols_source_t before = module->source;
    char *path = debug_path(build_id, build_id_bytes);
    bool opened = session_open(module, path, build_id, build_id_bytes);
    free(path);
    if (!opened)
        module->source = before;
    return opened;
}

symbols_module_t *symbols_open(const char *path, const uint8_t *build_id, size_t build_id_bytes)
{
    symbols_module_t *module = memory_get(1, sizeof *module);
    Dwarf_Addr bias;
    if (*path == '/' && !session_open(module, path, build_id, build_id_bytes))
        session_open_debug(module, build_id, build_id_bytes);
    if (module->session == NULL)
        return module;
    module->source = dwfl_module_getdwarf(module->module, &bias) != NULL ? SYMBOLS_DEBUG : SYMBOLS_TABLE;
    return module;
}

void symbols_close(symbols_module_t *module)
{
    if (module != NULL && module->session != NULL)
        dwfl_end(module->session);
    free(module);
}

symbols_source_t symbols_source(const symbols_module_t *module)
{
    return module->source;
}

// --- reading debug information --------------------------------------------------------------------------------------

// The compilation unit with `address`. Clang writes no table of address ranges unless asked to: then each unit is
// asked.
static Dwarf_Die *unit_find(Dwfl_Module *module, Dwarf_Addr address, Dwarf_Addr *bias)
{
    Dwarf_Die *unit = dwfl_module_addrdie(module, address, bias);
    if (unit != NULL)
        return unit;
    for (unit = dwfl_module_nextcu(module, NULL, bias); unit != NULL; unit = dwfl_module_nextcu(module, unit, bias))
        if (dwarf_haspc(unit, address - *bias) > 0)
            return unit;
    return NULL;
}

static bool is_function(Dwarf_Die *scope)
{
    int tag = dwarf_tag(scope);
    return tag == DW_TAG_subprogram || tag == DW_TAG_inlined_subroutine || tag == DW_TAG_entry_point;
}

// --- what a function is called ---------------------------------------------------------------------------------------

// A damaged file could nest or refer without end; compilers do not nest half as deep.
enum { NESTING_MOST = 64, REFERENCES_MOST = 8 };

static const char *attribute_text(Dwarf_Die *scope, unsigned name)
{
    Dwarf_Attribute attribute;
    return dwarf_attr_integrate(scope, name, &attribute) != NULL ? dwarf_formstring(&attribute) : NULL;
}

// Where the function was declared: an inlined or a defined one refers to it.
static Dwarf_Die declaration_of(const Dwarf_Die *function)
{
    Dwarf_Die at = *function;
    Dwarf_Attribute attribute;
    for (unsigned i = 0; i < REFERENCES_MOST; i++)
        if ((dwarf_attr(&at, DW_AT_abstract_origin, &attribute) == NULL &&
             dwarf_attr(&at, DW_AT_specification, &attribute) == NULL) ||
            dwarf_formref_die(&attribute, &at) == NULL)
            break;
    return at;
}

// "app::(anonymous namespace)::Table<int>::": what the entry at `offset` below `parent` stands in. Entries follow each other in the order
// of their offsets, each with all that stands in it.
static void scopes_write(FILE *out, Dwarf_Die *parent, Dwarf_Off offset, unsigned depth)
{
    Dwarf_Die child, holder = *parent;
    if (depth == NESTING_MOST || dwarf_child(parent, &child) != 0)
        return;
    do {
        if (dwarf_dieoffset(&child) > offset)
            break;
        holder = child;
    } while (dwarf_siblingof(&child, &child) == 0);
    if (dwarf_dieoffset(&holder) == offset || holder.addr == parent->addr)
        return;
    const char *name = attribute_text(&holder, DW_AT_name);
    if (name != NULL || dwarf_tag(&holder) == DW_TAG_namespace)
        fprintf(out, "%s::", name != NULL ? name : "(anonymous namespace)");
    scopes_write(out, &holder, offset, depth + 1);
}

static bool is_cxx(Dwarf_Die *unit)
{
    int language = dwarf_srclang(unit);
    return language == DW_LANG_C_plus_plus || language == DW_LANG_C_plus_plus_03 || language == DW_LANG_C_plus_plus_11 ||
           language == DW_LANG_C_plus_plus_14;
}

// The plain name with what it stands in.
static const char *name_within_scopes(const Dwarf_Die *function, const char *plain)
{
    Dwarf_Die unit, declaration = declaration_of(function);
    char *text = NULL;
    size_t length;
    if (dwarf_diecu(&declaration, &unit, NULL, NULL) == NULL || !is_cxx(&unit))
        return demangle(plain);
    FILE *out = open_memstream(&text, &length);
    if (out == NULL)
        return demangle(plain);
    scopes_write(out, &unit, dwarf_dieoffset(&declaration), 0);
    fputs(plain, out);
    fclose(out);
    const char *name = strings_keep(text);
    free(text);
    return name;
}

// The linkage name says of which class or namespace a C++ function is. One that other files cannot call has none from GCC: also what the
// C++ library's templates make of a type in an anonymous namespace, or in a function.
static const char *function_name(Dwarf_Die *scope)
{
    const char *name = attribute_text(scope, DW_AT_linkage_name);
    if (name == NULL)
        name = attribute_text(scope, DW_AT_MIPS_linkage_name);
    if (name != NULL)
        return demangle(name);
    name = attribute_text(scope, DW_AT_name);
    return name != NULL ? name_within_scopes(scope, name) : NULL;
}

// --- from an address to functions ------------------------------------------------------------------------------------

static Dwarf_Word attribute_number(Dwarf_Die *scope, unsigned name)
{
    Dwarf_Attribute attribute;
    Dwarf_Word value = 0;
    if (dwarf_attr(scope, name, &attribute) == NULL || dwarf_formudata(&attribute, &value) != 0)
        return 0;
    return value;
}

// Where an inlined function was called: the place of the frame around it.
static void place_of_call(Dwarf_Die *unit, Dwarf_Die *scope, symbols_frame_t *frame)
{
    Dwarf_Files *files;
    size_t count;
    size_t index = attribute_number(scope, DW_AT_call_file);
    frame->line = (unsigned)attribute_number(scope, DW_AT_call_line);
    if (dwarf_getsrcfiles(unit, &files, &count) == 0 && index < count) {
        const char *file = dwarf_filesrc(files, index, NULL, NULL);
        frame->file = file != NULL ? strings_keep(file) : NULL;
    }
}

static void place_of_address(Dwarf_Die *unit, Dwarf_Addr address, symbols_frame_t *frame)
{
    Dwarf_Line *row = dwarf_getsrc_die(unit, address);
    int line;
    if (row == NULL)
        return;
    const char *file = dwarf_linesrc(row, NULL, NULL);
    frame->file = file != NULL ? strings_keep(file) : NULL;
    if (dwarf_lineno(row, &line) == 0 && line > 0)
        frame->line = (unsigned)line;
}

// From the innermost scope outwards. Each inlined function's frame gets its name here and leaves the place where it was
// called to the next one.
static unsigned frames_of_scopes(Dwarf_Die *unit, Dwarf_Die *scopes, int scope_count, symbols_frame_t *frames)
{
    unsigned count = 0;
    for (int i = 0; i < scope_count && count < SYMBOLS_FRAMES_MAX; i++) {
        if (!is_function(&scopes[i]))
            continue;
        frames[count++].function = function_name(&scopes[i]);
        if (dwarf_tag(&scopes[i]) != DW_TAG_inlined_subroutine)
            break;
        if (count < SYMBOLS_FRAMES_MAX)
            place_of_call(unit, &scopes[i], &frames[count]);
    }
    return count;
}

// --- functions within namespaces -------------------------------------------------------------------------------------

static bool holds_functions(Dwarf_Die *scope)
{
    int tag = dwarf_tag(scope);
    return tag == DW_TAG_namespace || tag == DW_TAG_module || tag == DW_TAG_structure_type ||
           tag == DW_TAG_class_type || tag == DW_TAG_union_type || tag == DW_TAG_enumeration_type ||
           tag == DW_TAG_interface_type;
}

static bool function_within(Dwarf_Die *parent, Dwarf_Addr address, Dwarf_Die *found, unsigned depth)
{
    Dwarf_Die child;
    if (depth == NESTING_MOST || dwarf_child(parent, &child) != 0)
        return false;
    do {
        *found = child;
        if (dwarf_tag(&child) == DW_TAG_subprogram && dwarf_haspc(&child, address) > 0)
            return true;
        if (holds_functions(&child) && function_within(&child, address, found, depth + 1))
            return true;
    } while (dwarf_siblingof(&child, &child) == 0);
    return false;
}

// The block or inlined function of `scope` that has `address`.
static bool scope_within(Dwarf_Die *scope, Dwarf_Addr address, Dwarf_Die *found)
{
    if (dwarf_child(scope, found) != 0)
        return false;
    do {
        int tag = dwarf_tag(found);
        if ((tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block || tag == DW_TAG_try_block ||
             tag == DW_TAG_catch_block) && dwarf_haspc(found, address) > 0)
            return true;
    } while (dwarf_siblingof(found, found) == 0);
    return false;
}

// dwarf_getscopes passes over what has no addresses of its own, and so over all that stands in a namespace: every function
// of Rust, and those of C++ that are not declared elsewhere.
static unsigned frames_of_namespaces(Dwarf_Die *unit, Dwarf_Addr address, symbols_frame_t *frames)
{
    Dwarf_Die scopes[NESTING_MOST]; // filled from the end: the innermost comes first
    int first = NESTING_MOST - 1;
    if (!function_within(unit, address, &scopes[first], 0))
        return 0;
    while (first > 0 && scope_within(&scopes[first], address, &scopes[first - 1]))
        first--;
    return frames_of_scopes(unit, &scopes[first], NESTING_MOST - first, frames);
}

// With -gsplit-dwarf the unit is a skeleton: its lines, and the name of a file with the rest. Without that file nothing tells whether a line
// is the function's own or that of one inlined into it.
static Dwarf_Die *unit_whole(Dwarf_Die *unit, Dwarf_Die *room)
{
    uint8_t type;
    if (dwarf_cu_info(unit->cu, NULL, &type, NULL, room, NULL, NULL, NULL) != 0 || type != DW_UT_skeleton)
        return unit;
    return dwarf_tag(room) == DW_TAG_compile_unit ? room : NULL;
}

// dwarf_getscopes follows an inlined function to where it was defined; dwarf_getscopes_die goes to where it stands.
static unsigned frames_of_debug(Dwfl_Module *module, Dwarf_Addr address, symbols_frame_t *frames)
{
    Dwarf_Addr bias;
    Dwarf_Die whole, *innermost = NULL, *scopes = NULL;
    Dwarf_Die *skeleton = unit_find(module, address, &bias);
    Dwarf_Die *unit = skeleton != NULL ? unit_whole(skeleton, &whole) : NULL;
    if (unit == NULL)
        return 0;
    place_of_address(skeleton, address - bias, &frames[0]);
    unsigned count = 0;
    if (dwarf_getscopes(unit, address - bias, &innermost) > 0) {
        int scope_count = dwarf_getscopes_die(&innermost[0], &scopes);
        if (scope_count > 0)
            count = frames_of_scopes(unit, scopes, scope_count, frames);
    }
    free(scopes);
    free(innermost);
    return count != 0 ? count : frames_of_namespaces(unit, address - bias, frames);
}

// --- finding -------------------------------------------------------------------------------------------------------

static const char *name_in_table(Dwfl_Module *module, Dwarf_Addr address)
{
    GElf_Off offset;
    GElf_Sym symbol;
    const char *name = dwfl_module_addrinfo(module, address, &offset, &symbol, NULL, NULL, NULL);
    bool inside = name != NULL && (symbol.st_size == 0 || offset < symbol.st_size);
    return inside && *name != '\0' ? demangle(name) : NULL;
}

unsigned symbols_find(symbols_module_t *module, uint64_t offset, symbols_frame_t frames[SYMBOLS_FRAMES_MAX])
{
    memset(frames, 0, SYMBOLS_FRAMES_MAX * sizeof *frames);
    if (module->session == NULL)
        return 0;
    Dwarf_Addr address = offset + module->bias;
    unsigned count = frames_of_debug(module->module, address, frames);
    if (count == 0)
        count = 1; // what the line table knows, if anything
    if (frames[count - 1].function == NULL)
        frames[count - 1].function = name_in_table(module->module, address);
    return frames[0].function != NULL || frames[0].file != NULL ? count : 0;
}
