// The socket transport, over pairs of connected sockets. TR-*, PR-*.
#include <asyncio/exceptions.hpp>
#include <asyncio/protocols.hpp>
#include <asyncio/sockets.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/transports.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "selector_events.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using detail::make_socket_transport;
using support::Lines;

// Notes what happens to it, and does what a test asks of it.
class Recorder : public Protocol {
  public:
    void connection_made(Transport& transport) override {
        transport_ = transport;
        note("made");
        if (on_made) on_made();
    }
    void data_received(std::string_view data) override {
        received += data;
        note("data");
        if (on_data) on_data(data);
    }
    bool eof_received() override {
        note("eof");
        if (on_eof) on_eof();
        return keep_open;
    }
    void connection_lost(std::exception_ptr error) override {
        lost_error = error;
        note(error ? "lost " + detail::type_name(error) : "lost");
        if (on_lost) on_lost();
        if (!lost.done()) lost.set_result();
    }
    void pause_writing() override {
        note("pause");
        if (on_pause) on_pause();
    }
    void resume_writing() override {
        note("resume");
        if (on_resume) on_resume();
    }

    void note(const std::string& what) {
        if (what == "data" && !events.empty() && events.back() == "data") return;
        events.push_back(what);
    }
    Transport& transport() { return transport_; }

    Lines events;
    std::string received;
    bool keep_open = false;
    std::exception_ptr lost_error;
    Future<> lost;
    std::function<void()> on_made, on_eof, on_lost, on_pause, on_resume;
    std::function<void(std::string_view)> on_data;

  private:
    Transport transport_;
};

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

template <class F>
void run(F&& main) {
    const auto loop = EpollEventLoop::create();
    auto body = std::forward<F>(main);
    auto limited = [&]() -> Coroutine<> { co_await asyncio::wait_for(body(), 10s); };
    loop->run_until_complete(limited());
}

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
