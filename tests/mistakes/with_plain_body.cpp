// with(manager, body) of a body that is no coroutine
// says: the body of with()
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Lock& lock) {
    co_await asyncio::with(lock, [] {});
}
