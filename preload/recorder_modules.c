// preload/recorder_modules.c - see recorder_modules.h.
//
// The loader's own list would need its lock, which a program may hold while it allocates (dl_iterate_phdr). So each
// stack asks _dl_find_object, which takes none, and reads the build-id where the module is mapped. A library that was
// closed leaves its record; another one at its addresses is told from it by what is read there.
#include "recorder_modules.h"

#include <dlfcn.h>
#include <elf.h>
#include <link.h>
#include <string.h>

#include "kernel.h"
#include "recorder_file.h"

// By the kind of number that differs between two modules, in place of the record's own bytes.
static uint64_t identities[1024]; // [recorder_lock] of the records, from 1 on; as many as recorder_file.c has

// --- the loader --------------------------------------------------------------------------------------------------------

// Weak, for not every C library has it. The unwinder that is linked in asks for it as well: the linker leads both here
// (--wrap).
int __real__dl_find_object(void *address, struct dl_find_object *result) __attribute__((weak));
int __wrap__dl_find_object(void *address, struct dl_find_object *result);

__attribute__((used)) int __wrap__dl_find_object(void *address, struct dl_find_object *result)
{
    return __real__dl_find_object != NULL ? __real__dl_find_object(address, result) : -1;
}

bool module_find_is_there(void)
{
    return __real__dl_find_object != NULL;
}

// --- what the loader and the memory say ------------------------------------------------------------------------------

static uint64_t mix(uint64_t hash, uint64_t word)
{
    return (hash ^ word) * 0x9e3779b97f4a7c15u ^ hash >> 29;
}

static void build_id_in(module_seen_t *seen, const char *notes, size_t bytes)
{
    while (bytes >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const void *)notes;
        size_t name = (note->n_namesz + 3u) & ~3u, length = sizeof *note + name + ((note->n_descsz + 3u) & ~3u);
        if (length > bytes)
            return;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(notes + sizeof *note, "GNU", 4) == 0) {
            seen->build_id = (const uint8_t *)notes + sizeof *note + name;
            seen->build_id_bytes = note->n_descsz;
            return;
        }
        notes += length;
        bytes -= length;
    }
}

// The file's first page is mapped at the module's start, and says where what is. NULL: it is not understood.
static const ElfW(Ehdr) *header_of(const module_seen_t *seen)
{
    const ElfW(Ehdr) *file = (const void *)(uintptr_t)seen->start;
    if (memcmp(file->e_ident, ELFMAG, SELFMAG) != 0 || file->e_phentsize != sizeof(ElfW(Phdr)) ||
        file->e_phoff + file->e_phnum * sizeof(ElfW(Phdr)) > 4096)
        return NULL;
    return file;
}

static void headers_read(module_seen_t *seen)
{
    const ElfW(Ehdr) *file = header_of(seen);
    if (file == NULL)
        return;
    const ElfW(Phdr) *part = (const void *)(uintptr_t)(seen->start + file->e_phoff);
    seen->identity = mix(file->e_shoff, file->e_entry);
    for (unsigned i = 0; i < file->e_phnum && seen->build_id == NULL; i++)
        if (part[i].p_type == PT_NOTE && seen->bias + part[i].p_vaddr + part[i].p_memsz <= seen->end)
            build_id_in(seen, (const char *)(uintptr_t)(seen->bias + part[i].p_vaddr), part[i].p_memsz);
}

static void identity_finish(module_seen_t *seen)
{
    uint64_t word = 0;
    for (uint32_t i = 0; i + sizeof word <= seen->build_id_bytes; i += sizeof word) {
        memcpy(&word, seen->build_id + i, sizeof word);
        seen->identity = mix(seen->identity, word);
    }
    for (const char *letter = seen->path; seen->build_id_bytes == 0 && *letter != '\0'; letter++)
        seen->identity = mix(seen->identity, (unsigned char)*letter);
    seen->identity = mix(mix(seen->identity, seen->start), seen->end);
}

module_seen_t module_of(uintptr_t address)
{
    module_seen_t seen = {.path = ""};
    struct dl_find_object found;
    if (__wrap__dl_find_object((void *)address, &found) != 0)
        return seen;
    seen.start = (uintptr_t)found.dlfo_map_start;
    seen.end = (uintptr_t)found.dlfo_map_end;
    seen.bias = found.dlfo_link_map->l_addr;
    seen.tables = (uintptr_t)found.dlfo_eh_frame;
    seen.path = found.dlfo_link_map->l_name != NULL ? found.dlfo_link_map->l_name : "";
    headers_read(&seen);
    identity_finish(&seen);
    return seen;
}

module_segment_t module_constants(const module_seen_t *module)
{
    const ElfW(Ehdr) *file = header_of(module);
    const ElfW(Phdr) *part = (const void *)(uintptr_t)(file != NULL ? module->start + file->e_phoff : 0);
    for (unsigned i = 0; file != NULL && i < file->e_phnum; i++) {
        uint64_t start = module->bias + part[i].p_vaddr;
        if (part[i].p_type == PT_LOAD && module->tables - start < part[i].p_filesz)
            return (module_segment_t){part[i].p_flags == PF_R ? start : 0,
                                      part[i].p_flags == PF_R ? start + part[i].p_filesz : 0};
    }
    return (module_segment_t){0, 0};
}

uint32_t stack_module(stack_modules_t *modules, uintptr_t address)
{
    for (uint32_t i = modules->count; i-- > 0;)
        if (address - modules->seen[i].start < modules->seen[i].end - modules->seen[i].start)
            return i;
    if (modules->count == MODULES_A_STACK)
        return MODULES_A_STACK;
    module_seen_t seen = module_of(address);
    if (seen.end == 0)
        return MODULES_A_STACK;
    modules->seen[modules->count] = seen;
    return modules->count++;
}

// --- the records -----------------------------------------------------------------------------------------------------

// The loader has no name for the program itself.
static recording_text_t path_text(const module_seen_t *seen)
{
    size_t length = strlen(seen->path);
    return length == 0 ? recorder_header->executable : recorder_text(seen->path, length);
}

static void module_write(recording_module_t *module, const module_seen_t *seen, uint64_t now_ns)
{
    uint32_t bytes = seen->build_id_bytes <= sizeof module->build_id ? seen->build_id_bytes : 0;
    *module = (recording_module_t){.start = seen->start, .end = seen->end, .bias = seen->bias, .first_ns = now_ns,
                                   .path = path_text(seen), .build_id_bytes = bytes};
    memcpy(module->build_id, seen->build_id, bytes);
}

uint32_t recorder_module(const module_seen_t *seen, uint64_t now_ns)
{
    recording_table_t *table = &recorder_header->tables[RECORDING_MODULES];
    uint64_t count = table->count;
    if (seen->end == 0)
        return 0;
    for (uint64_t i = count; i-- > 1;)
        if (identities[i] == seen->identity)
            return (uint32_t)i;
    if (count >= sizeof identities / sizeof *identities || !recorder_reserve(RECORDING_MODULES, count + 1)) {
        recorder_header->flags |= RECORDING_FULL_TEXT;
        return 0;
    }
    module_write(recorder_record(RECORDING_MODULES, count), seen, now_ns);
    identities[count] = seen->identity;
    __atomic_store_n(&table->count, count + 1, __ATOMIC_RELEASE);
    return (uint32_t)count;
}
