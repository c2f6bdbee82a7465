// reader.read_with(5)
// says: read_with
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::StreamReader reader) { co_await reader.read_with(5); }
