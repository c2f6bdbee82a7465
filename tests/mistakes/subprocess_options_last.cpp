// create_subprocess_exec("ls", options): options come first
// says: create_subprocess_exec
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::SubprocessOptions options) {
    auto p = co_await asyncio::create_subprocess_exec("ls", options);
}
