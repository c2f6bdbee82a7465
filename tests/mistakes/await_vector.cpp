// co_await of a vector of tasks
// says: gather
#include <asyncio.hpp>

#include <vector>

asyncio::Coroutine<> f(std::vector<asyncio::Task<>> tasks) { co_await tasks; }
