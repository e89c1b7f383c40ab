// tests/conformance/operators.cpp - new and delete in all their forms, linked with libstdc++ as every C++ program is.
#include <cstdlib>
#include <malloc.h>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <vector>

#include "facts.h"

static const size_t sizes[] = {0, 1, 16, 100, 512, 513, 5000, 100000, 300000, 3000000};
static const size_t alignments[] = {1, 8, 16, 32, 64, 256, 4096, 65536, MIB};

// More than there is: not known to the compiler, which would warn.
static volatile size_t too_much = SIZE_MAX / 2 + 1;

static void is_block(void *block, size_t size, size_t alignment, size_t tag)
{
    CHECK(block != nullptr && reinterpret_cast<uintptr_t>(block) % alignment == 0, "%p for %zu bytes at %zu", block,
          size, alignment);
    CHECK(malloc_usable_size(block) >= size, "%zu for %zu bytes at %zu", malloc_usable_size(block), size, alignment);
    block_fill(block, size, tag);
}

// Two live at a time, checked before they go: a delete of the wrong kind of block would be seen in the next rounds.
struct pair_t {
    void *first, *second;
    size_t size;
};

static pair_t pair_check(void *first, void *second, size_t size, size_t alignment)
{
    is_block(first, size, alignment, 1);
    is_block(second, size, alignment, 2);
    CHECK(block_is_filled(first, size, 1), "%zu bytes at %zu", size, alignment);
    return {first, second, size};
}

FACT(new_and_delete_of_one_object_work_in_every_form)
{
    for (size_t size : sizes) {
        pair_t plain = pair_check(::operator new(size), ::operator new(size), size, 16);
        ::operator delete(plain.first);
        ::operator delete(plain.second, size);
        pair_t quiet = pair_check(::operator new(size, std::nothrow), ::operator new(size, std::nothrow), size, 16);
        ::operator delete(quiet.first, std::nothrow);
        ::operator delete(quiet.second);
    }
}

FACT(new_and_delete_of_an_array_work_in_every_form)
{
    for (size_t size : sizes) {
        pair_t plain = pair_check(::operator new[](size), ::operator new[](size), size, 16);
        ::operator delete[](plain.first);
        ::operator delete[](plain.second, size);
        pair_t quiet = pair_check(::operator new[](size, std::nothrow), ::operator new[](size, std::nothrow), size, 16);
        ::operator delete[](quiet.first, std::nothrow);
        ::operator delete[](quiet.second);
    }
}

FACT(aligned_new_and_delete_work_in_every_form)
{
    for (size_t size : sizes)
        for (size_t alignment : alignments) {
            std::align_val_t align{alignment};
            pair_t plain = pair_check(::operator new(size, align), ::operator new(size, align), size, alignment);
            ::operator delete(plain.first, align);
            ::operator delete(plain.second, size, align);
            pair_t quiet = pair_check(::operator new(size, align, std::nothrow),
                                      ::operator new(size, align, std::nothrow), size, alignment);
            ::operator delete(quiet.first, align, std::nothrow);
            ::operator delete(quiet.second, align);
        }
}

FACT(aligned_new_and_delete_of_an_array_work_in_every_form)
{
    for (size_t size : sizes)
        for (size_t alignment : alignments) {
            std::align_val_t align{alignment};
            pair_t plain = pair_check(::operator new[](size, align), ::operator new[](size, align), size, alignment);
            ::operator delete[](plain.first, align);
            ::operator delete[](plain.second, size, align);
            pair_t quiet = pair_check(::operator new[](size, align, std::nothrow),
                                      ::operator new[](size, align, std::nothrow), size, alignment);
            ::operator delete[](quiet.first, align, std::nothrow);
            ::operator delete[](quiet.second, align);
        }
}

