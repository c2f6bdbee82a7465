// co_await g of a function with parameters: not called
// says: this cannot be awaited | reference to
#include <asyncio.hpp>

asyncio::Coroutine<> g(int);
asyncio::Coroutine<> f() { co_await g; }
