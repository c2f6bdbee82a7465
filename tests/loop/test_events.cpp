// events.hpp: the loop's life, scheduling, handles, error handling, descriptors. LC-*, SC-*, EF-*,
// EH-*, HD-*, FD-*, S-01 to S-14, X-02, X-16, B-03 to B-09.
#include <asyncio/events.hpp>
#include <asyncio/locks.hpp>
#include <asyncio/queues.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::ErrorCapture;
using support::Lines;
using support::LogCapture;
using support::raised;
using support::run_virtual;

std::unique_ptr<EventLoop> virtual_loop() { return VirtualTimeEventLoop::create(); }

Coroutine<int> give(int x) {
    co_await sleep(1s);
    co_return x;
}

// ---- life ----

TEST(EventLoop, RunsUntilStopped) {  // LC-01, LC-03, LC-04
    const auto loop = virtual_loop();
    int n = 0;
    loop->call_later(1s, [&] {
        ++n;
        EXPECT_TRUE(loop->is_running());
        loop->stop();
    });
    EXPECT_FALSE(loop->is_running());
    loop->run_forever();
    EXPECT_EQ(n, 1);
    EXPECT_FALSE(loop->is_running());
    EXPECT_FALSE(loop->is_closed());
    loop->close();
    EXPECT_TRUE(loop->is_closed());
    loop->close();  // LC-05: idempotent
}

TEST(EventLoop, StopBeforeRunGivesExactlyOneIteration) {  // B-07, LC-03
    const auto loop = virtual_loop();
    std::vector<int> ran;
    loop->call_soon([&] {
        ran.push_back(1);
        loop->call_soon([&] { ran.push_back(2); });
    });
    loop->stop();
    loop->run_forever();
    EXPECT_EQ(ran, std::vector<int>{1});
    loop->stop();
    loop->run_forever();  // B-08: what was left over runs in the next run
    EXPECT_EQ(ran, (std::vector<int>{1, 2}));
}

TEST(EventLoop, StopLetsTheIterationEnd) {  // S-10
    const auto loop = virtual_loop();
    std::vector<int> ran;
    loop->call_soon([&] { loop->stop(); });
    loop->call_soon([&] {
        ran.push_back(1);
        loop->call_soon([&] { ran.push_back(2); });
    });
    loop->run_forever();
    EXPECT_EQ(ran, std::vector<int>{1});
}

TEST(EventLoop, RunUntilCompleteGivesTheResultOrRaises) {  // LC-02
    const auto loop = virtual_loop();
    EXPECT_EQ(loop->run_until_complete(give(3)), 3);
    auto f = loop->create_future<int>();
    f.set_exception(ValueError("bad"));
    EXPECT_EQ(raised<ValueError>([&] { loop->run_until_complete(f); }), "bad");
}

TEST(EventLoop, RunUntilCompleteThatIsStoppedIsAnError) {  // LC-02, B-09
    const auto loop = virtual_loop();
    const ErrorCapture errors(*loop);
    loop->call_soon([&] { loop->stop(); });
    EXPECT_EQ(raised<RuntimeError>([&] { loop->run_until_complete(give(1)); }),
              "Event loop stopped before Future completed.");
    loop->close();
    EXPECT_EQ(errors.lines(), Lines{});  // its hidden task is not reported as destroyed
}

TEST(EventLoop, RefusesToRunTwiceOrInsideAnother) {  // LC-01
    const auto loop = virtual_loop();
    const auto other = virtual_loop();
    loop->call_soon([&] {
        EXPECT_EQ(raised<RuntimeError>([&] { loop->run_forever(); }),
                  "This event loop is already running");
        EXPECT_EQ(raised<RuntimeError>([&] { other->run_forever(); }),
                  "Cannot run the event loop while another loop is running");
        EXPECT_EQ(raised<RuntimeError>([&] { loop->close(); }),
                  "Cannot close a running event loop");
        EXPECT_TRUE(loop->is_running());
        loop->stop();
    });
    loop->run_forever();
}

TEST(EventLoop, ThatIsClosedRefusesEverything) {  // LC-05, SC-01, SC-02
    const auto loop = virtual_loop();
    loop->close();
    const std::string closed = "Event loop is closed";
    EXPECT_EQ(raised<RuntimeError>([&] { loop->run_forever(); }), closed);
    EXPECT_EQ(raised<RuntimeError>([&] { loop->call_soon([] {}); }), closed);
    EXPECT_EQ(raised<RuntimeError>([&] { loop->call_later(1s, [] {}); }), closed);
    EXPECT_EQ(raised<RuntimeError>([&] { loop->call_soon_threadsafe([] {}); }), closed);
    auto coroutine = give(1);
    EXPECT_EQ(raised<RuntimeError>([&] { loop->create_task(coroutine); }), closed);
    coroutine.close();
    EXPECT_FALSE(loop->remove_reader(0));  // FD-02
}

TEST(EventLoop, CloseDropsCallbacksUnrun) {  // LC-05
    auto object = std::make_shared<int>(1);
    const auto loop = virtual_loop();
    loop->call_soon([object] { FAIL(); });
    loop->call_later(1s, [object] { FAIL(); });
    loop->call_soon_threadsafe([object] { FAIL(); });
    EXPECT_EQ(object.use_count(), 4);
    loop->close();
    EXPECT_EQ(object.use_count(), 1);
}

TEST(EventLoop, IsFoundByThread) {  // LC-08, LC-09, LC-10
    EXPECT_EQ(raised<RuntimeError>([] { get_running_loop(); }), "no running event loop");
    const auto loop = virtual_loop();
    set_event_loop(loop.get());
    EXPECT_EQ(&get_event_loop(), loop.get());
    loop->call_soon([&] {
        EXPECT_EQ(&get_running_loop(), loop.get());
        EXPECT_EQ(&get_event_loop(), loop.get());
        loop->stop();
    });
    loop->run_forever();
    set_event_loop(nullptr);
    std::thread([] {
        EventLoop& own = get_event_loop();  // made for the thread, and closed at its end
        EXPECT_EQ(&own, &get_event_loop());
        EXPECT_EQ(own.run_until_complete(sleep(0s, 5)), 5);
    }).join();
}

TEST(EventLoop, UnclosedIsSaidInDebugMode) {  // LC-14, DM-05
    const LogCapture log;
    {
        const auto loop = virtual_loop();
        loop->set_debug(true);
    }
    EXPECT_NE(log.text().find("unclosed event loop"), std::string::npos);
}

