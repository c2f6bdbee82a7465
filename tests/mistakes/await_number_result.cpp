// int x = co_await 5: nothing to await, and its result
// says: this cannot be awaited
#include <asyncio.hpp>

asyncio::Coroutine<int> f() {
    const int x = co_await 5;
    co_return x;
}
