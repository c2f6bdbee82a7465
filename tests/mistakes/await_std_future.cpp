// co_await of a std::future
// says: this cannot be awaited
#include <asyncio.hpp>

#include <future>

asyncio::Coroutine<int> f(std::future<int> answer) { co_return co_await answer; }
