// co_await lock.scoped(); without a variable
// says: keep it in a variable
// only: clang
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Lock& lock) { co_await lock.scoped(); }
