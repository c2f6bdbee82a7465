// to_thread of a coroutine function
// says: to_thread() calls a plain function
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() { co_await asyncio::to_thread(number); }