FACT(delete_of_null_does_nothing)
{
    ::operator delete(nullptr);
    ::operator delete[](nullptr);
    ::operator delete(nullptr, size_t{8});
    ::operator delete[](nullptr, size_t{8});
    ::operator delete(nullptr, std::nothrow);
    ::operator delete[](nullptr, std::nothrow);
    ::operator delete(nullptr, std::align_val_t{64});
    ::operator delete[](nullptr, std::align_val_t{64});
    ::operator delete(nullptr, size_t{8}, std::align_val_t{64});
    ::operator delete[](nullptr, size_t{8}, std::align_val_t{64});
    ::operator delete(nullptr, std::align_val_t{64}, std::nothrow);
    ::operator delete[](nullptr, std::align_val_t{64}, std::nothrow);
}

// libstdc++'s own new and delete are malloc and free, and mixed programs exist.
FACT(what_new_gives_free_takes_and_the_other_way_round)
{
    for (size_t size : sizes) {
        free(::operator new(size));
        ::operator delete(malloc(size));
        ::operator delete[](aligned_alloc(64, size), std::align_val_t{64});
    }
}

// --- no memory -------------------------------------------------------------------------------------------------------

typedef void *form_t(size_t size);

static form_t *const throwing[] = {
    [](size_t size) { return ::operator new(size); },
    [](size_t size) { return ::operator new[](size); },
    [](size_t size) { return ::operator new(size, std::align_val_t{64}); },
    [](size_t size) { return ::operator new[](size, std::align_val_t{64}); },
};

static form_t *const quiet[] = {
    [](size_t size) { return ::operator new(size, std::nothrow); },
    [](size_t size) { return ::operator new[](size, std::nothrow); },
    [](size_t size) { return ::operator new(size, std::align_val_t{64}, std::nothrow); },
    [](size_t size) { return ::operator new[](size, std::align_val_t{64}, std::nothrow); },
};

template <typename exception_t> static bool throws(form_t *form, size_t size)
{
    try {
        form(size);
    } catch (const exception_t &) {
        return true;
    }
    return false;
}

FACT(new_throws_bad_alloc_that_is_caught)
{
    for (size_t i = 0; i < COUNT(throwing); i++)
        for (size_t size : {too_much, SIZE_MAX - 64, SIZE_MAX})
            CHECK(throws<std::bad_alloc>(throwing[i], size), "form %zu, %zu bytes", i, size);
}

FACT(nothrow_new_returns_null)
{
    for (size_t i = 0; i < COUNT(quiet); i++)
        for (size_t size : {too_much, SIZE_MAX - 64, SIZE_MAX})
            CHECK(quiet[i](size) == nullptr, "form %zu, %zu bytes", i, size);
}

FACT(an_array_whose_size_overflows_throws_bad_array_new_length)
{
    bool caught = false;
    try {
        std::unique_ptr<long[]> array(new long[too_much]);
    } catch (const std::bad_array_new_length &) {
        caught = true;
    }
    CHECK(caught, "nothing was thrown");
}

static int handler_calls;

static void handler_gives_up_after_three()
{
    if (++handler_calls == 3)
        std::set_new_handler(nullptr);
}

FACT(the_new_handler_is_called_until_there_is_none)
{
    for (form_t *form : throwing) {
        handler_calls = 0;
        std::set_new_handler(handler_gives_up_after_three);
        CHECK(throws<std::bad_alloc>(form, too_much), "no bad_alloc");
        CHECK(handler_calls == 3, "called %d times", handler_calls);
    }
    for (form_t *form : quiet) {
        handler_calls = 0;
        std::set_new_handler(handler_gives_up_after_three);
        CHECK(form(too_much) == nullptr, "not NULL");
        CHECK(handler_calls == 3, "called %d times", handler_calls);
    }
}

struct own_exception_t : std::bad_alloc {};

static void handler_throws()
{
    throw own_exception_t();
}

FACT(what_the_new_handler_throws_reaches_the_caller)
{
    std::set_new_handler(handler_throws);
    for (form_t *form : throwing)
        CHECK(throws<own_exception_t>(form, too_much), "not the handler's exception");
    for (form_t *form : quiet)
        CHECK(form(too_much) == nullptr, "nothrow, and the handler threw");
    std::set_new_handler(nullptr);
}

// A handler that makes room: the request that failed is tried again, and succeeds.
static std::vector<void *> ballast;

static void handler_frees_ballast()
{
    for (void *block : ballast)
        free(block);
    ballast.clear();
    std::set_new_handler(nullptr);
}

