// queue.put(item) of a move-only item
// says: put(std::move(item))
#include <asyncio.hpp>

#include <memory>

asyncio::Coroutine<> f(asyncio::Queue<std::unique_ptr<int>>& queue, std::unique_ptr<int> item) {
    co_await queue.put(item);
}
