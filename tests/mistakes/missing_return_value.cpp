// co_return; in a Coroutine<int>
// says: return_void
#include <asyncio.hpp>

asyncio::Coroutine<int> f() { co_return; }
