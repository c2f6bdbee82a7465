// gather({a, b}): a braced list
// says: gather(a, b)
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() {
    auto a = asyncio::create_task(number());
    auto b = asyncio::create_task(number());
    co_await asyncio::gather({a, b});
}
