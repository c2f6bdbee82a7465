// gather(...); without co_await
// says: co_await it
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() {
    asyncio::gather(number(), number());
    co_return;
}
