// A plug-in: a shared object that a program loads while it runs, with coroutines of its own.
#include <asyncio.hpp>

#include <exception>
#include <stdexcept>

namespace {

asyncio::Coroutine<int> leaf(int n) {
    co_await asyncio::sleep(std::chrono::milliseconds(0));
    co_return n;
}

asyncio::Coroutine<int> work() {
    asyncio::Queue<int> queue;
    auto twenty = asyncio::create_task(leaf(20));
    co_await queue.put(co_await leaf(2));
    const int thread = co_await asyncio::to_thread([] { return 20; });
    co_return co_await twenty + co_await queue.get() + thread;
}

asyncio::Coroutine<> fail() {
    co_await asyncio::sleep(std::chrono::milliseconds(0));
    throw std::runtime_error("from the plug-in");
}

// An error that another copy of the library may have traced before.
asyncio::Coroutine<> pass_on(std::exception_ptr error) {
    co_await asyncio::sleep(std::chrono::milliseconds(0));
    std::rethrow_exception(error);
}

}  // namespace

// The error of a task of the plug-in: its own, or, if not null, `error`.
extern "C" __attribute__((visibility("default"))) void plugin_fail(std::exception_ptr* error) {
    try {
        if (*error) {
            asyncio::run(pass_on(*error));
        } else {
            asyncio::run(fail());
        }
    } catch (...) {
        *error = std::current_exception();
    }
}

extern "C" __attribute__((visibility("default"))) void plugin_format(
    const std::exception_ptr* error, char* text, std::size_t room) {
    asyncio::format_exception(*error).copy(text, room - 1);
}

extern "C" __attribute__((visibility("default"))) int plugin_main() { return asyncio::run(work()); }
