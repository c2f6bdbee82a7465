// Debug mode: EH-06, EH-07, DM-01 to DM-04, AG-02.
#include <asyncio.hpp>

#include <gtest/gtest.h>

#include <sys/socket.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::LogCapture;
using support::masked;
using support::raised;

TEST(Debug, IsSwitchedOnByTheEnvironmentOrByHand) {  // DM-01, EH-06
    ::setenv("ASYNCIO_DEBUG", "1", 1);
    const auto loop = VirtualTimeEventLoop::create();
    EXPECT_TRUE(loop->get_debug());
    loop->set_debug(false);
    EXPECT_FALSE(loop->get_debug());
    ::setenv("ASYNCIO_DEBUG", "0", 1);
    EXPECT_FALSE(VirtualTimeEventLoop::create()->get_debug());
    ::unsetenv("ASYNCIO_DEBUG");
    EXPECT_FALSE(VirtualTimeEventLoop::create()->get_debug());
}

void compute_for(std::chrono::milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    while (std::chrono::steady_clock::now() < end) {
    }
}

Coroutine<> computing() {
    compute_for(2ms);
    co_return;
}

TEST(Debug, SlowCallbacksAreReportedWithTaskNameAndPlace) {  // EH-07, DM-04
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->slow_callback_duration = 1ms;
    const LogCapture log;
    loop->create_task(computing(), {.name = "busy"});
    loop->call_soon([] { compute_for(2ms); });
    loop->run_once(0s);
    const std::string text = masked(log.text());
    EXPECT_NE(text.find("Executing <Task finished name='busy' coro=<computing() done, defined at "
                        "FILE:LINE> result=None> took 0.0"),
              std::string::npos)
        << text;
    EXPECT_NE(text.find("Executing <Handle callback at FILE:LINE> took 0.0"), std::string::npos)
        << text;
}

TEST(Debug, QuickCallbacksAreNotReported) {  // EH-07
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->slow_callback_duration = 1h;
    const LogCapture log;
    loop->create_task(computing());
    loop->run_once(0s);
    EXPECT_EQ(log.text(), "");
    loop->close();
}

TEST(Debug, CallsFromAnotherThreadAreRefused) {  // DM-02
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->call_soon([&] {
        std::thread([&] {
            const std::string wrong =
                "Non-thread-safe operation invoked on an event loop other than the current one";
            EXPECT_EQ(raised<RuntimeError>([&] { loop->call_soon([] {}); }), wrong);
            EXPECT_EQ(raised<RuntimeError>([&] { loop->call_later(1s, [] {}); }), wrong);
            EXPECT_EQ(raised<RuntimeError>([&] { loop->call_at(loop->time(), [] {}); }), wrong);
            loop->call_soon_threadsafe([] {});  // this one is for other threads
        }).join();
    });
    loop->run_once(0s);
}

TEST(Debug, TasksAndFuturesOfAnotherThreadAreRefused) {  // DM-02
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->call_soon([&] {
        const auto f = loop->create_future<int>();
        const auto done = loop->create_future<int>();
        done.set_result(1);
        const auto task = loop->create_task(sleep(0s));
        std::thread([&] {
            const std::string wrong =
                "Non-thread-safe operation invoked on an event loop other than the current one";
            auto coroutine = sleep(1s);
            EXPECT_EQ(raised<RuntimeError>([&] { loop->create_task(std::move(coroutine)); }),
                      wrong);
            EXPECT_EQ(raised<RuntimeError>([&] { f.set_result(1); }), wrong);
            EXPECT_EQ(raised<RuntimeError>([&] { f.set_exception(ValueError("x")); }), wrong);
            EXPECT_EQ(raised<RuntimeError>([&] { f.cancel(); }), wrong);
            EXPECT_EQ(raised<RuntimeError>([&] { task.cancel("m"); }), wrong);
            EXPECT_EQ(raised<RuntimeError>([&] { done.add_done_callback([] {}); }), wrong);
            EXPECT_EQ(done.result(), 1);
        }).join();
        EXPECT_FALSE(f.done());
        EXPECT_EQ(task.cancelling(), 0u);
    });
    loop->run_once(0s);
    loop->run_once(0s);
    const auto before_it_runs = loop->create_future<int>();
    std::thread([&] { before_it_runs.set_result(1); }).join();  // nobody else uses the loop now
    EXPECT_EQ(before_it_runs.result(), 1);
    loop->set_debug(false);
}

