// sleep(1s); without co_await
// says: co_await it
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

asyncio::Coroutine<> f() {
    asyncio::sleep(1s);
    co_return;
}
