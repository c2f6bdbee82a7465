// call_later(1, f): a delay without its unit
// says: write the unit: 1s
#include <asyncio.hpp>

void f(asyncio::EventLoop& loop) {
    loop.call_later(1, [] {});
}
