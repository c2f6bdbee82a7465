// sleep("1s"): a delay as text
// says: write the unit: 1s
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

asyncio::Coroutine<> f() { co_await asyncio::sleep("1s"); }