FACT(the_new_handler_can_make_room)
{
    const size_t part = MIB * 64;
    ballast.reserve(4 * MIB);
    for (void *block = malloc(part << 20); block != nullptr && ballast.size() < 4 * MIB; block = malloc(part << 20))
        ballast.push_back(block); // address space, not memory: 64 TiB a block
    for (size_t size = part << 19; size >= part; size /= 2)
        for (void *block = malloc(size); block != nullptr && ballast.size() < 4 * MIB; block = malloc(size))
            ballast.push_back(block);
    if (ballast.size() < 2)
        check_skip("the kernel refuses to promise more memory than there is");
    std::set_new_handler(handler_frees_ballast);
    void *block = ::operator new(part * 2);
    CHECK(block != nullptr && ballast.empty(), "%zu blocks are left", ballast.size());
    ::operator delete(block);
}

// --- programs --------------------------------------------------------------------------------------------------------

static void use_containers()
{
    std::map<std::string, std::vector<std::string>> map;
    for (int i = 0; i < 20000; i++)
        map["key number " + std::to_string(i % 3000)].push_back(std::string(i % 200, 'x'));
    size_t total = 0;
    for (auto &entry : map)
        total += entry.second.size();
    CHECK(total == 20000, "%zu", total);
}

FACT(containers_work_in_many_threads)
{
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back(use_containers);
    for (std::thread &thread : threads)
        thread.join();
}

struct alignas(256) wide_t {
    char bytes[256];
};

FACT(overaligned_types_are_aligned_in_containers)
{
    for (size_t count = 1; count < 3000; count = count * 3 + 1) {
        std::vector<wide_t> wide(count);
        CHECK(reinterpret_cast<uintptr_t>(wide.data()) % alignof(wide_t) == 0, "%p", static_cast<void *>(wide.data()));
    }
}

FACT(exceptions_are_thrown_and_caught_in_threads)
{
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++)
        threads.emplace_back([] {
            for (int j = 0; j < 20000; j++)
                CHECK(throws<std::bad_alloc>(throwing[j % COUNT(throwing)], too_much), "no bad_alloc");
        });
    for (std::thread &thread : threads)
        thread.join();
}

// --- before main and after it ------------------------------------------------------------------------------------------

static const size_t global_bytes = 100000;

// Allocates in a static constructor and frees in a static destructor; both see their block whole.
struct global_t {
    std::vector<char> bytes;
    std::string *text;
    global_t() : bytes(global_bytes, 'g'), text(new std::string(global_bytes, 't'))
    {
    }
    ~global_t()
    {
        CHECK(text->size() == global_bytes && text->back() == 't', "the text of a static object");
        delete text;
        std::vector<char> late(global_bytes * 5, 'l');
        CHECK(late.back() == 'l' && bytes.back() == 'g', "a block in a static destructor");
    }
};

static global_t global;

FACT(static_objects_allocate_before_main_and_free_after_it)
{
    CHECK(global.bytes.size() == global_bytes && global.bytes[0] == 'g', "a static object");
    static global_t local;
    CHECK(local.bytes.size() == global_bytes, "a static object of a function");
}

struct thread_object_t {
    std::vector<std::string> texts;
    ~thread_object_t()
    {
        std::vector<std::string> others(texts);
        others.push_back(std::string(5000, 'y'));
        CHECK(others.size() == texts.size() + 1, "in a thread_local destructor");
    }
};

static thread_local thread_object_t thread_object;

static void thread_object_use()
{
    for (int i = 0; i < 100; i++)
        thread_object.texts.push_back(std::string(static_cast<size_t>(i) * 10, 'x'));
}

FACT(thread_local_objects_allocate_and_free_in_their_destructors)
{
    size_t before = 0;
    for (int round = 0; round < 200; round++) {
        std::thread first(thread_object_use), second(thread_object_use);
        first.join();
        second.join();
        if (round == 20)
            before = rss_bytes();
    }
    CHECK(rss_bytes() < before + 8 * MIB, "grown from %zu to %zu", before, rss_bytes());
    thread_object_use(); // the main thread's, destroyed in exit
}
