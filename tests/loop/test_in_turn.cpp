// One loop that many threads run, one after the other, with everything that it has open: TH-03, and
// section 3.5 of what was found. Each thread ends before the next begins, so that the system gives
// its number, and its memory, to a later one.
#include <asyncio.hpp>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;

class InTurn : public testing::TestWithParam<const char*> {
  protected:
    std::unique_ptr<EventLoop> make() const {
        if (std::string_view(GetParam()) == "io_uring") return UringEventLoop::create();
        return EpollEventLoop::create();
    }
};
INSTANTIATE_TEST_SUITE_P(On, InTurn, testing::Values("epoll", "io_uring"),
                         [](const auto& param) { return std::string(param.param); });

// Raises what `f` raises.
template <class F>
void on_a_new_thread(F f) {
    std::async(std::launch::async, f).get();
}

Coroutine<> echo(StreamReader reader, StreamWriter writer) {
    while (auto line = co_await reader.next()) {
        writer.write(*line);
        co_await writer.drain();
    }
    writer.close();
}

Coroutine<> count_ticks(int& ticks) {
    while (true) {
        co_await sleep(1ms);
        ++ticks;
    }
}

// What stays open from one thread to the next.
struct Open {
    Server server;
    StreamReader reader;
    StreamWriter writer;
    Task<> ticker;
    int ticks = 0;
    Lock lock;
    Task<bool> locker;
    int pipe[2] = {-1, -1};
    Event readable;
};

Coroutine<> open_all(Open& open) {
    open.server = co_await start_server(echo, "127.0.0.1", 0);
    const int port = open.server.sockets()[0].getsockname().port();
    auto [reader, writer] = co_await open_connection("127.0.0.1", port);
    open.reader = reader;
    open.writer = writer;
    open.ticker = create_task(count_ticks(open.ticks));
    co_await open.lock.acquire();
    open.locker = create_task(open.lock.acquire());
    EXPECT_EQ(::pipe2(open.pipe, O_CLOEXEC | O_NONBLOCK), 0);
    get_running_loop().add_reader(open.pipe[0], [&open] {
        char c;
        EXPECT_EQ(::read(open.pipe[0], &c, 1), 1);
        open.readable.set();
    });
}

Coroutine<> use_all(Open& open, int turn) {
    // A timer, a lock and a read that began on another thread.
    const int before = open.ticks;
    open.lock.release();
    EXPECT_TRUE(co_await open.locker);
    open.locker = create_task(open.lock.acquire());
    const std::string line = "line " + std::to_string(turn) + "\n";
    open.writer.write(line);
    EXPECT_EQ(co_await open.reader.readline(), line);
    // A new connection, and its end.
    const int port = open.server.sockets()[0].getsockname().port();
    auto [reader, writer] = co_await open_connection("127.0.0.1", port);
    writer.write(line);
    EXPECT_EQ(co_await reader.readline(), line);
    writer.close();
    co_await writer.wait_closed();
    open.readable.clear();
    EXPECT_EQ(::write(open.pipe[1], "x", 1), 1);
    co_await open.readable.wait();
    EXPECT_EQ(co_await to_thread([turn] { return turn; }), turn);
    while (open.ticks == before) co_await sleep(1ms);
    if (turn % 4 == 0) {
        Process process = co_await create_subprocess_exec("true");
        EXPECT_EQ(co_await process.wait(), 0);
    }
}

TEST_P(InTurn, EverythingGoesOnOnTheNextThread) {  // TH-03
    const auto loop = make();
    Open open;
    on_a_new_thread([&] { loop->run_until_complete(open_all(open)); });
    for (int turn = 0; turn < 12; ++turn) {
        on_a_new_thread([&] { loop->run_until_complete(wait_for(use_all(open, turn), 20s)); });
    }
    loop->run_until_complete(wait_for(use_all(open, 12), 20s));
    on_a_new_thread([&] {
        loop->run_until_complete([&]() -> Coroutine<> {
            get_running_loop().remove_reader(open.pipe[0]);
            open.ticker.cancel();
            open.locker.cancel();
            open.writer.close();
            open.server.close();
            co_await open.server.wait_closed();
            co_await get_running_loop().shutdown_default_executor();
        });
    });
    on_a_new_thread([&] { loop->close(); });
    ::close(open.pipe[0]);
    ::close(open.pipe[1]);
}

TEST_P(InTurn, ALoopMayBeDroppedInTheMiddle) {  // TH-03
    const support::LogCapture log;
    for (int i = 0; i < 4; ++i) {
        auto loop = make();
        auto open = std::make_unique<Open>();
        on_a_new_thread([&] { loop->run_until_complete(open_all(*open)); });
        on_a_new_thread([&] { loop->run_until_complete(wait_for(use_all(*open, 1), 20s)); });
        on_a_new_thread([&] { loop.reset(); });
        ::close(open->pipe[0]);
        ::close(open->pipe[1]);
    }
}

TEST_P(InTurn, AThreadMayRunManyLoopsABitEach) {  // TH-03
    std::vector<std::unique_ptr<EventLoop>> loops;
    std::vector<int> ticks(8);
    for (std::size_t i = 0; i < ticks.size(); ++i) {
        loops.push_back(make());
        loops.back()->create_task(count_ticks(ticks[i]));
    }
    for (int round = 0; round < 6; ++round) {
        on_a_new_thread([&] {
            for (const auto& loop : loops) loop->run_until_complete(sleep(2ms));
        });
        for (const auto& loop : loops) loop->run_once(0s);
    }
    for (const int t : ticks) EXPECT_GT(t, 3);
    const support::LogCapture log;
    for (const auto& loop : loops) loop->close();
}

}  // namespace