// Another thread calls `use`, each part of which is to be refused.
constexpr const char* kWrongThread =
    "Non-thread-safe operation invoked on an event loop other than the current one";

template <class F>
void expect_part_refused(F part) {
    EXPECT_EQ(raised<RuntimeError>(part), kWrongThread);
}

template <class... F>
void expect_refused(F... parts) {
    std::thread([&] { (expect_part_refused(parts), ...); }).join();
}

TEST(Debug, LocksAndQueuesOfAnotherThreadAreRefused) {  // L34, DM-02
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->run_until_complete([]() -> Coroutine<> {
        Lock lock;
        Event event;
        Semaphore semaphore(0);
        BoundedSemaphore bounded(1);
        Condition condition;
        Queue<int> queue;
        Queue<int> full(1);
        co_await lock.acquire();
        co_await bounded.acquire();
        full.put_nowait(1);
        auto under = [&]() -> Coroutine<> {
            const auto guard = co_await condition.scoped();
            co_await condition.wait();
        };
        auto a = create_task(lock.acquire());
        auto b = create_task(event.wait());
        auto c = create_task(semaphore.acquire());
        auto d = create_task(bounded.acquire());
        auto e = create_task(under());
        auto f = create_task(queue.get());
        auto g = create_task(full.put(2));
        co_await sleep(0s);
        co_await condition.acquire();
        expect_refused([&] { lock.release(); }, [&] { event.set(); }, [&] { event.clear(); },
                       [&] { semaphore.release(); }, [&] { bounded.release(); },
                       [&] { condition.notify(); }, [&] { condition.notify_all(); },
                       [&] { queue.put_nowait(1); }, [&] { static_cast<void>(queue.get_nowait()); },
                       [&] { queue.task_done(); }, [&] { queue.shutdown(); },
                       [&] { static_cast<void>(full.get_nowait()); }, [&] { full.shutdown(true); });
        // Nothing has happened.
        EXPECT_TRUE(lock.locked());
        EXPECT_FALSE(event.is_set());
        EXPECT_TRUE(semaphore.locked());
        EXPECT_TRUE(bounded.locked());
        EXPECT_EQ(queue.qsize(), 0u);
        EXPECT_EQ(full.qsize(), 1u);
        co_await sleep(0s);
        EXPECT_FALSE(a.done() || b.done() || c.done() || d.done() || e.done() || f.done());
        // On their own thread all of it works.
        condition.notify();
        condition.release();
        lock.release();
        event.set();
        semaphore.release();
        bounded.release();
        queue.put_nowait(3);
        EXPECT_EQ(full.get_nowait(), 1);
        co_await gather(a, b, c, d, e, f, g);
        EXPECT_EQ(f.result(), 3);
        lock.release();
    });
    // Nobody else runs the loop now; and without debug mode nobody looks.
    Event event;
    auto waiting = loop->create_task(event.wait());
    loop->run_once(0s);
    std::thread([&] { event.set(); }).join();
    loop->run_until_complete(waiting);
    loop->close();
}

TEST(Debug, QueuesThatTasksJoinAreRefusedOnAnotherThread) {  // L34
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->run_until_complete([]() -> Coroutine<> {
        Queue<int> queue;
        queue.put_nowait(1);
        auto join = create_task(queue.join());
        co_await sleep(0s);
        expect_refused([&] { queue.put_nowait(2); }, [&] { queue.task_done(); },
                       [&] { static_cast<void>(queue.get_nowait()); },
                       [&] { queue.shutdown(true); },
                       [&] { run([&]() -> Coroutine<> { co_await queue.put(2); }); },
                       [&] { run([&]() -> Coroutine<> { co_await queue.get(); }); });
        EXPECT_EQ(queue.qsize(), 1u);
        EXPECT_EQ(queue.get_nowait(), 1);
        co_await sleep(0s);
        EXPECT_FALSE(join.done());
        queue.task_done();
        co_await join;
    });
}

