// A plug-in: a shared object that a program loads while it runs, with coroutines of its own.
#include <asyncio.hpp>

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

}  // namespace

extern "C" __attribute__((visibility("default"))) int plugin_main() { return asyncio::run(work()); }
