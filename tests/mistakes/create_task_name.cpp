// create_task(g(), "name"): an option without its name
// says: {.name =
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
void f() { asyncio::create_task(number(), "n"); }
