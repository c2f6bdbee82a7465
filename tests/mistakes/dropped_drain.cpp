// writer.drain(); without co_await
// says: co_await it
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::StreamWriter writer) {
    writer.drain();
    co_return;
}
