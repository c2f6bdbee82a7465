// create_datagram_endpoint of a factory that gives a plain pointer
// says: the factory gives
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::EventLoop& loop) {
    auto both =
        co_await loop.create_datagram_endpoint([] { return new asyncio::DatagramProtocol; });
}
