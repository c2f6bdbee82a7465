// co_await writer.write("x"), which is no awaitable
// says: void
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::StreamWriter writer) { co_await writer.write("x"); }
