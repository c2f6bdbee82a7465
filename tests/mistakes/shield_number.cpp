// shield(5)
// says: shield() takes
#include <asyncio.hpp>

asyncio::Coroutine<> f() { co_await asyncio::shield(5); }
