// gather(return_exceptions, {a, b}): a braced list
// says: gather(return_exceptions, a, b)
#include <asyncio.hpp>

asyncio::Coroutine<> f(asyncio::Task<> a, asyncio::Task<> b) {
    co_await asyncio::gather(asyncio::return_exceptions, {a, b});
}
