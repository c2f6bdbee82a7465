// create_subprocess_exec("sleep", 5): a number as an argument
// says: create_subprocess_exec
#include <asyncio.hpp>

asyncio::Coroutine<> f() { auto p = co_await asyncio::create_subprocess_exec("sleep", 5); }
