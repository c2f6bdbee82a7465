// lock.lock()
// says: co_await lock.scoped()
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Lock& lock) {
    lock.lock();
    co_return;
}
