// run_coroutine_threadsafe(c) without a loop
// says: run_coroutine_threadsafe()
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
void f() { asyncio::run_coroutine_threadsafe(number()); }
