// co_await in a plain function
// says: promise type | promise_type
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

void f() { co_await asyncio::sleep(1s); }
