// co_await queue
// says: this cannot be awaited
#include <asyncio.hpp>

asyncio::Coroutine<int> f(asyncio::Queue<int>& queue) { co_return co_await queue; }
