// int x = queue.get(): co_await forgotten
// says: QueueGet
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Queue<int>& queue) {
    int x = queue.get();
    co_return;
}
