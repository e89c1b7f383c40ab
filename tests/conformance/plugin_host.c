// tests/conformance/plugin_host.c - a C program that loads a C++ plugin: libstdc++ comes long after the library.
//
//   TARN_TEST_PLUGIN    the plugin's path
#include "facts.h"

static void *plugin_load(void)
{
    const char *path = getenv("TARN_TEST_PLUGIN");
    CHECK(path != NULL, "TARN_TEST_PLUGIN is not set");
    CHECK(dlsym(RTLD_DEFAULT, "_ZSt15get_new_handlerv") == NULL, "libstdc++ is here already");
    void *plugin = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    CHECK(plugin != NULL, "%s", dlerror());
    return plugin;
}

FACT(a_plugin_catches_the_bad_alloc_of_its_own_new)
{
    int (*catches)(size_t) = NULL;
    *(void **)&catches = dlsym(plugin_load(), "plugin_catches");
    CHECK(catches(1000) == 0, "thrown for 1000 bytes");
    CHECK(catches(SIZE_MAX / 2 + 1) == 1, "not thrown");
    CHECK(catches(SIZE_MAX) == 1, "not thrown");
}

FACT(the_new_handler_of_a_plugin_is_called)
{
    int (*handler_calls)(size_t) = NULL;
    *(void **)&handler_calls = dlsym(plugin_load(), "plugin_handler_calls");
    CHECK(handler_calls(SIZE_MAX / 2 + 1) == 3, "%d times", handler_calls(SIZE_MAX / 2 + 1));
}

FACT(the_program_frees_what_a_plugin_has_allocated_with_new)
{
    char *(*text)(size_t) = NULL;
    void *plugin = plugin_load();
    *(void **)&text = dlsym(plugin, "plugin_text");
    char *texts[3] = {text(10), text(5000), text(500000)};
    dlclose(plugin);
    for (size_t i = 0; i < COUNT(texts); i++) {
        CHECK(texts[i][0] == 'p' && texts[i][strlen(texts[i]) - 1] == 'p', "text %zu", i);
        free(texts[i]);
    }
}
