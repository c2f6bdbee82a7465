// create_server of a protocol in place of a factory
// says: a protocol factory
#include <asyncio.hpp>

#include <memory>

asyncio::Coroutine<> f(asyncio::EventLoop& loop, std::shared_ptr<asyncio::Protocol> protocol) {
    auto server = co_await loop.create_server(protocol, "::1", 80);
}
