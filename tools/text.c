// tools/text.c - see text.h. Widths are counted in bytes: names of other scripts come out a little narrower.
#include "text.h"

#include "blame.h"
#include "memory.h"
#include "strings.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

// How many bytes of a character of UTF-8 begin here; 0: none does. The table is 3-7 of the Unicode standard: overlong forms,
// surrogates and what is above U+10FFFF are told by the second byte.
static size_t character_bytes(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    size_t count = byte[0] < 0x80 ? 1 : byte[0] >= 0xc2 && byte[0] < 0xe0 ? 2
                   : (byte[0] & 0xf0) == 0xe0 ? 3 : byte[0] >= 0xf0 && byte[0] < 0xf5 ? 4 : 0;
    unsigned char second_least = byte[0] == 0xe0 ? 0xa0 : byte[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char second_most = byte[0] == 0xed ? 0x9f : byte[0] == 0xf4 ? 0x8f : 0xbf;
    if (count > 1 && (byte[1] < second_least || byte[1] > second_most)) // the 0 at the end, too
        return 0;
    for (size_t i = 2; i < count; i++)
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    return count;
}

static bool is_control(const char *text)
{
    const unsigned char *byte = (const unsigned char *)text;
    return byte[0] < ' ' || byte[0] == 0x7f || (byte[0] == 0xc2 && byte[1] < 0xa0);
}

const char *text_printable(const char *text)
{
    char *copy = memory_format("%s", text);
    for (char *next = copy; *next != '\0';) {
        size_t count = character_bytes(next);
        if (count == 0 || is_control(next)) {
            *next = '?';
            count = 1; // what follows stands alone now, and becomes one as well
        }
        next += count;
    }
    const char *kept = strings_keep(copy);
    free(copy);
    return kept;
}

static int columns = TEXT_COLUMNS;

void text_fit(int file)
{
    struct winsize window;
    if (ioctl(file, TIOCGWINSZ, &window) == 0 && window.ws_col != 0 && window.ws_col < TEXT_COLUMNS)
        columns = window.ws_col < TEXT_COLUMNS_LEAST ? TEXT_COLUMNS_LEAST : window.ws_col;
}

int text_columns(void)
{
    return columns;
}

size_t text_room(int column)
{
    return (size_t)(columns - column);
}

size_t text_cut(const char *text, size_t room)
{
    size_t length = strnlen(text, room + 1);
    if (length <= room)
        return length;
    while (room > 0 && ((unsigned char)text[room] & 0xc0) == 0x80)
        room--;
    return room;
}

void text_wrap(FILE *out, const char *text, int indent, int width)
{
    size_t room = width > indent ? (size_t)(width - indent) : 1;
    while (*text != '\0') {
        size_t length = strlen(text);
        if (length > room) {
            length = room;
            while (length > 0 && text[length] != ' ')
                length--;
            if (length == 0) // one long word
                length = strcspn(text, " ");
        }
        fprintf(out, "%*s%.*s\n", indent, "", (int)length, text);
        text += length;
        text += strspn(text, " ");
    }
}

// "a<b<c>, d>::e" -> "a<>::e"; operators keep theirs.
static char *without_parameters(const char *name)
{
    char *out = memory_get(strlen(name) + 1, 1), *end = out;
    int depth = 0;
    for (const char *letter = name; *letter != '\0'; letter++) {
        bool is_operator = letter - name >= 8 && strncmp(letter - 8, "operator", 8) == 0;
        bool arrow = *letter == '>' && letter > name && letter[-1] == '-';
        if (*letter == '>' && depth > 0 && !arrow)
            depth--;
        if (depth == 0)
            *end++ = *letter;
        if (*letter == '<' && !is_operator && letter != name)
            depth++;
    }
    *end = '\0';
    return out;
}

const char *text_site(const char *site, size_t room)
{
    site = text_printable(site);
    if (strlen(site) <= room)
        return site;
    char *shorter = without_parameters(site);
    if (strlen(shorter) > room && room > 3) {
        const char *place = strstr(shorter, " ("); // the place says more than the end of the name
        size_t place_length = place != NULL && strlen(place) + 8 < room ? strlen(place) : 0;
        char *cut = memory_format("%.*s...%s", (int)text_cut(shorter, room - 3 - place_length), shorter,
                                  place_length != 0 ? place : "");
        free(shorter);
        shorter = cut;
    }
    const char *kept = strings_keep(shorter);
    free(shorter);
    return kept;
}

// In single quotes where a shell would take it for something else.
static char *quoted(const char *word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./:=@_";
    if (*word != '\0' && word[strspn(word, plain)] == '\0')
        return memory_format("%s", word);
    char *out = memory_get(strlen(word) + 1, sizeof "'\\''"), *end = out;
    *end++ = '\'';
    for (; *word != '\0'; word++)
        if (*word == '\'')
            end = stpcpy(end, "'\\''");
        else
            *end++ = *word;
    strcpy(end, "'");
    return out;
}

const char *text_command(const char *const *words, uint32_t count, size_t room)
{
    char *line = memory_format("%s", "");
    for (uint32_t i = 0; i < count && strlen(line) <= room; i++) {
        char *word = quoted(text_printable(words[i]));
        char *longer = memory_format("%s%s%s", line, i == 0 ? "" : " ", word);
        free(word);
        free(line);
        line = longer;
    }
    if (strlen(line) > room && room > strlen("..."))
        strcpy(line + text_cut(line, room - strlen("...")), "...");
    const char *kept = strings_keep(line);
    free(line);
    return kept;
}

const char *text_plural(uint64_t count)
{
    return count == 1 ? "" : "s";
}

// What is outside of main, or of a thread's first function, says nothing.
static bool is_start(const profile_frame_t *frame)
{
    static const char *const names[] = {"__libc_start_call_main", "__libc_start_main", "__libc_start_main_impl",
                                        "_start", "start_thread", "clone3", "__clone3", "clone", "__clone"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(frame->function, names[i]) == 0)
            return true;
    return false;
}

void text_callers(FILE *out, const profile_t *profile, const profile_stack_t *stack, int indent)
{
    enum { LINES = 2, NAME_ROOM = 60 };
    const profile_frame_t *frame;
    uint32_t index = 0;
    size_t room = text_room(indent + (int)strlen("< "));
    room = room < NAME_ROOM ? room : NAME_ROOM;
    int column = 0, line = 0;
    while ((frame = blame_frame_at(profile, stack, index)) != NULL && frame != stack->blamed)
        index++;
    while (frame != NULL && (frame = blame_frame_at(profile, stack, ++index)) != NULL && !is_start(frame)) {
        const char *name = text_site(frame->text, room);
        int width = (int)(strlen(" < ") + strlen(name));
        if (column != 0 && column + width > columns) {
            if (++line == LINES)
                break;
            column = 0;
            fputc('\n', out);
        }
        column += fprintf(out, "%*s< %s", column == 0 ? indent : 1, "", name);
    }
    if (line == LINES)
        fputs(" ...", out);
    if (column != 0)
        fputc('\n', out);
}

const char *text_moment(const profile_t *profile, profile_moment_t moment)
{
    const profile_snapshot_t *snapshot = profile_snapshot(profile, moment);
    double seconds = (double)snapshot->time_ms / 1000;
    char *text = moment == MOMENT_PEAK    ? memory_format("at the peak (%.1f s)", seconds)
                 : moment == MOMENT_WORST ? memory_format("with most holes (%.1f s)", seconds)
                 : strcmp(snapshot->reason, "end") == 0 ? memory_format("at exit")
                                          : memory_format("last seen (%.1f s)", seconds);
    const char *kept = strings_keep(text);
    free(text);
    return kept;
}
