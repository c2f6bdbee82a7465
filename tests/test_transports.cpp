// The socket transport, over pairs of connected sockets. TR-*, PR-*.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

#include "network.hpp"
#include "selector_events.hpp"

namespace {

using namespace network;
using detail::make_socket_transport;

// Two transports that are connected to one another.
struct Pair {
    std::shared_ptr<Recorder> a = std::make_shared<Recorder>();
    std::shared_ptr<Recorder> b = std::make_shared<Recorder>();
    Coroutine<> connect() {
        EventLoop& loop = get_running_loop();
        auto [left, right] = Socket::pair();
        Future<> ready_a;
        Future<> ready_b;
        make_socket_transport(loop, std::move(left), a, ready_a);
        make_socket_transport(loop, std::move(right), b, ready_b);
        co_await ready_a;
        co_await ready_b;
    }
};

TEST(Transport, CarriesBytesBothWaysAndEndsCleanly) {  // TR-06, PR-09
    run([]() -> Coroutine<> {
        Pair p;
        co_await p.connect();
        p.b->on_data = [&](std::string_view data) { p.b->transport().write(data); };
        p.a->on_data = [&](std::string_view) { p.a->transport().close(); };
        p.a->transport().write("hello");
        co_await p.a->lost;
        co_await p.b->lost;
        EXPECT_EQ(p.a->received, "hello");
        EXPECT_EQ(p.a->events, (Lines{"made", "data", "lost"}));
        EXPECT_EQ(p.b->events, (Lines{"made", "data", "eof", "lost"}));
    });
}

}  // namespace
