// wait({a, b}): a braced list
// says: wait(a, b)
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Task<> a, asyncio::Task<> b) {
    auto r = co_await asyncio::wait({a, b});
}
