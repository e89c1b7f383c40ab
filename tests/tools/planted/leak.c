// tests/tools/planted/leak.c - the planted fault: each request leaves a note of 128 bytes behind, and frees all else.
//
// With an argument it goes on until it is killed.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { REQUESTS = 300000, NOTE_BYTES = 128, WORK_BLOCKS = 5, SHOWN_EACH = 1000 };

struct note {
    struct note *next;
    char text[NOTE_BYTES - sizeof(struct note *)];
};

static struct note *notes;

__attribute__((noinline)) static void note_request(void)
{
    struct note *note = malloc(sizeof *note);
    memset(note->text, 1, sizeof note->text);
    note->next = notes;
    notes = note;
}

__attribute__((noinline)) static void request_work(int number)
{
    char *blocks[WORK_BLOCKS];
    for (int i = 0; i < WORK_BLOCKS; i++) {
        blocks[i] = malloc((size_t)(64 + (number + i * 128) % 512));
        memset(blocks[i], 1, 64);
    }
    for (int i = 0; i < WORK_BLOCKS; i++)
        free(blocks[i]);
}

__attribute__((noinline)) static void request_serve(int number)
{
    request_work(number);
    note_request();
}

int main(int argc, char **argv)
{
    (void)argv;
    for (int i = 0; i < REQUESTS; i++)
        request_serve(i);
    puts("served");
    fflush(stdout);
    for (int i = 0; argc > 1; i++) {
        request_serve(i);
        if (i % SHOWN_EACH == 0)
            usleep(1000);
    }
    return 0;
}
