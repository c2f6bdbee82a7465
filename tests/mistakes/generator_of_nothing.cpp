// AsyncGenerator<void>
// says: a generator yields values
#include <asyncio.hpp>

asyncio::AsyncGenerator<void> g();
void f() { auto all = g(); }
