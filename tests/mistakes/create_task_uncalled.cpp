// create_task(g) of a function with parameters
// says: create_task() takes
#include <asyncio.hpp>

asyncio::Coroutine<> g(int);
void f() { asyncio::create_task(g); }
