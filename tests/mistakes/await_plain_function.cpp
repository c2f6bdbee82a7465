// co_await g() of a plain function
// says: this cannot be awaited
#include <asyncio.hpp>

int g();
asyncio::Coroutine<> f() { co_await g(); }
