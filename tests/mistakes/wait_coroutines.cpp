// wait(a(), b()): coroutines, not tasks
// says: wait() takes
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() { auto r = co_await asyncio::wait(number(), number()); }
