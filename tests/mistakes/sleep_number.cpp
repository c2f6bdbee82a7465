// sleep(1): a delay without its unit
// says: write the unit: 1s
#include <asyncio.hpp>

asyncio::Coroutine<> f() { co_await asyncio::sleep(1); }
