// sleep() without a delay
// says: sleep() needs a delay
#include <asyncio.hpp>

asyncio::Coroutine<> f() { co_await asyncio::sleep(); }
