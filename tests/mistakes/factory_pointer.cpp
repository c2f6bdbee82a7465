// create_connection of a factory that gives a plain pointer
// says: a protocol factory
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::EventLoop& loop) {
    auto both = co_await loop.create_connection([] { return new asyncio::Protocol; }, "::1", 80);
}
