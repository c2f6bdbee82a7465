// for (auto x : generator)
// says: next()
#include <asyncio.hpp>

asyncio::AsyncGenerator<int> g();
asyncio::Coroutine<> f() {
    auto all = g();
    for (auto x : all) static_cast<void>(x);
    co_return;
}
