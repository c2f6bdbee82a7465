// co_return of a text in a Coroutine<int>
// says: co_return
#include <asyncio.hpp>

asyncio::Coroutine<int> f() { co_return "text"; }
