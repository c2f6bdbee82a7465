// call_soon(f, x): an argument of the callback
// says: captures what it needs
#include <asyncio.hpp>

void g(int);
void f(asyncio::EventLoop& loop) { loop.call_soon(g, 5); }
