// with() without anything
// says: with() takes
#include <asyncio.hpp>

asyncio::Coroutine<> f() { co_await asyncio::with(); }