TEST(RunOnce, AStopIsOverThoughAnExceptionLeavesTheLoop) {  // L36
    const auto loop = VirtualTimeEventLoop::create();
    loop->call_soon([&] { loop->stop(); });
    loop->call_soon([] { throw KeyboardInterrupt(); });
    EXPECT_THROW(loop->run_once(0s), KeyboardInterrupt);
    EXPECT_EQ(loop->run_until_complete([]() -> Coroutine<int> {
        co_await sleep(1s);
        co_return 1;
    }),
              1);
}

TEST(EventLoop, RunsOneIterationForAnotherLoop) {  // LC-13
    const auto loop = new_event_loop();
    std::vector<std::string> seen;
    loop->set_wait_hooks([&] { seen.push_back("before"); }, [&] { seen.push_back("after"); });
    loop->call_soon([&] { seen.push_back("ran"); });
    EXPECT_FALSE(loop->run_once(0s));
    EXPECT_EQ(seen, (std::vector<std::string>{"ran"}));
    loop->call_later(20ms, [&] {  // a millisecond is over before it waits, where a step takes long
        seen.push_back("timer");
        loop->call_soon([] {});
    });
    EXPECT_TRUE(loop->run_once(10s));  // something is left to run at once
    EXPECT_EQ(seen, (std::vector<std::string>{"ran", "before", "after", "timer"}));
}

TEST(EventLoop, AreListedWhileTheyAreOpen) {
    const auto before = all_loops().size();
    const auto loop = virtual_loop();
    ASSERT_EQ(all_loops().size(), before + 1);
    EXPECT_EQ(all_loops().back(), loop.get());
    loop->close();
    EXPECT_EQ(all_loops().size(), before);
}

TEST(EventLoop, OnVirtualTimeSaysWhoWaitsInADeadlock) {
    const auto loop = virtual_loop();
    auto f = loop->create_future<int>();
    auto wait_for_it = [](Future<int> g) -> Coroutine<> { co_await g; };
    auto task = loop->create_task(wait_for_it(f), {.name = "stuck"});
    const std::string text = raised<DeadlockError>([&] { loop->run_until_complete(task); });
    EXPECT_NE(text.find("Deadlock"), std::string::npos) << text;
    EXPECT_NE(text.find("name='stuck'"), std::string::npos) << text;
    EXPECT_NE(text.find("test_events.cpp:"), std::string::npos) << text;
    task.cancel();
    EXPECT_THROW(loop->run_until_complete(task), CancelledError);
}

// ---- scheduling ----

TEST(CallSoon, IsFirstInFirstOutAndNextIteration) {  // S-01, B-03
    const auto loop = virtual_loop();
    std::vector<int> order;
    loop->call_soon([&] {
        order.push_back(1);
        loop->call_soon([&] { order.push_back(3); });
    });
    loop->call_soon([&] { order.push_back(2); });
    loop->call_soon([&] { loop->call_soon([&] { loop->call_soon([&] { loop->stop(); }); }); });
    loop->run_forever();
    EXPECT_EQ(order, (std::vector<int>{1, 2, 3}));
}

TEST(CallSoon, TakesMoveOnlyCallables) {
    const auto loop = virtual_loop();
    auto object = std::make_unique<int>(5);
    int seen = 0;
    loop->call_soon([&, o = std::move(object)] { seen = *o; });
    loop->run_once(0s);
    EXPECT_EQ(seen, 5);
}

TEST(CallLater, OfZeroComesAfterALaterCallSoon) {  // B-05, S-06, X-02
    const auto loop = virtual_loop();
    std::string order;
    loop->call_later(0s, [&] { order += 'A'; });
    loop->call_at(loop->time() - 1s, [&] { order += 'B'; });
    loop->call_soon([&] { order += 'S'; });
    loop->run_once(0s);
    loop->run_once(0s);
    EXPECT_EQ(order, "SBA");
}

TEST(CallLater, ReadyThenReadableThenTimersInOneIteration) {  // B-04, S-03, X-02
    const auto loop = EpollEventLoop::create();
    int fds[2];
    ASSERT_EQ(::pipe(fds), 0);
    ASSERT_EQ(::write(fds[1], "x", 1), 1);
    std::string order;
    loop->call_later(0s, [&] { order += 'T'; });
    loop->add_reader(fds[0], [&] {
        order += 'R';
        loop->remove_reader(fds[0]);
    });
    loop->run_once(0s);
    EXPECT_EQ(order, "RT");
    loop->close();
    ::close(fds[0]);
    ::close(fds[1]);
}

TEST(CallLater, RefusesNone) {  // SC-03, SC-04
    const auto loop = virtual_loop();
    EXPECT_EQ(raised<TypeError>([&] { loop->call_later(std::nullopt, [] {}); }),
              "delay must not be None");
    EXPECT_EQ(raised<TypeError>([&] { loop->call_at(std::nullopt, [] {}); }),
              "when cannot be None");
}

