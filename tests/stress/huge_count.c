// tests/stress/huge_count.c - see huge_count.h.
#include "huge_count.h"

#include "os_linux.h"

huge_count_t huge_count;

bool __real_os_huge_page(char *start, size_t bytes, bool again);
bool __wrap_os_huge_page(char *start, size_t bytes, bool again);
bool __real_os_huge_page_collapse(char *start, size_t bytes);
bool __wrap_os_huge_page_collapse(char *start, size_t bytes);
void __real_os_ask_huge_pages(void *start, size_t bytes);
void __wrap_os_ask_huge_pages(void *start, size_t bytes);

bool __wrap_os_huge_page(char *start, size_t bytes, bool again)
{
    bool done = __real_os_huge_page(start, bytes, again);
    huge_count.regions += done;
    return done;
}

bool __wrap_os_huge_page_collapse(char *start, size_t bytes)
{
    bool done = __real_os_huge_page_collapse(start, bytes);
    huge_count.collapsed += done;
    return done;
}

void __wrap_os_ask_huge_pages(void *start, size_t bytes)
{
    huge_count.large++;
    __real_os_ask_huge_pages(start, bytes);
}
