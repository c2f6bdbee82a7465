// with(manager, g()): the body is called already
// says: the body of with()
#include <asyncio.hpp>

asyncio::Coroutine<> g();
asyncio::Coroutine<> f(asyncio::Lock& lock) { co_await asyncio::with(lock, g()); }
