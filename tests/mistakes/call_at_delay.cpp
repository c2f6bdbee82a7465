// call_at(1s, f): a delay as a point in time
// says: a point in time is needed
#include <asyncio.hpp>

#include <chrono>

using namespace std::chrono_literals;

void f(asyncio::EventLoop& loop) {
    loop.call_at(1s, [] {});
}
