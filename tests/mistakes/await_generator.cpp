// co_await of a generator
// says: next()
#include <asyncio.hpp>

asyncio::AsyncGenerator<int> g();
asyncio::Coroutine<> f() { co_await g(); }
