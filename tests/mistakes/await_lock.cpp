// co_await lock
// says: co_await lock.scoped()
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Lock& lock) { co_await lock; }
