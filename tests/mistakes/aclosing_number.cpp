// with(aclosing(5), body)
// says: aclosing() takes
#include <asyncio.hpp>

asyncio::Coroutine<> f() {
    co_await asyncio::with(asyncio::aclosing(5), []() -> asyncio::Coroutine<> { co_return; });
}
