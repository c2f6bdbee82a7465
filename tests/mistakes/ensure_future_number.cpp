// ensure_future(5)
// says: ensure_future() takes
#include <asyncio.hpp>

void f() { asyncio::ensure_future(5); }
