// queue.put("text") into a Queue<int>
// says: put() takes an item of the queue
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Queue<int>& queue) { co_await queue.put("text"); }
