// call_soon of a coroutine function
// says: use create_task
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
void f(asyncio::EventLoop& loop) { loop.call_soon(number); }
