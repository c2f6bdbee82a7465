// Shared objects that a program loads while it runs: plug-ins, extension modules, JNI.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <asyncio/traceback.hpp>

#include <exception>
#include <stdexcept>
#include <string>
#include <thread>

namespace {

using Main = int (*)();

void* load(const std::string& name) {
    void* const library = dlopen((PLUGIN_FOLDER "/" + name + ".so").c_str(), RTLD_NOW);
    if (!library) ADD_FAILURE() << dlerror();
    return library;
}

Main main_of(const std::string& name) {
    void* const library = load(name);
    // Safe because the plug-in has this function.
    return library ? reinterpret_cast<Main>(dlsym(library, "plugin_main")) : nullptr;
}

// L4. What a library has of thread-local storage must not need the static room, of which the system
// keeps about 1,600 bytes for all that is loaded while a program runs.
TEST(Plugins, LoadAfterTwentyLibrariesWithThreadLocalStorage) {
    for (int i = 1; i <= 20; ++i) load("asyncio_tenant_" + std::to_string(i));
    const Main shared = main_of("asyncio_plugin_shared");
    const Main archive = main_of("asyncio_plugin_static");
    ASSERT_TRUE(shared && archive);
    EXPECT_EQ(shared(), 42);
    EXPECT_EQ(archive(), 42);
}

using Fail = void (*)(std::exception_ptr*);
using Format = void (*)(const std::exception_ptr*, char*, std::size_t);

template <class F>
F function_of(void* library, const char* name) {
    // Safe because the plug-in has this function.
    return reinterpret_cast<F>(dlsym(library, name));
}

std::string formatted_by(void* library, const std::exception_ptr& error) {
    char text[4000] = {};
    function_of<Format>(library, "plugin_format")(&error, text, sizeof text);
    return text;
}

// The copy of the library that traced it is called when the exception goes.
TEST(Plugins, AnErrorOutlivesItsPlugin) {
    for (const char* name : {"asyncio_plugin_shared", "asyncio_plugin_static"}) {
        std::exception_ptr error;
        std::exception_ptr of_thread;
        void* const library = load(name);
        ASSERT_TRUE(library);
        const Fail fail = function_of<Fail>(library, "plugin_fail");
        fail(&error);
        std::thread([&] { fail(&of_thread); }).join();
        const std::string text = formatted_by(library, error);
        EXPECT_NE(text.find(", in fail\nruntime_error: from the plug-in"), std::string::npos)
            << text;
        EXPECT_EQ(dlclose(library), 0);
        static_cast<void>(asyncio::format_exception(error));
        error = nullptr;
        of_thread = nullptr;
        // It is loaded again, and traces again.
        void* const again = load(name);
        ASSERT_TRUE(again);
        function_of<Fail>(again, "plugin_fail")(&error);
        EXPECT_EQ(formatted_by(again, error), text);
        EXPECT_EQ(dlclose(again), 0);
    }
}

// Three copies: in the program, in a plug-in, in a shared library.
TEST(Plugins, AnErrorThatPassesSeveralCopiesOfTheLibrary) {
    void* const archive = load("asyncio_plugin_static");
    void* const shared = load("asyncio_plugin_shared");
    ASSERT_TRUE(archive && shared);
    for (int round = 0; round < 100; ++round) {
        std::exception_ptr error;
        function_of<Fail>(archive, "plugin_fail")(&error);
        const std::exception_ptr same = error;
        for (void* const library : {shared, archive, shared}) {
            function_of<Fail>(library, "plugin_fail")(&error);
            EXPECT_EQ(error, same);
        }
        const std::string text = formatted_by(archive, error);
        EXPECT_NE(text.find(", in pass_on\n"), std::string::npos) << text;
        EXPECT_TRUE(text.ends_with(", in fail\nruntime_error: from the plug-in")) << text;
        EXPECT_NE(formatted_by(shared, error).find(", in pass_on\n"), std::string::npos);
    }
}

// One exception, many threads, two copies: each puts its destructor in front once.
TEST(Plugins, SeveralCopiesTraceOneErrorAtOnce) {
    void* const archive = load("asyncio_plugin_static");
    void* const shared = load("asyncio_plugin_shared");
    ASSERT_TRUE(archive && shared);
    for (int round = 0; round < 20; ++round) {
        std::exception_ptr error = std::make_exception_ptr(std::runtime_error("one for all"));
        std::thread threads[4];
        for (int t = 0; t < 4; ++t) {
            threads[t] = std::thread([&, t, own = error]() mutable {
                const auto fail = function_of<Fail>(t % 2 == 0 ? archive : shared, "plugin_fail");
                for (int i = 0; i < 10; ++i) fail(&own);
            });
        }
        error = nullptr;
        for (std::thread& thread : threads) thread.join();
    }
}

// L4. The same on threads that were there before the library was loaded, and that begin later.
TEST(Plugins, RunOnEveryThread) {
    for (const char* name : {"asyncio_plugin_shared", "asyncio_plugin_static"}) {
        const Main run = main_of(name);
        ASSERT_TRUE(run);
        for (int i = 0; i < 3; ++i) {
            int result = 0;
            std::thread([&] { result = run(); }).join();
            EXPECT_EQ(result, 42) << name;
        }
    }
}

}  // namespace
