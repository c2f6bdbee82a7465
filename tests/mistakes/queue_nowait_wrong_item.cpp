// queue.put_nowait("text") into a Queue<int>
// says: put_nowait() takes an item of the queue
#include <asyncio.hpp>

void f(asyncio::Queue<int>& queue) { queue.put_nowait("text"); }
