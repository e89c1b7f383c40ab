// tests/tools/planted/copies.c - allocates by the C library's functions alone: each stack's innermost frame is there.
#include <stdio.h>
#include <string.h>

enum { COPIES = 20000, TEXT_BYTES = 1024 };

char *copies[COPIES]; // seen from outside, so that the compiler keeps them

__attribute__((noinline)) static void copy_text(int number)
{
    char text[TEXT_BYTES];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    copies[number] = strdup(text);
}

int main(void)
{
    for (int i = 0; i < COPIES; i++)
        copy_text(i);
    puts("copied");
    return 0;
}
