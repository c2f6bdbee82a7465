// timeout(1s); as a statement
// says: with(
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

asyncio::Coroutine<> f() {
    asyncio::timeout(1s);
    co_return;
}
