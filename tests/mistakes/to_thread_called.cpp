// to_thread(g()): the function is called already
// says: to_thread() takes
#include <asyncio.hpp>

int g();
asyncio::Coroutine<> f() { co_await asyncio::to_thread(g()); }
