// a coroutine is copied
// says: Coroutine
#include <asyncio.hpp>

asyncio::Coroutine<int> number();
void f() {
    auto a = number();
    auto b = a;
}
