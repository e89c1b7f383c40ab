// tools/unbuilt.c - in place of the subcommands that need libraries, where one of these was missing.
#include "tool.h"

static int unbuilt(char **argv)
{
    tool_error(argv[0], "this tarn was built without it; it needs (Debian names) " TARN_READERS_NEED
               ", then configure and build again");
    return TOOL_BAD_INPUT;
}

int report_main(int argc, char **argv)
{
    (void)argc;
    return unbuilt(argv);
}

int diff_main(int argc, char **argv)
{
    (void)argc;
    return unbuilt(argv);
}

int top_main(int argc, char **argv)
{
    (void)argc;
    return unbuilt(argv);
}

int compare_main(int argc, char **argv)
{
    (void)argc;
    return unbuilt(argv);
}
