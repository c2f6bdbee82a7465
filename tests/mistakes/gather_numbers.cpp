// gather(1, 2)
// says: gather() takes
#include <asyncio.hpp>

asyncio::Coroutine<> f() { co_await asyncio::gather(1, 2); }
