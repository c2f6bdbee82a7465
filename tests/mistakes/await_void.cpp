// co_await of a plain function that returns nothing
// says: invalid use of | void
#include <asyncio.hpp>

void g();
asyncio::Coroutine<> f() { co_await g(); }
