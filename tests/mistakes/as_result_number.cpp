// as_result(5)
// says: as_result() takes
#include <asyncio.hpp>

asyncio::Coroutine<> f() { auto r = co_await asyncio::as_result(5); }
