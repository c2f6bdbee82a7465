// wait_for(x) without a limit
// says: wait_for() takes what may be awaited, and a limit
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<int> f() { co_return co_await asyncio::wait_for(number()); }
