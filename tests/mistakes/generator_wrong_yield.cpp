// co_yield "text" in an AsyncGenerator<int>
// says: co_yield of another type
#include <asyncio.hpp>

asyncio::AsyncGenerator<int> f() { co_yield "text"; }
