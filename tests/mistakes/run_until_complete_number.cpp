// loop.run_until_complete(5)
// says: run_until_complete() takes
#include <asyncio.hpp>

void f(asyncio::EventLoop& loop) { loop.run_until_complete(5); }
