// wait_for(x, 2): a limit without its unit
// says: write the unit: 1s
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<int> f() { co_return co_await asyncio::wait_for(number(), 2); }
