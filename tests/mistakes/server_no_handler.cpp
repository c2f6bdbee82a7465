// start_server("::1", 80) without a handler
// says: start_server()
#include <asyncio.hpp>

asyncio::Coroutine<> f() { auto server = co_await asyncio::start_server("::1", 80); }