TEST(CallLater, EqualDeadlinesFireInOrderOfMaking) {  // S-07
    const auto loop = virtual_loop();
    std::vector<int> order;
    for (int i = 0; i < 100; ++i) loop->call_later(1s, [&, i] { order.push_back(i); });
    loop->run_until_complete(sleep(2s));
    ASSERT_EQ(order.size(), 100u);
    for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(CallLater, CancelLeavesNothingBehind) {
    const auto loop = virtual_loop();
    auto object = std::make_shared<int>(1);
    for (int i = 0; i < 1000; ++i) {
        loop->call_later(std::chrono::seconds(i % 7 + 1), [object] { FAIL(); }).cancel();
    }
    EXPECT_EQ(object.use_count(), 1);
    loop->run_until_complete(sleep(10s));
    EXPECT_EQ(loop->time(), TimePoint(10s));
}

TEST(CallLater, OnRealTimeIsNeverEarly) {  // S-05, SC-05
    const auto loop = new_event_loop();
    for (int i = 1; i <= 20; ++i) {
        const auto delay = std::chrono::microseconds(i * 37);
        const auto begin = loop->time();
        bool fired = false;
        loop->call_later(delay, [&] {
            fired = true;
            EXPECT_GE(loop->time() - begin, delay);
        });
        while (!fired) loop->run_once(1s);
    }
}

TEST(Handle, CancelledEarlierInTheIterationIsSkipped) {  // B-06, S-09, HD-01
    const auto loop = virtual_loop();
    Handle second;
    loop->call_soon([&] { second.cancel(); });
    second = loop->call_soon([] { FAIL(); });
    EXPECT_FALSE(second.cancelled());
    loop->run_once(0s);
    EXPECT_TRUE(second.cancelled());
    Handle().cancel();  // an empty one: nothing happens
}

TEST(Handle, OfTimersCompareByTime) {  // HD-03, HD-04
    const auto loop = virtual_loop();
    const TimerHandle a = loop->call_later(1s, [] {});
    const TimerHandle b = loop->call_at(loop->time() + 2.5s, [] {});
    EXPECT_EQ(a.when(), TimePoint(1s));
    EXPECT_EQ(b.when(), TimePoint(2500ms));
    EXPECT_TRUE(a < b);
    EXPECT_FALSE(b < a);
    EXPECT_FALSE(a == b);
    EXPECT_TRUE(a == TimerHandle(a));
}

TEST(Loop, DoesNotStarveIoTimersOrThreads) {  // S-04, S-14, L2: what is late is late by time
    const auto loop = EpollEventLoop::create();
    int fds[2];
    ASSERT_EQ(::pipe(fds), 0);
    // A turn takes as long as the loop may go on without asking the kernel.
    int turns = 0;
    auto spin = [&](auto&& self) -> void {
        ++turns;
        const auto end = std::chrono::steady_clock::now() + 60us;
        while (std::chrono::steady_clock::now() < end) continue;
        loop->call_soon([&, self] { self(self); });
    };
    loop->call_soon([&] { spin(spin); });
    int readable = 0;
    int posted = 0;
    int timed = 0;
    loop->run_once(0s);
    loop->run_once(0s);
    ASSERT_EQ(turns, 2);
    loop->add_reader(fds[0], [&] { readable = turns; });
    ASSERT_EQ(::write(fds[1], "x", 1), 1);
    loop->call_later(1us, [&] { timed = turns; });
    std::thread([&] { loop->call_soon_threadsafe([&] { posted = turns; }); }).join();
    while (!(readable && posted && timed) && turns < 100) loop->run_once(0s);
    for (const int turn : {readable, posted, timed}) {
        EXPECT_GT(turn, 0);
        EXPECT_LE(turn, 4);
    }
    loop->close();
    ::close(fds[0]);
    ::close(fds[1]);
}

TEST(Loop, PickNextChoosesTheOrder) {
    const auto loop = virtual_loop();
    std::string order;
    for (char c : {'a', 'b', 'c', 'd'}) loop->call_soon([&, c] { order += c; });
    loop->set_pick_next([](std::size_t n) { return n - 1; });
    loop->run_once(0s);
    EXPECT_EQ(order, "dcba");
    loop->set_pick_next(nullptr);
    for (char c : {'a', 'b'}) loop->call_soon([&, c] { order += c; });
    loop->run_once(0s);
    EXPECT_EQ(order, "dcbaab");
}

TEST(Loop, TaskFactorySeesAndChangesOptions) {  // EF-02, EF-03
    const auto loop = virtual_loop();
    loop->set_task_factory([](EventLoop&, TaskOptions& options) { options.name = "made"; });
    EXPECT_TRUE(static_cast<bool>(loop->get_task_factory()));
    auto task = loop->create_task(give(1), {.name = "asked"});
    EXPECT_EQ(task.get_name(), "made");
    loop->set_task_factory(nullptr);
    EXPECT_FALSE(static_cast<bool>(loop->get_task_factory()));
    EXPECT_EQ(loop->run_until_complete(task), 1);
}

// ---- errors ----

TEST(ExceptionHandler, IsToldOfACallbacksErrorAndTheLoopGoesOn) {  // EH-01, EH-05, SC-07, S-13
    const auto loop = virtual_loop();
    const ErrorCapture errors(*loop);
    bool ran = false;
    loop->call_soon([] { throw ValueError("bad"); });
    loop->call_soon([&] { ran = true; });
    loop->run_once(0s);
    EXPECT_TRUE(ran);
    EXPECT_EQ(errors.lines(), Lines{"Exception in callback at FILE:LINE: ValueError('bad')"});
}

TEST(ExceptionHandler, InterruptsLeaveTheLoopAndTheRestRunsLater) {  // S-60, X-16, SC-07
    const auto loop = virtual_loop();
    std::vector<int> ran;
    loop->call_soon([&] {
        ran.push_back(1);
        throw KeyboardInterrupt();
    });
    loop->call_soon([&] { ran.push_back(2); });
    EXPECT_THROW(loop->run_forever(), KeyboardInterrupt);
    EXPECT_EQ(ran, std::vector<int>{1});
    loop->run_once(0s);
    EXPECT_EQ(ran, (std::vector<int>{1, 2}));
}

TEST(ExceptionHandler, DefaultLogsMessageAndException) {  // EH-03, DM-04
    const auto loop = virtual_loop();
    const LogCapture log;
    ExceptionContext context;
    context.exception = std::make_exception_ptr(ValueError("bad"));
    loop->call_exception_handler(context);
    EXPECT_EQ(log.text(), "Unhandled exception in event loop\nValueError: bad\n");
}

TEST(ExceptionHandler, ThatFailsItselfIsReportedByTheDefault) {  // EH-04
    const auto loop = virtual_loop();
    const LogCapture log;
    loop->set_exception_handler(
        [](EventLoop&, const ExceptionContext&) { throw ValueError("in the handler"); });
    EXPECT_TRUE(static_cast<bool>(loop->get_exception_handler()));  // EH-02
    loop->call_exception_handler({});
    EXPECT_NE(log.text().find("Unhandled error in exception handler"), std::string::npos);
    EXPECT_NE(log.text().find("ValueError: in the handler"), std::string::npos);
    loop->set_exception_handler(nullptr);
    EXPECT_FALSE(static_cast<bool>(loop->get_exception_handler()));
}

// ---- descriptors ----

class Pipe : public testing::Test {
  protected:
    void SetUp() override { ASSERT_EQ(::pipe(fds_), 0); }
    void TearDown() override {
        ::close(fds_[0]);
        ::close(fds_[1]);
    }
    int fds_[2];
};

TEST_F(Pipe, ReaderIsCalledInEachIterationWhileReadable) {  // FD-01
    const auto loop = EpollEventLoop::create();
    int calls = 0;
    loop->add_reader(fds_[0], [&] { ++calls; });
    loop->run_once(0s);
    EXPECT_EQ(calls, 0);
    ASSERT_EQ(::write(fds_[1], "x", 1), 1);
    loop->run_once(1s);
    loop->run_once(1s);
    EXPECT_EQ(calls, 2);
    EXPECT_TRUE(loop->remove_reader(fds_[0]));  // FD-02
    EXPECT_FALSE(loop->remove_reader(fds_[0]));
    loop->run_once(0s);
    EXPECT_EQ(calls, 2);
}

TEST_F(Pipe, ASecondReaderReplacesTheFirst) {  // FD-01
    const auto loop = EpollEventLoop::create();
    std::string seen;
    loop->add_reader(fds_[0], [&] { seen += '1'; });
    loop->add_reader(fds_[0], [&] { seen += '2'; });
    ASSERT_EQ(::write(fds_[1], "x", 1), 1);
    loop->run_once(1s);
    EXPECT_EQ(seen, "2");
}

TEST_F(Pipe, AReaderRemovedInTheSameIterationIsSkipped) {  // FD-02
    const auto loop = EpollEventLoop::create();
    int other[2];
    ASSERT_EQ(::pipe(other), 0);
    int calls = 0;
    auto remove_both = [&] {
        ++calls;
        loop->remove_reader(fds_[0]);
        loop->remove_reader(other[0]);
    };
    loop->add_reader(fds_[0], remove_both);
    loop->add_reader(other[0], remove_both);
    ASSERT_EQ(::write(fds_[1], "x", 1), 1);
    ASSERT_EQ(::write(other[1], "x", 1), 1);
    loop->run_once(1s);
    EXPECT_EQ(calls, 1);
    ::close(other[0]);
    ::close(other[1]);
}

TEST_F(Pipe, WriterAndReaderOfOneDescriptorAreApart) {  // FD-01, B-58
    const auto loop = EpollEventLoop::create();
    int writable = 0;
    loop->add_writer(fds_[1], [&] { ++writable; });
    loop->add_reader(fds_[1], [] { FAIL(); });
    loop->run_once(1s);
    EXPECT_EQ(writable, 1);
    EXPECT_TRUE(loop->remove_reader(fds_[1]));
    loop->run_once(1s);
    EXPECT_EQ(writable, 2);
    EXPECT_TRUE(loop->remove_writer(fds_[1]));
}

TEST_F(Pipe, BadDescriptorsAreRefused) {  // FD-01
    const auto loop = EpollEventLoop::create();
    EXPECT_EQ(raised<ValueError>([&] { loop->add_reader(-1, [] {}); }),
              "Invalid file descriptor: -1");
    EXPECT_EQ(raised<OSError>([&] { loop->add_reader(1023, [] {}); }),
              "[Errno 9] Bad file descriptor");
    const auto on_virtual_time = virtual_loop();
    EXPECT_THROW(on_virtual_time->add_reader(fds_[0], [] {}), NotImplementedError);
}

// ---- which back end ----

TEST(NewEventLoop, ObeysTheEnvironment) {  // LC-11
    ::setenv("ASYNCIO_BACKEND", "virtual", 1);
    EXPECT_STREQ(new_event_loop()->backend(), "virtual");
    ::setenv("ASYNCIO_BACKEND", "epoll", 1);
    EXPECT_STREQ(new_event_loop()->backend(), "epoll");
    ::setenv("ASYNCIO_BACKEND", "kqueue", 1);
    EXPECT_EQ(raised<ValueError>([] { new_event_loop(); }),
              "ASYNCIO_BACKEND must be 'epoll', 'io_uring' or 'virtual', not 'kqueue'");
    ::unsetenv("ASYNCIO_BACKEND");
}

// ---- more of its life ----

TEST(EventLoop, RunUntilCompleteEndsAnIterationAfterTheFuture) {  // S-11
    const auto loop = virtual_loop();
    Lines log;
    const auto f = loop->create_future();
    loop->call_soon([&] {
        f.set_result();
        loop->call_soon([&] {
            log.push_back("with the end");
            loop->call_soon([&] { log.push_back("next run"); });
        });
    });
    loop->run_until_complete(f);
    EXPECT_EQ(log, (Lines{"with the end"}));
    loop->run_until_complete(sleep(0s));
    EXPECT_EQ(log, (Lines{"with the end", "next run"}));
}

TEST(EventLoop, RunUntilCompleteOfADoneFutureRunsTwoIterations) {  // S-11, S-23
    const auto loop = virtual_loop();
    const auto f = loop->create_future<int>();
    f.set_result(3);
    int before = 0;
    loop->call_soon([&] { ++before; });
    EXPECT_EQ(loop->run_until_complete(f), 3);
    EXPECT_EQ(before, 1);
}

TEST(EventLoop, RunUntilCompleteRefusesAFutureOfAnotherLoop) {  // T-15's text
    const auto loop = virtual_loop();
    const auto other = virtual_loop();
    const auto f = other->create_future<int>();
    EXPECT_EQ(raised<ValueError>([&] { loop->run_until_complete(f); }),
              "The future belongs to a different loop than the one specified as the loop argument");
    EXPECT_FALSE(loop->is_running());
}

TEST(EventLoop, RunUntilCompleteThatIsInterruptedLeavesNothingInTheFuture) {  // B-09
    const auto loop = virtual_loop();
    const auto f = loop->create_future<int>();
    loop->call_soon([] { throw KeyboardInterrupt(); });
    EXPECT_THROW(loop->run_until_complete(f), KeyboardInterrupt);
    EXPECT_EQ(repr(f), "<Future pending>");
    loop->call_soon([&] {
        f.set_result(1);
        throw KeyboardInterrupt();
    });
    EXPECT_THROW(loop->run_until_complete(f), KeyboardInterrupt);
    bool stopped_early = true;
    loop->call_soon([&] { loop->call_soon([&] { stopped_early = false; }); });
    loop->run_until_complete(sleep(1s));
    EXPECT_FALSE(stopped_early) << "the interrupted run's own callback went with it";
}

TEST(EventLoop, RunInsideACallbackOfAnotherLoopIsRefusedAndHarmless) {  // LC-01
    const auto outer = virtual_loop();
    const auto inner = virtual_loop();
    bool went_on = false;
    outer->call_soon([&] {
        EXPECT_THROW(inner->run_until_complete(sleep(0s)), RuntimeError);
        EXPECT_THROW(inner->run_once(0s), RuntimeError);
        EXPECT_EQ(&get_running_loop(), outer.get());
        outer->call_soon([&] { went_on = true; });
    });
    outer->run_until_complete(sleep(1s));
    EXPECT_TRUE(went_on);
    inner->run_until_complete(sleep(0s));
}

TEST(EventLoop, ThatGoesIsNoLongerTheCurrentOne) {  // LC-09, LC-10
    std::thread([] {
        auto loop = virtual_loop();
        set_event_loop(loop.get());
        loop.reset();
        EventLoop& made = get_event_loop();
        EXPECT_FALSE(made.is_closed());
    }).join();
}

TEST(EventLoop, TellsTheTimeWhenItIsClosed) {  // SC-05
    const auto on_virtual_time = virtual_loop();
    on_virtual_time->run_until_complete(sleep(5s));
    on_virtual_time->close();
    EXPECT_EQ(on_virtual_time->time(), TimePoint(5s));
    const auto real = EpollEventLoop::create();
    const TimePoint before = real->time();
    real->close();
    EXPECT_GE(real->time(), before);
}

TEST(EventLoop, RunOnceWaitsNoLongerThanItIsTold) {
    const auto loop = virtual_loop();
    bool fired = false;
    loop->call_later(10s, [&] { fired = true; });
    EXPECT_FALSE(loop->run_once(4s));
    EXPECT_EQ(loop->time(), TimePoint(4s));
    EXPECT_FALSE(fired);
    EXPECT_FALSE(loop->run_once(-1s));
    EXPECT_EQ(loop->time(), TimePoint(4s));
    loop->run_once(std::nullopt);
    EXPECT_TRUE(fired);
    EXPECT_EQ(loop->time(), TimePoint(10s));
    EXPECT_THROW(loop->run_once(std::nullopt), DeadlockError);
    EXPECT_FALSE(loop->is_running());
}

TEST(EventLoop, StoppedBeforeRunOnceDoesNotWait) {
    const auto loop = virtual_loop();
    loop->call_later(10s, [] {});
    loop->stop();
    loop->run_once(std::nullopt);
    EXPECT_EQ(loop->time(), TimePoint(0s));
}

// What a hook does before the wait counts for that wait (L6), as for libuv's prepare handles.
class WaitHook : public testing::TestWithParam<std::unique_ptr<EventLoop> (*)()> {
  protected:
    // Runs a loop whose hook calls `act` before its first wait, and whose only timer is far away.
    // Returns how long it ran.
    Duration run(std::function<void(EventLoop&, std::function<void()>)> act) {
        const auto loop = GetParam()();
        int calls = 0;
        int after = 0;
        loop->set_wait_hooks(
            [&] {
                if (++calls == 1) act(*loop, [&] { loop->stop(); });
            },
            [&] { ++after; });
        const TimerHandle far = loop->call_later(20s, [&] { loop->stop(); });
        const TimePoint begin = loop->time();
        loop->run_forever();
        EXPECT_EQ(calls, after);
        return loop->time() - begin;
    }
};

INSTANTIATE_TEST_SUITE_P(Loops, WaitHook,
                         testing::Values(&EpollEventLoop::create, &UringEventLoop::create,
                                         &VirtualTimeEventLoop::create));

TEST_P(WaitHook, MayMakeSomethingReady) {
    const Duration took =
        run([](EventLoop& loop, std::function<void()> end) { loop.call_soon(end); });
    EXPECT_LT(took, 10s);
}

TEST_P(WaitHook, MayScheduleSomethingEarlier) {
    const Duration took =
        run([](EventLoop& loop, std::function<void()> end) { loop.call_later(2ms, end); });
    EXPECT_GE(took, 2ms);
    EXPECT_LT(took, 10s);
}

TEST_P(WaitHook, MayCallSoonThreadsafe) {
    const Duration took =
        run([](EventLoop& loop, std::function<void()> end) { loop.call_soon_threadsafe(end); });
    EXPECT_LT(took, 10s);
}

TEST_P(WaitHook, MayStopTheLoop) {
    const Duration took = run([](EventLoop& loop, std::function<void()>) { loop.stop(); });
    EXPECT_LT(took, 10s);
}

TEST_P(WaitHook, ThatRaisesLeavesTheLoopAsItWas) {
    const auto loop = GetParam()();
    bool raise = true;
    int after = 0;
    loop->set_wait_hooks(
        [&] {
            if (raise) throw ValueError("no");
        },
        [&] {
            ++after;
            loop->stop();
        });
    EXPECT_EQ(raised<ValueError>([&] { loop->run_forever(); }), "no");
    EXPECT_EQ(after, 0) << "it was not entered";
    raise = false;
    // One that is late is due without a wait: so another follows.
    const std::function<void()> again = [&] { loop->call_later(1ms, again); };
    again();
    loop->run_forever();
    EXPECT_EQ(after, 1);
}

TEST(WaitHooks, MayEndADeadlock) {  // L6: on virtual time, too
    const auto loop = virtual_loop();
    loop->set_wait_hooks([&] { loop->stop(); }, {});
    loop->run_forever();
    loop->set_wait_hooks({}, {});
    EXPECT_THROW(loop->run_forever(), DeadlockError);
}

// L3: the sum of a time and a delay, and their difference, hold whatever a program asks for.
class TimerExtremes : public WaitHook {};

INSTANTIATE_TEST_SUITE_P(Loops, TimerExtremes,
                         testing::Values(&EpollEventLoop::create, &UringEventLoop::create,
                                         &VirtualTimeEventLoop::create));

TEST_P(TimerExtremes, ThatAreLongPastAreDueAtOnceInTheirOrder) {
    const auto loop = GetParam()();
    loop->run_until_complete(sleep(1ms));
    const TimePoint begin = loop->time();
    std::string order;
    loop->call_later(1ms, [&] { loop->stop(); });
    loop->call_later(0s, [&] { order += 'f'; });
    loop->call_later(-24h, [&] { order += 'e'; });
    loop->call_at(TimePoint::min(), [&] { order += 'a'; });
    loop->call_later(Duration::min(), [&] { order += 'b'; });
    loop->call_later(std::chrono::duration<double>(-std::numeric_limits<double>::infinity()),
                     [&] { order += 'c'; });
    loop->call_later(std::chrono::hours::min(), [&] { order += 'd'; });
    loop->run_forever();
    EXPECT_EQ(order.back(), 'f');
    EXPECT_EQ(order.size(), 6u);
    std::sort(order.begin(), order.end());
    EXPECT_EQ(order, "abcdef");
    EXPECT_GE(loop->time() - begin, 1ms) << "time goes on, and not backwards";
    EXPECT_LT(loop->time() - begin, 10s);
}

TEST_P(TimerExtremes, ThatAreNeverDoNotHoldUpOthers) {
    const auto loop = GetParam()();
    int fired = 0;
    loop->call_at(TimePoint::max(), [&] { ++fired; });
    loop->call_later(Duration::max(), [&] { ++fired; });
    loop->call_later(std::chrono::duration<double>(std::numeric_limits<double>::infinity()),
                     [&] { ++fired; });
    loop->call_later(1ms, [&] { loop->stop(); });
    loop->run_forever();
    EXPECT_EQ(fired, 0);
}

TEST(TimerExtremes, VirtualTimeOfARunOnceStaysInItsRange) {
    const auto loop = virtual_loop();
    loop->call_at(TimePoint::max() - 1ns, [] {});
    for (int i = 0; i < 3; ++i) loop->run_once(Duration::max() - 1ns);
    EXPECT_GT(loop->time(), TimePoint(1s));
    EXPECT_LT(loop->time(), TimePoint::max());
}

TEST(EventLoop, WaitHooksAreCalledAroundWaitsOnly) {  // design: GUIs, an interpreter's lock
    const auto loop = EpollEventLoop::create();
    int inside = 0;
    int waits = 0;
    bool outside_of_callbacks = true;
    loop->set_wait_hooks([&] { ++inside; },
                         [&] {
                             --inside;
                             ++waits;
                         });
    for (int i = 0; i < 200; ++i) {
        loop->call_soon([&] { outside_of_callbacks = outside_of_callbacks && inside == 0; });
    }
    loop->run_once(0s);
    EXPECT_EQ(waits, 0) << "something was ready";
    loop->call_later(20ms, [&] { loop->stop(); });
    loop->run_forever();
    EXPECT_GE(waits, 1);
    EXPECT_EQ(inside, 0);
    EXPECT_TRUE(outside_of_callbacks);
    const int so_far = waits;
    loop->set_wait_hooks(nullptr, nullptr);
    loop->run_once(1us);
    EXPECT_EQ(waits, so_far);
}

TEST(EventLoop, DeadlockListsWhereEachFrameWaits) {
    const auto loop = virtual_loop();
    const auto never = [](Future<> f) -> Coroutine<> { co_await f; };
    const auto outer = [&](Future<> f) -> Coroutine<> { co_await never(f); };
    loop->create_task(outer(loop->create_future()), {.name = "deep"});
    const std::string text = support::masked(raised<DeadlockError>([&] { loop->run_forever(); }));
    EXPECT_EQ(text,
              "Deadlock: nothing is ready and no timer is left. Waiting tasks:\n"
              "  <Task pending name='deep' coro=<<lambda>() running at FILE:LINE> "
              "wait_for=<Future pending cb=[Task.task_wakeup()]>>\n"
              "    in <lambda>() at FILE:LINE");
    for (const AnyTask& t : all_tasks(*loop)) t.cancel();
    loop->run_until_complete(sleep(0s));
    EXPECT_EQ(raised<DeadlockError>([&] { loop->run_forever(); }),
              "Deadlock: nothing is ready and no timer is left. Waiting tasks: none");
}

TEST(EventLoop, DeadlockSaysWhatEachTaskWaitsFor) {
    const auto said = [](auto wait) {
        const auto loop = virtual_loop();
        loop->create_task(wait());
        const std::string text =
            support::masked(raised<DeadlockError>([&] { loop->run_forever(); }));
        for (const AnyTask& t : all_tasks(*loop)) t.cancel();
        loop->run_until_complete(sleep(0s));
        const auto place = text.rfind("\n    ");
        return place == std::string::npos ? text : text.substr(place + 5);
    };
    EXPECT_EQ(said([]() -> Coroutine<> {
                  Lock lock;
                  co_await lock.acquire();
                  co_await lock.acquire();
              }),
              "waits for Lock.acquire");
    EXPECT_EQ(said([]() -> Coroutine<> {
                  Semaphore none(0);
                  co_await none.acquire();
              }),
              "waits for Semaphore.acquire");
    EXPECT_EQ(said([]() -> Coroutine<> {
                  Event event;
                  co_await event.wait();
              }),
              "waits for Event.wait");
    EXPECT_EQ(said([]() -> Coroutine<> {
                  Condition condition;
                  const auto guard = co_await condition.scoped();
                  co_await condition.wait();
              }),
              "waits for Condition.wait");
    EXPECT_EQ(said([]() -> Coroutine<> {
                  Queue<int> queue;
                  co_await queue.get();
              }),
              "waits for Queue.get");
    EXPECT_EQ(said([]() -> Coroutine<> {
                  Queue<int> queue(1);
                  co_await queue.put(1);
                  co_await queue.put(2);
              }),
              "waits for Queue.put");
    EXPECT_EQ(said([]() -> Coroutine<> {
                  Queue<int> queue;
                  co_await queue.put(1);
                  co_await queue.join();
              }),
              "waits for Queue.join");
    EXPECT_EQ(said([]() -> Coroutine<> {
                  const std::vector<Future<>> one{get_running_loop().create_future()};
                  co_await asyncio::wait(one);
              }),
              "waits for wait");
    EXPECT_EQ(said([]() -> Coroutine<> {
                  const std::vector<Future<>> one{get_running_loop().create_future()};
                  for (auto next : asyncio::as_completed(one)) co_await std::move(next);
              }),
              "waits for as_completed");
    EXPECT_EQ(said([]() -> Coroutine<> { co_await sleep(std::nullopt); }), "waits for sleep");
}

TEST(EventLoop, DeadlockOfManyTasksNamesAHundred) {
    const auto loop = virtual_loop();
    const ErrorCapture errors(*loop);
    const auto f = loop->create_future();
    for (int i = 0; i < 250; ++i) loop->create_task(f);
    const std::string text = raised<DeadlockError>([&] { loop->run_forever(); });
    EXPECT_NE(text.find("\n  and 150 more"), std::string::npos);
    EXPECT_LT(text.size(), 60'000u);
}

// ---- starvation and wake-ups on a real loop ----

TEST(Loop, AChainFromOtherThreadsCallsStarvesNobody) {  // S-04, L38: due at once, not 64 turns late
    const auto loop = EpollEventLoop::create();
    int iterations = 0;
    int late = -1;
    loop->call_later(0s, [&] { late = iterations; });
    auto spin = [&](auto&& self) -> void {
        if (++iterations == 1000 || late >= 0) return loop->stop();
        loop->call_soon_threadsafe([&, self] { self(self); });
    };
    loop->call_soon([&] { spin(spin); });
    loop->run_forever();
    EXPECT_GE(late, 0);
    EXPECT_LE(late, 1);
}

TEST(Loop, AFloodOfCallbacksIsPolledAfterEachSnapshot) {  // S-04
    const auto loop = EpollEventLoop::create();
    int ran = 0;
    bool timed = false;
    loop->call_later(0s, [&] { timed = true; });
    for (int i = 0; i < 5000; ++i) {
        loop->call_soon([&] {
            ++ran;
            loop->call_soon([&] { ++ran; });
        });
    }
    loop->call_soon([&] {
        EXPECT_FALSE(timed);
        loop->call_soon([&] { loop->call_soon([&] { loop->stop(); }); });
    });
    loop->run_forever();
    EXPECT_TRUE(timed);
    EXPECT_EQ(ran, 10'000);
}

TEST(Loop, IsWokenByAnotherThread) {  // SC-02, S-08
    const auto loop = EpollEventLoop::create();
    int rounds = 0;
    std::jthread other;
    const auto post = [&] {
        loop->call_soon_threadsafe([&] {
            if (++rounds == 100) loop->stop();
        });
    };
    loop->call_soon([&] {
        other = std::jthread([&] {
            for (int i = 0; i < 100; ++i) post();
        });
    });
    loop->run_forever();  // nothing else would ever wake it
    other.join();
    EXPECT_EQ(rounds, 100);
}

TEST(Loop, KeepsTheOrderOfOneThreadsCalls) {  // S-08
    const auto loop = EpollEventLoop::create();
    std::vector<int> seen;
    std::thread([&] {
        for (int i = 0; i < 1000; ++i) loop->call_soon_threadsafe([&, i] { seen.push_back(i); });
        loop->call_soon_threadsafe([&] { loop->stop(); });
    }).join();
    loop->run_forever();
    ASSERT_EQ(seen.size(), 1000u);
    for (int i = 0; i < 1000; ++i) EXPECT_EQ(seen[static_cast<std::size_t>(i)], i);
}

TEST(CallSoonThreadsafe, FromItsOwnThreadKeepsTheOrderToo) {  // S-08
    const auto loop = virtual_loop();
    std::string order;
    loop->call_soon([&] { order += 'a'; });
    loop->call_soon_threadsafe([&] { order += 'b'; });
    loop->call_soon([&] { order += 'c'; });
    loop->run_once(0s);
    EXPECT_EQ(order, "abc");
    loop->call_soon([&] {
        loop->call_soon_threadsafe([&] { order += 'd'; });
        loop->call_soon([&] { order += 'e'; });
    });
    loop->run_once(0s);
    loop->run_once(0s);
    EXPECT_EQ(order, "abcde");
}

TEST(CallLater, OnRealTimeManyTimersFireInOrderAndNoneEarly) {  // S-05
    const auto loop = EpollEventLoop::create();
    const TimePoint begin = loop->time();
    std::vector<int> order;
    constexpr int kTimers = 100;
    for (int i = kTimers - 1; i >= 0; --i) {
        const TimePoint when = begin + std::chrono::microseconds(50 * i);
        loop->call_at(when, [&, i, when] {
            EXPECT_GE(loop->time(), when);
            order.push_back(i);
            if (order.size() == kTimers) loop->stop();
        });
    }
    loop->run_forever();
    ASSERT_EQ(order.size(), static_cast<std::size_t>(kTimers));
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST(CallLater, NegativeDelaysAreDueAtOnceEarliestFirst) {  // SC-03, S-06
    const auto loop = virtual_loop();
    std::string order;
    loop->call_later(0s, [&] { order += '0'; });
    loop->call_later(-1s, [&] { order += '1'; });
    loop->call_later(-2s, [&] { order += '2'; });
    loop->run_once(0s);
    EXPECT_EQ(order, "210");
    EXPECT_EQ(loop->time(), TimePoint(0s));
}

TEST(CallLater, ATimerMadeByATimerWaitsForTheNextIteration) {  // S-04
    const auto loop = virtual_loop();
    int depth = 0;
    loop->call_later(0s, [&] {
        ++depth;
        loop->call_later(0s, [&] { ++depth; });
    });
    loop->run_once(0s);
    EXPECT_EQ(depth, 1);
    loop->run_once(0s);
    EXPECT_EQ(depth, 2);
}

TEST(CallLater, FiveStarvedIterationsOfVirtualTimeAreNone) {  // S-03: never late on virtual time
    const auto loop = virtual_loop();
    int iterations = 0;
    int fired_at = -1;
    auto spin = [&](auto&& self) -> void {
        if (++iterations < 5) loop->call_soon([&, self] { self(self); });
    };
    loop->call_soon([&] { spin(spin); });
    loop->call_later(0s, [&] { fired_at = iterations; });
    loop->run_once(0s);
    EXPECT_EQ(fired_at, 1) << "in the first iteration, behind what was ready";
    while (loop->run_once(0s)) {
    }
}

// ---- more of handles ----

TEST(Handle, CancelDropsTheCallableAtOnce) {  // HD-01
    const auto loop = virtual_loop();
    auto object = std::make_shared<int>(1);
    const Handle soon = loop->call_soon([object] { FAIL(); });
    const TimerHandle later = loop->call_later(1s, [object] { FAIL(); });
    EXPECT_EQ(object.use_count(), 3);
    soon.cancel();
    later.cancel();
    EXPECT_EQ(object.use_count(), 1);
    EXPECT_TRUE(soon.cancelled() && later.cancelled());
    soon.cancel();
    EXPECT_EQ(later.when(), TimePoint(1s)) << "still told";
    loop->run_until_complete(sleep(2s));
}

TEST(Handle, ACallbackMayCancelItselfWhereverItIs) {  // HD-01
    const auto loop = virtual_loop();
    auto object = std::make_shared<int>(1);
    Handle h;
    int seen = 0;
    h = loop->call_soon([&, object] {
        Context().run([&] { h.cancel(); });
        seen = *object;
    });
    loop->run_once(0s);
    EXPECT_EQ(seen, 1);
    EXPECT_EQ(object.use_count(), 1);
    h = loop->call_soon([&, object] {
        loop->create_task(
            [&]() -> Coroutine<> {
                h.cancel();
                co_return;
            },
            {.eager_start = true});
        seen = *object + 1;
    });
    loop->run_once(0s);
    EXPECT_EQ(seen, 2);
    EXPECT_EQ(object.use_count(), 1);
}

TEST(Handle, ATimerThatIsDueMayBeCancelledInItsIteration) {  // S-09
    const auto loop = virtual_loop();
    TimerHandle second;
    loop->call_later(1s, [&] { second.cancel(); });
    second = loop->call_later(1s, [] { FAIL(); });
    bool third = false;
    loop->call_later(1s, [&] { third = true; });
    loop->run_until_complete(sleep(2s));
    EXPECT_TRUE(third);
}

TEST(Handle, EmptyOnesSaySo) {
    EXPECT_FALSE(Handle());
    EXPECT_FALSE(Handle().cancelled());
    EXPECT_THROW((void)TimerHandle().when(), RuntimeError);
    EXPECT_THROW((void)Handle().get_context(), RuntimeError);
    EXPECT_EQ(Handle().repr(), "<Handle empty>");
}

TEST(Handle, OutlivesItsLoop) {
    Handle soon;
    TimerHandle later;
    auto object = std::make_shared<int>(1);
    {
        const auto loop = virtual_loop();
        soon = loop->call_soon([object] {});
        later = loop->call_later(1s, [object] {});
    }
    EXPECT_EQ(object.use_count(), 1);
    EXPECT_EQ(later.when(), TimePoint(1s));
    soon.cancel();
    later.cancel();
    EXPECT_TRUE(later.cancelled());
}

// ---- more of the pick-next hook ----

TEST(Loop, PickNextIsAskedOnlyWithWhatIsLeftAndMayBeWrong) {
    const auto loop = virtual_loop();
    std::vector<std::size_t> asked;
    std::string order;
    for (char c : {'a', 'b', 'c'}) {
        loop->call_soon([&, c] {
            order += c;
            loop->call_soon([&, c] { order += static_cast<char>(c - 32); });
        });
    }
    loop->set_pick_next([&](std::size_t n) {
        asked.push_back(n);
        return n + 1;  // out of range: taken modulo n
    });
    loop->run_once(0s);
    EXPECT_EQ(asked, (std::vector<std::size_t>{3, 2, 1})) << "what they queue is not in it";
    EXPECT_EQ(order, "bca");
}

TEST(Loop, PickNextThatRaisesLosesNothing) {
    const auto loop = virtual_loop();
    std::string order;
    for (char c : {'a', 'b', 'c'}) loop->call_soon([&, c] { order += c; });
    int calls = 0;
    loop->set_pick_next([&](std::size_t) -> std::size_t {
        if (++calls != 2) return 0;
        throw KeyboardInterrupt();
    });
    EXPECT_THROW(loop->run_once(0s), KeyboardInterrupt);
    EXPECT_EQ(order, "a");
    loop->run_once(0s);
    EXPECT_EQ(order, "abc");
    calls = 1;
    loop->call_soon([&] { order += 'd'; });
    EXPECT_THROW(loop->run_once(0s), KeyboardInterrupt) << "before anything has run";
    loop->set_pick_next(nullptr);
    loop->run_once(0s);
    EXPECT_EQ(order, "abcd");
}

TEST(Loop, PickNextMayBeTakenOffWhileItServes) {
    const auto loop = virtual_loop();
    std::string order;
    loop->set_pick_next([](std::size_t n) { return n - 1; });
    for (char c : {'a', 'b'}) loop->call_soon([&, c] { order += c; });
    loop->call_soon([&] { loop->set_pick_next(nullptr); });
    loop->run_once(0s);
    EXPECT_EQ(order, "ab");
}

TEST(Loop, PickNextFindsTasksThatDependOnTheOrder) {
    // What the hook is for: the same program in another order.
    const auto last_first = [](bool reversed) {
        const auto loop = virtual_loop();
        if (reversed) loop->set_pick_next([](std::size_t n) { return n - 1; });
        std::string order;
        loop->run_until_complete([&]() -> Coroutine<> {
            const auto say = [&](char c) -> Coroutine<> {
                order += c;
                co_await sleep(0s);
                order += c;
            };
            co_await gather(say('a'), say('b'));
        });
        return order;
    };
    EXPECT_EQ(last_first(false), "abab");
    EXPECT_EQ(last_first(true), "baab");
}

// ---- more of errors ----

TEST(ExceptionHandler, RunsInTheContextOfTheTaskOrCallback) {  // EH-01
    static ContextVar<std::string> var("handler_context", "none");
    const auto loop = virtual_loop();
    Lines seen;
    loop->set_exception_handler([&](EventLoop&, const ExceptionContext& c) {
        seen.push_back(c.message.substr(0, 9) + ": " + var.get());
    });
    loop->run_until_complete([&]() -> Coroutine<> {
        var.set("callback's");
        get_running_loop().call_soon([] { throw ValueError("x"); });
        const Future<> f;
        f.add_done_callback([] { throw ValueError("x"); });
        f.set_result();
        var.set("task's");
        create_task([]() -> Coroutine<> {
            throw ValueError("x");
            co_return;
        });
        create_task(sleep(1h));
        var.set("main's");
        co_await sleep(1s);
        ExceptionContext by_hand;
        by_hand.message = "by hand..";
        by_hand.handle = get_running_loop().call_soon([] {}, {.context = nullptr});
        get_running_loop().call_exception_handler(by_hand);
        EXPECT_EQ(var.get(), "main's");
    });
    loop->close();
    EXPECT_EQ(seen, (Lines{"Exception: callback's", "Exception: callback's", "Task exce: task's",
                           "by hand..: main's", "Task was : task's"}));
}

TEST(ExceptionHandler, AnInterruptOfItLeavesTheLoop) {  // EH-04
    const auto loop = virtual_loop();
    loop->set_exception_handler(
        [](EventLoop&, const ExceptionContext&) { throw KeyboardInterrupt("from the handler"); });
    loop->call_soon([] { throw ValueError("x"); });
    EXPECT_EQ(raised<KeyboardInterrupt>([&] { loop->run_forever(); }), "from the handler");
    const auto f = loop->create_future();
    f.add_done_callback([] { throw ValueError("x"); });
    f.set_result();
    EXPECT_EQ(raised<KeyboardInterrupt>([&] { loop->run_forever(); }), "from the handler");
    EXPECT_THROW(loop->call_exception_handler({}), KeyboardInterrupt);
}

TEST(ExceptionHandler, MayReplaceItself) {  // EH-02
    const auto loop = virtual_loop();
    int first = 0;
    int second = 0;
    loop->set_exception_handler([&](EventLoop& l, const ExceptionContext&) {
        ++first;
        l.set_exception_handler([&](EventLoop&, const ExceptionContext&) { ++second; });
    });
    for (int i = 0; i < 3; ++i) loop->call_soon([] { throw 5; });
    loop->run_once(0s);
    EXPECT_EQ(first, 1);
    EXPECT_EQ(second, 2);
}

TEST(ExceptionHandler, DefaultTellsAllThatIsKnown) {  // EH-03
    const auto loop = virtual_loop();
    const LogCapture log;
    ExceptionContext context;
    context.message = "What happened";
    context.future = loop->create_future<int>();
    context.handle = loop->call_soon([] {});
    context.exception = make_os_error(2, "gone");
    loop->default_exception_handler(context);
    EXPECT_EQ(support::masked(log.text()),
              "What happened\nfuture: <Future pending>\nhandle: <Handle callback at FILE:LINE>\n"
              "FileNotFoundError: [Errno 2] gone\n");
}

}  // namespace
