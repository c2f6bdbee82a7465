// generator.asend(5) to a generator that is sent nothing
// says: asend() takes a value of the second type
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::AsyncGenerator<int> generator) { co_await generator.asend(5); }
