// co_await as_result(f()); without a look at the result
// says: look at
// only: clang
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
asyncio::Coroutine<> f() { co_await asyncio::as_result(number()); }
