// create_task(5)
// says: create_task() takes a coroutine
#include <asyncio.hpp>

void f() { asyncio::create_task(5); }
