// start_server of a handler with one parameter
// says: a handler takes a StreamReader and a StreamWriter
#include <asyncio.hpp>

asyncio::Coroutine<> serve(asyncio::StreamReader);
asyncio::Coroutine<> f() { auto server = co_await asyncio::start_server(serve, "::1", 80); }
