// queue.emplace("text") into a Queue<int>
// says: emplace() takes what
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Queue<int>& queue) { co_await queue.emplace("text"); }
