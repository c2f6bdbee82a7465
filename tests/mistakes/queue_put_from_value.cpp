// queue.put_from("text") into a Queue<int>
// says: moves from a variable
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Queue<int>& queue) { co_await queue.put_from("text"); }
