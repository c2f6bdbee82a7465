// with(manager, body); without co_await
// says: co_await it
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Lock& lock) {
    asyncio::with(lock, []() -> asyncio::Coroutine<> { co_return; });
    co_return;
}
