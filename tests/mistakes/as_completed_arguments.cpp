// as_completed(a, b): not a range
// says: as_completed() takes
#include <asyncio.hpp>

void f(asyncio::Task<> a, asyncio::Task<> b) { auto r = asyncio::as_completed(a, b); }