TEST(Debug, WhatWasNeverWaitedForBelongsToNoLoop) {  // L34, DM-02
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->run_until_complete([]() -> Coroutine<> {
        Lock lock;
        Event event;
        Queue<int> queue;
        co_await lock.acquire();
        std::thread([&] {
            lock.release();
            event.set();
            queue.put_nowait(1);
        }).join();
        EXPECT_EQ(queue.get_nowait(), 1);
        EXPECT_TRUE(event.is_set());
    });
    loop->close();
}

TEST(Debug, StreamsAndTransportsOfAnotherThreadAreRefused) {  // L34, DM-02
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends), 0);
    const Socket other(ends[1]);
    loop->run_until_complete([&]() -> Coroutine<> {
        EventLoop& here = get_running_loop();
        const StreamReader reader(1024);
        const auto factory = [] { return std::make_shared<Protocol>(); };
        auto [transport, protocol] = co_await here.connect_accepted_socket(factory, ends[0]);
        const auto udp_factory = [] { return std::make_shared<DatagramProtocol>(); };
        auto [udp, endpoint] =
            co_await here.create_datagram_endpoint(udp_factory, {.local_addr = {"127.0.0.1", 0}});
        const Transport& t = transport;
        const DatagramTransport& d = udp;
        expect_refused([&] { reader.feed_data("x"); }, [&] { reader.feed_eof(); },
                       [&] { reader.set_exception(ValueError("x")); }, [&] { t.write("x"); },
                       [&] { t.write_eof(); }, [&] { t.close(); }, [&] { t.abort(); },
                       [&] { t.pause_reading(); }, [&] { t.resume_reading(); },
                       [&] { t.set_write_buffer_limits({}); },
                       [&] { d.sendto("x", SocketAddress("127.0.0.1", 9)); }, [&] { d.close(); });
        EXPECT_FALSE(t.is_closing());
        EXPECT_FALSE(d.is_closing());
        EXPECT_FALSE(reader.at_eof());
        t.close();
        d.close();
        reader.feed_data("y");
        EXPECT_EQ(co_await reader.read(1), "y");
        co_await sleep(1ms);
    });
    loop->close();
}

TEST(Debug, ServersAndEndpointsOfAnotherThreadAreRefused) {  // L34, DM-02
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->run_until_complete([]() -> Coroutine<> {
        const auto factory = [] { return std::make_shared<Protocol>(); };
        const Server server = co_await get_running_loop().create_server(factory, "127.0.0.1", 0);
        auto [client, protocol] = co_await get_running_loop().create_connection(
            factory, "127.0.0.1", server.sockets().at(0).getsockname().port());
        co_await sleep(5ms);
        const DatagramEndpoint udp =
            co_await open_datagram_endpoint({.local_addr = {"127.0.0.1", 0}});
        expect_refused([&] { server.close(); }, [&] { server.close_clients(); },
                       [&] { server.abort_clients(); }, [&] { udp.close(); });
        EXPECT_FALSE(udp.is_closing());
        udp.close();
        EXPECT_TRUE(server.is_serving());
        EXPECT_EQ(server.sockets().size(), 1u);
        // What only looks is for everybody.
        std::thread([&] {
            EXPECT_NE(server.repr().find("<Server sockets="), std::string::npos);
        }).join();
        server.close_clients();
        server.close();
        EXPECT_FALSE(server.is_serving());
        co_await server.wait_closed();
        client.close();
    });
    loop->close();
}

