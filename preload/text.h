// preload/text.h - the few string functions that the start and the report need, a loop each.
//
// Why not the C library's: ../pool/kernel_call.h says what the first call of one costs a small program, and what is
// read here is too short for theirs to be faster. (Compiled with -fno-tree-loop-distribute-patterns, or the compiler
// would call them all the same.)
#ifndef TARN_TEXT_H
#define TARN_TEXT_H

#include <stdbool.h>
#include <stddef.h>

static inline size_t text_length(const char *text)
{
    size_t length = 0;
    while (text[length] != '\0')
        length++;
    return length;
}

// Letters of text, at most `most`.
static inline size_t text_length_within(const char *text, size_t most)
{
    size_t length = 0;
    while (length < most && text[length] != '\0')
        length++;
    return length;
}

static inline bool text_begins(const char *text, const char *start)
{
    while (*start != '\0')
        if (*text++ != *start++)
            return false;
    return true;
}

static inline bool text_equals(const char *text, const char *other)
{
    for (; *text == *other; text++, other++)
        if (*text == '\0')
            return true;
    return false;
}

// The first place of letter in text, or its end.
static inline const char *text_find(const char *text, char letter)
{
    while (*text != letter && *text != '\0')
        text++;
    return text;
}

// The same in `most` bytes: how many stand before it; `most` if it is not there.
static inline size_t text_find_within(const char *bytes, char letter, size_t most)
{
    size_t at = 0;
    while (at < most && bytes[at] != letter)
        at++;
    return at;
}

// Behind the letters at the start of text that are `letter`.
static inline const char *text_skip(const char *text, char letter)
{
    while (*text == letter)
        text++;
    return text;
}

static inline void text_copy(char *to, const char *from, size_t length)
{
    for (size_t i = 0; i < length; i++)
        to[i] = from[i];
}

#endif
