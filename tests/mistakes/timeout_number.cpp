// timeout(5): a limit without its unit
// says: write the unit: 1s
#include <asyncio.hpp>

asyncio::Coroutine<> f() {
    co_await asyncio::with(asyncio::timeout(5), []() -> asyncio::Coroutine<> { co_return; });
}
