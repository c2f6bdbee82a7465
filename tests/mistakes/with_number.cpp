// with(5, body)
// says: with() needs
#include <asyncio.hpp>

asyncio::Coroutine<> f() {
    co_await asyncio::with(5, []() -> asyncio::Coroutine<> { co_return; });
}
