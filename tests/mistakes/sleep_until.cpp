// sleep(loop.time() + 1s): a point in time as a delay
// says: this is a point in time
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

asyncio::Coroutine<> f() { co_await asyncio::sleep(asyncio::get_running_loop().time() + 1s); }
