// Queue<void>
// says: a queue holds
#include <asyncio.hpp>

asyncio::Coroutine<> f() {
    asyncio::Queue<void> queue;
    co_return;
}
