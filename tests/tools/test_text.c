// tests/tools/test_text.c - what is printed is UTF-8 without control characters, and cut between characters.
#include "../../tools/text.h"

#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <string.h>

Test(text, what_is_no_character_becomes_question_marks)
{
    static const char *const pairs[][2] = {
        {"plain", "plain"}, {"\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9"}, {"\xf0\x9f\x90\x8c", "\xf0\x9f\x90\x8c"},
        {"a\x1b[2Jb", "a?[2Jb"}, {"\x7f", "?"}, {"\xc2\x85", "??"}, {"\xff\xfe", "??"},
        {"\xc0\xaf", "??"}, {"\xe0\x80\xaf", "???"}, {"\xf0\x80\x80\xaf", "????"}, // overlong forms of '/'
        {"\xed\xa0\x80", "???"}, {"\xf4\x90\x80\x80", "????"}, // a surrogate; U+110000
        {"\xed\x9f\xbf", "\xed\x9f\xbf"}, {"\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"}, // the last ones before them
        {"\xe2\x82", "??"}, {"\xe2\x82 ", "?? "}, // cut off
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        cr_expect(eq(str, (char *)text_printable(pairs[i][0]), (char *)pairs[i][1]));
}

Test(text, a_site_is_cut_between_characters)
{
    for (size_t room = 4; room < 40; room++) {
        const char *cut = text_site("\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8c\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\x8c_function", room);
        cr_expect(le(sz, strlen(cut), room));
        cr_expect(eq(str, (char *)text_printable(cut), (char *)cut), "room for %zu", room);
    }
}

Test(text, as_much_as_fits_is_kept)
{
    cr_expect(eq(sz, text_cut("\xe2\x82\xac\xe2\x82\xac", 6), 6));
    cr_expect(eq(sz, text_cut("\xe2\x82\xac\xe2\x82\xac", 5), 3));
    cr_expect(eq(sz, text_cut("\xe2\x82\xac\xe2\x82\xac", 2), 0));
    cr_expect(eq(sz, text_cut("short", 20), 5));
}
