// to_thread(g) of a function with parameters
// says: to_thread() takes
#include <asyncio.hpp>

int g(int);
asyncio::Coroutine<> f() { co_await asyncio::to_thread(g); }