TEST(Debug, TimeoutsOfAnotherThreadAreRefused) {  // L34, DM-02
    for (const bool debug : {true, false}) {
        const auto loop = EpollEventLoop::create();
        loop->set_debug(debug);
        loop->run_until_complete([debug]() -> Coroutine<> {
            auto limited = [&](Timeout& limit) -> Coroutine<> {
                const auto before = limit.when();
                std::thread([&] {
                    // In every mode, as in Python: the time is that of the running loop.
                    EXPECT_EQ(raised<RuntimeError>([&] { limit.reschedule(*before + 1s); }),
                              "no running event loop");
                }).join();
                if (debug) {
                    expect_refused([&] { limit.reschedule(std::nullopt); },
                                   [&] {
                                       const auto other = EpollEventLoop::create();
                                       std::exception_ptr error;
                                       other->call_soon([&] {
                                           try {
                                               limit.reschedule(*before + 1s);
                                           } catch (const RuntimeError&) {
                                               error = std::current_exception();
                                           }
                                           other->stop();
                                       });
                                       other->run_forever();
                                       other->close();
                                       if (error) std::rethrow_exception(error);
                                   });
                }
                EXPECT_EQ(limit.when(), before);
                limit.reschedule(std::nullopt);
                EXPECT_FALSE(limit.when());
                co_return;
            };
            co_await with(timeout(1h), limited);
        });
        loop->close();
    }
}

TEST(Debug, SlowDoneCallbacksAreReportedWithTheirPlace) {  // EH-07
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->slow_callback_duration = 1ms;
    const auto f = loop->create_future();
    f.add_done_callback([] { compute_for(2ms); });
    f.set_result();
    const LogCapture log;
    loop->run_once(0s);
    EXPECT_EQ(masked(log.text()).find("Executing <Handle callback at FILE:LINE> took 0.0"), 0u)
        << log.text();
    loop->set_debug(false);
}

TEST(Debug, SlowStepsInAnotherOrderAreReportedToo) {  // EH-07, with the pick-next hook
    const auto loop = EpollEventLoop::create();
    loop->set_debug(true);
    loop->slow_callback_duration = 1ms;
    loop->set_pick_next([](std::size_t n) { return n - 1; });
    loop->create_task(computing(), {.name = "busy"});
    const LogCapture log;
    loop->run_once(0s);
    EXPECT_NE(log.text().find("name='busy'"), std::string::npos) << log.text();
    loop->set_debug(false);
}

TEST(Debug, MayBeSwitchedWhileTheLoopRuns) {  // EH-06
    const auto loop = EpollEventLoop::create();
    loop->slow_callback_duration = 0ns;
    const LogCapture log;
    loop->call_soon([&] { loop->set_debug(true); });
    loop->call_soon([&] {
        loop->call_soon([&] {
            loop->set_debug(false);
            loop->call_soon([&] { loop->call_soon([&] { loop->stop(); }); });
        });
    });
    loop->run_forever();
    EXPECT_GE(log.lines().size(), 1u);
    EXPECT_LE(log.lines().size(), 2u);
}

TEST(Debug, FuturesTellWhereTheyWereMade) {  // DM-03
    const auto loop = VirtualTimeEventLoop::create();
    loop->set_debug(true);
    const auto f = loop->create_future<int>();
    EXPECT_NE(repr(f).find("test_debug.cpp:"), std::string::npos);
    loop->close();
}

Coroutine<int> never_awaited(int x) { co_return x; }

TEST(Debug, ACoroutineThatNobodyAwaitsIsReportedWithItsPlace) {  // AG-02
    const LogCapture log;
    {
        auto coroutine = never_awaited(1);
        EXPECT_TRUE(coroutine);
    }
    EXPECT_EQ(masked(log.text()).substr(0, 46), "coroutine 'never_awaited' was never awaited (m");
    EXPECT_NE(log.text().find("test_debug.cpp:"), std::string::npos);
}

TEST(Debug, ACoroutineThatIsClosedIsNotReported) {  // AG-02
    const LogCapture log;
    auto coroutine = never_awaited(1);
    coroutine.close();
    EXPECT_FALSE(coroutine);
    EXPECT_EQ(log.text(), "");
}

}  // namespace
