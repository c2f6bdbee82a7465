// generator.asend("text") to a generator that is sent ints
// says: asend() takes a value of the second type
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::AsyncGenerator<int, int> generator) {
    co_await generator.asend("text");
}
