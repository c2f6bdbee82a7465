// wait(tasks, 2s): an option without its name
// says: .timeout
#include <asyncio.hpp>

#include <chrono>
#include <vector>

using namespace std::chrono_literals;

asyncio::Coroutine<> f(std::vector<asyncio::Task<>> tasks) {
    auto result = co_await asyncio::wait(tasks, 2s);
}
