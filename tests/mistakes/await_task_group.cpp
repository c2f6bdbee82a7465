// co_await of a TaskGroup
// says: with(
#include <asyncio.hpp>

asyncio::Coroutine<> f() { co_await asyncio::TaskGroup(); }
