// with(timeout, body) of a body with a parameter of another type
// says: the body of with()
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

asyncio::Coroutine<> f() {
    auto body = [](int) -> asyncio::Coroutine<> { co_return; };
    co_await asyncio::with(asyncio::timeout(1s), body);
}
