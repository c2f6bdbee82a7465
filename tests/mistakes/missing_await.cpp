// int x = number(): co_await forgotten
// says: Coroutine<int>
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() {
    int x = number();
    co_return;
}
