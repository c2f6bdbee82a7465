// loop.create_task(5)
// says: create_task() takes
#include <asyncio.hpp>

void f(asyncio::EventLoop& loop) { loop.create_task(5); }
