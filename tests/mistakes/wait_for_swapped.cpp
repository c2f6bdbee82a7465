// wait_for(1s, x): the arguments swapped
// says: wait_for() takes what may be awaited, and a limit
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() { co_await asyncio::wait_for(1s, number()); }
