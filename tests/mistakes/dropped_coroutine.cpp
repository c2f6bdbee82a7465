// f(); without co_await
// says: co_await it
// lines: 11
#include <asyncio.hpp>

asyncio::Coroutine<> g();
asyncio::Coroutine<> f() {
    g();
    co_return;
}
