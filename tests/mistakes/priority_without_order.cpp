// PriorityQueue of a type without operator<
// says: operator<
#include <asyncio.hpp>

struct Job {
    int size;
};
asyncio::Coroutine<> f() {
    asyncio::PriorityQueue<Job> queue;
    co_await queue.emplace(1);
}
