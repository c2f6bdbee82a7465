// run_in_executor(f) without an executor
// says: run_in_executor()
#include <asyncio.hpp>

int g();
asyncio::Coroutine<> f(asyncio::EventLoop& loop) { co_await loop.run_in_executor(g); }
