// tests/conformance/plugin.cpp - C++ code that a C program loads at run time, and libstdc++ with it.
#include <new>
#include <string>

extern "C" int plugin_catches(size_t size);
extern "C" char *plugin_text(size_t length);
extern "C" int plugin_handler_calls(size_t size);

// 1: bad_alloc was thrown and caught here; 0: there was memory.
extern "C" int plugin_catches(size_t size)
{
    try {
        ::operator delete(::operator new(size));
        return 0;
    } catch (const std::bad_alloc &) {
        return 1;
    }
}

extern "C" char *plugin_text(size_t length)
{
    std::string text(length, 'p');
    char *copy = new char[length + 1];
    text.copy(copy, length);
    copy[length] = '\0';
    return copy;
}

static int handler_calls;

static void handler_gives_up()
{
    handler_calls++;
    std::set_new_handler(nullptr);
}

static void call_throwing(size_t size)
{
    try {
        ::operator delete(::operator new(size));
    } catch (const std::bad_alloc &) {
    }
}

// How often its new-handler is called by a new that throws and a new that does not.
extern "C" int plugin_handler_calls(size_t size)
{
    handler_calls = 0;
    std::set_new_handler(handler_gives_up);
    call_throwing(size);
    std::set_new_handler(handler_gives_up);
    ::operator delete(::operator new(size, std::nothrow));
    std::set_new_handler(handler_gives_up);
    ::operator delete(::operator new(size, std::align_val_t{64}, std::nothrow), std::align_val_t{64});
    return handler_calls;
}
