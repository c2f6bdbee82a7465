// std::lock_guard of an asyncio::Lock
// says: co_await lock.scoped()
// lines: 12
#include <asyncio.hpp>

#include <mutex>

asyncio::Coroutine<> f(asyncio::Lock& lock) {
    std::lock_guard guard(lock);
    co_return;
}
