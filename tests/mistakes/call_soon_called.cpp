// call_soon(f()): the callback is called already
// says: a callback is a function without parameters
#include <asyncio.hpp>

void g();
int h();
void f(asyncio::EventLoop& loop) { loop.call_soon(h()); }
