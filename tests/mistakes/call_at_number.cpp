// call_at(5.0, f): a number as a point in time
// says: a point in time is needed
#include <asyncio.hpp>

void f(asyncio::EventLoop& loop) {
    loop.call_at(5.0, [] {});
}
