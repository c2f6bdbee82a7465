// {.timeout = 2}: an option without its unit
// says: write the unit: 1s
#include <asyncio.hpp>

#include <vector>

asyncio::Coroutine<> f(std::vector<asyncio::Task<>> tasks) {
    auto [done, pending] = co_await asyncio::wait(tasks, {.timeout = 2});
}
