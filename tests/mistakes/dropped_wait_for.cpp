// wait_for(...); without co_await
// says: co_await it
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() {
    asyncio::wait_for(number(), 1s);
    co_return;
}
