// create_task(g, 5): an argument of the coroutine
// says: create_task(f(x)
#include <asyncio.hpp>

asyncio::Coroutine<> g(int);
void f() { asyncio::create_task(g, 5); }
