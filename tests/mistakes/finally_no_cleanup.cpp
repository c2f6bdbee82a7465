// finally(body) without a clean-up
// says: finally() takes
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() { co_await asyncio::finally(number()); }
