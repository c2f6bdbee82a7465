// queue.put("text") into a Queue<int>
// says: int
// lines: 64
// errors: 5
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Queue<int>& queue) { co_await queue.put("text"); }
