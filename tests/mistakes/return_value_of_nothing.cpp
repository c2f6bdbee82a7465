// co_return 5; in a Coroutine<>
// says: return_value
#include <asyncio.hpp>

asyncio::Coroutine<> f() { co_return 5; }
