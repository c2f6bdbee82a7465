// wait({a, b}, {.timeout = 2s}): a braced list and options
// says: wait(tasks, {.timeout = 2s})
#include <asyncio.hpp>

using namespace std::chrono_literals;

asyncio::Coroutine<> f(asyncio::Task<> a, asyncio::Task<> b) {
    auto r = co_await asyncio::wait({a, b}, {.timeout = 2s});
}
