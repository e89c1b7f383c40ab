// tests/tools/html/write.c OUT < REPORT - report_html_write, and nothing of the tarn command around it.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "report_html.h"

enum { NOT_BUILT = 77 }; // meson's word for a test that was left out

static char *input_read(size_t *length)
{
    char *text = NULL;
    FILE *copy = open_memstream(&text, length);
    char buffer[1 << 16];
    size_t count;
    while ((count = fread(buffer, 1, sizeof buffer, stdin)) > 0)
        fwrite(buffer, 1, count, copy);
    fclose(copy);
    return text;
}

int main(int argc, char **argv)
{
    if (argc != 2)
        return EINVAL;
    if (!report_html_built())
        return NOT_BUILT;
    signal(SIGXFSZ, SIG_IGN); // a limit on the size of files stands for a full disk
    size_t length;
    char *json = input_read(&length);
    int status = report_html_write("write", argv[1], json, length);
    free(json);
    return status;
}
