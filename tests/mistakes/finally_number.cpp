// finally(5, cleanup)
// says: finally() takes
#include <asyncio.hpp>

asyncio::Coroutine<> f() {
    co_await asyncio::finally(5, [] {});
}
