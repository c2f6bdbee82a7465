// with(manager, 5)
// says: the body of with()
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Lock& lock) { co_await asyncio::with(lock, 5); }
