// a Lock as a parameter by value
// says: Lock
// lines: 11
#include <asyncio.hpp>

asyncio::Coroutine<> g(asyncio::Lock lock);
void f(asyncio::Lock& lock) { auto c = g(lock); }
