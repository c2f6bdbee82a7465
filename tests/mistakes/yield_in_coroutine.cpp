// co_yield in a Coroutine
// says: yield_value
#include <asyncio.hpp>

asyncio::Coroutine<int> f() { co_yield 5; }
