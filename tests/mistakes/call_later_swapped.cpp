// call_later(f, 1s): the arguments swapped
// says: call_later() takes a delay, and a function
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

void f(asyncio::EventLoop& loop) {
    loop.call_later([] {}, 1s);
}
