// Shared objects that a program loads while it runs: plug-ins, extension modules, JNI.
#include <dlfcn.h>
#include <gtest/gtest.h>

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
