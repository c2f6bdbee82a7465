// as_completed({a, b}): a braced list
// says: as_completed(std::vector{a, b})
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Task<> a, asyncio::Task<> b) {
    for (auto next : asyncio::as_completed({a, b})) co_await next;
}
