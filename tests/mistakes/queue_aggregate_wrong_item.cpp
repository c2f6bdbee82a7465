// queue.put(5) into a queue of a struct
// says: put() takes an item of the queue
#include <asyncio.hpp>

#include <string>

struct Job {
    std::string name;
};
asyncio::Coroutine<> f(asyncio::Queue<Job>& queue) { co_await queue.put(5); }
