// run_coroutine_threadsafe(5, loop)
// says: run_coroutine_threadsafe() takes
#include <asyncio.hpp>

void f(asyncio::EventLoop& loop) { asyncio::run_coroutine_threadsafe(5, loop); }
