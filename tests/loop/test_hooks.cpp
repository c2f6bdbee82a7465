// What a loop calls back while something of it is in use: hooks that replace themselves, that act
// on the loop, close it or destroy it. L8, and section 3.5 of what was found.
#include <asyncio/events.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::LogCapture;
using support::raised;

// What a hook holds, to see whether it still lives. Not in the hook itself, which may be gone.
std::weak_ptr<int> watched;
bool replaced = false;

std::shared_ptr<int> watch() {
    auto token = std::make_shared<int>(7);
    watched = token;
    replaced = false;
    return token;
}

// To be called by a hook that has just taken itself off.
void expect_to_live() {
    replaced = true;
    EXPECT_FALSE(watched.expired());
}

// It lived while it ran, and went then.
void expect_gone() {
    EXPECT_TRUE(replaced);
    EXPECT_TRUE(watched.expired());
}

using LoopFactory = std::unique_ptr<EventLoop> (*)();

class Hooks : public testing::TestWithParam<LoopFactory> {
  protected:
    std::unique_ptr<EventLoop> loop = GetParam()();
    void turn() {
        loop->run_until_complete([]() -> Coroutine<> {
            co_await create_task(sleep(0s));
            co_await sleep(20ms);  // long enough to be waited for on a slow machine
        });
    }
};
std::string name_of(const testing::TestParamInfo<LoopFactory>& info) {
    constexpr const char* kNames[] = {"epoll", "io_uring", "virtual"};
    return kNames[info.index];
}
INSTANTIATE_TEST_SUITE_P(Loops, Hooks,
                         testing::Values(&EpollEventLoop::create, &UringEventLoop::create,
                                         &VirtualTimeEventLoop::create),
                         name_of);

TEST_P(Hooks, ATaskFactoryMayTakeItselfOff) {  // L8.
    loop->set_task_factory([token = watch()](EventLoop& l, TaskOptions&) {
        l.set_task_factory({});
        expect_to_live();
    });
    turn();
    expect_gone();
}

TEST_P(Hooks, AHookBeforeTheWaitMayTakeItselfOff) {  // L8.
    loop->set_wait_hooks(
        [token = watch(), l = loop.get()] {
            l->set_wait_hooks({}, {});
            expect_to_live();
        },
        [] { ADD_FAILURE() << "was taken off"; });
    turn();
    expect_gone();
}

TEST_P(Hooks, AHookAfterTheWaitMayTakeItselfOff) {  // L8.
    loop->set_wait_hooks({}, [token = watch(), l = loop.get()] {
        l->set_wait_hooks({}, {});
        expect_to_live();
    });
    turn();
    expect_gone();
}

TEST_P(Hooks, APickNextMayTakeItselfOff) {  // L8.
    loop->set_pick_next([token = watch(), l = loop.get()](std::size_t) -> std::size_t {
        l->set_pick_next({});
        expect_to_live();
        return 0;
    });
    turn();
    expect_gone();
}

TEST_P(Hooks, AnExceptionHandlerMayTakeItselfOff) {  // L8.
    const LogCapture log;
    loop->set_exception_handler([token = watch()](EventLoop& l, const ExceptionContext&) {
        l.set_exception_handler({});
        expect_to_live();
    });
    loop->call_soon([] { throw ValueError("told"); });
    turn();
    expect_gone();
    EXPECT_EQ(log.text(), "");
}

TEST_P(Hooks, MayPutOthersInTheirPlaceAgainAndAgain) {  // L8.
    int made = 0;
    struct Replace {
        EventLoop* loop;
        int* made;
        std::string text = std::string(200, 'x');
        void operator()(EventLoop& l, TaskOptions&) const {
            if (++*made < 20) l.set_task_factory(Replace{loop, made});
            EXPECT_EQ(text, std::string(200, 'x'));
        }
    };
    loop->set_task_factory(Replace{loop.get(), &made});
    for (int i = 0; i < 30; ++i) turn();
    EXPECT_GT(made, 20);
}

TEST_P(Hooks, WhatAHookCapturesMayActWhenItGoes) {  // L8.
    struct Capture {
        EventLoop* loop;
        int* gone;
        ~Capture() {
            ++*gone;
            loop->set_exception_handler({});
            loop->set_task_factory({});
            loop->set_wait_hooks({}, {});
        }
    };
    int gone = 0;
    const auto capture = [&] { return std::make_shared<Capture>(loop.get(), &gone); };
    loop->set_exception_handler([c = capture()](EventLoop&, const ExceptionContext&) {});
    loop->set_task_factory([c = capture()](EventLoop&, TaskOptions&) {});
    loop->set_wait_hooks([c = capture()] {}, {});
    loop->set_exception_handler({});
    EXPECT_EQ(gone, 3);
    turn();
    loop->set_task_factory([c = capture()](EventLoop&, TaskOptions&) {});
    loop->close();
    loop.reset();
    EXPECT_EQ(gone, 4);
}

TEST_P(Hooks, ATaskFactoryMayCloseTheLoop) {  // L8.
    const LogCapture log;
    loop->set_task_factory([](EventLoop& l, TaskOptions&) { l.close(); });
    EXPECT_EQ(raised<RuntimeError>([&] { (void)loop->create_task(sleep(0s)); }),
              "Event loop is closed");
    EXPECT_TRUE(loop->is_closed());
}

TEST_P(Hooks, ATaskFactoryMayDestroyTheLoop) {  // L8.
    const LogCapture log;
    loop->set_task_factory([&](EventLoop&, TaskOptions&) { loop.reset(); });
    EXPECT_EQ(raised<RuntimeError>([&] { (void)loop->create_task(sleep(0s)); }),
              "Event loop is closed");
    EXPECT_EQ(loop, nullptr);
}

TEST_P(Hooks, ATaskFactoryMayRunTheLoopAndMakeTasks) {  // L8.
    int calls = 0;
    loop->set_task_factory([&](EventLoop& l, TaskOptions&) {
        if (++calls > 3) return;
        l.run_until_complete(sleep(1ms));
    });
    auto task = loop->create_task(sleep(1ms, 5));
    EXPECT_EQ(loop->run_until_complete(task), 5);
    EXPECT_EQ(calls, 4);
}

TEST_P(Hooks, AnExceptionHandlerMayCloseOrDestroyTheLoopThatCloses) {  // L8.
    const LogCapture log;
    int told = 0;
    loop->set_exception_handler([&](EventLoop& l, const ExceptionContext&) {
        ++told;
        l.close();
        loop.reset();
    });
    loop->create_task(sleep(1h));
    loop->create_task(sleep(1h));
    loop->run_once(0s);
    loop->close();  // tells of the pending tasks
    EXPECT_GE(told, 1);
    EXPECT_EQ(loop, nullptr);
}

TEST_P(Hooks, AnExceptionHandlerMayScheduleStopAndRunOtherLoops) {  // L8.
    const LogCapture log;
    std::vector<std::string> steps;
    loop->set_exception_handler([&](EventLoop& l, const ExceptionContext&) {
        steps.push_back(raised<RuntimeError>([] { asyncio::run(sleep(0s)); }));
        l.call_soon([&] { steps.push_back("called"); });
        l.call_soon_threadsafe([&] { steps.push_back("posted"); });
        l.call_later(0s, [&] {
            steps.push_back("timer");
            l.stop();
        });
    });
    loop->call_soon([] { throw ValueError("told"); });
    loop->run_forever();
    EXPECT_EQ(steps.size(), 4u);
    EXPECT_EQ(steps[0], "asyncio.run() cannot be called from a running event loop");
}

TEST_P(Hooks, ThatRaiseLeaveTheLoopUsable) {  // L8.
    const LogCapture log;
    loop->set_wait_hooks([] { throw ValueError("before"); }, {});
    EXPECT_EQ(raised<ValueError>([&] { loop->run_until_complete(sleep(20ms)); }), "before");
    loop->set_wait_hooks({}, [] { throw ValueError("after"); });
    EXPECT_EQ(raised<ValueError>([&] { loop->run_until_complete(sleep(20ms)); }), "after");
    loop->set_wait_hooks({}, {});
    loop->set_pick_next([](std::size_t) -> std::size_t { throw ValueError("pick"); });
    EXPECT_EQ(raised<ValueError>([&] { loop->run_until_complete(sleep(1ms)); }), "pick");
    loop->set_pick_next({});
    loop->set_task_factory([](EventLoop&, TaskOptions&) { throw ValueError("factory"); });
    EXPECT_EQ(raised<ValueError>([&] { (void)loop->create_task(sleep(0s)); }), "factory");
    loop->set_task_factory({});
    turn();
    turn();
}

TEST_P(Hooks, MayNotCloseTheLoopThatRuns) {  // L8.
    const LogCapture log;
    const std::string wrong = "Cannot close a running event loop";
    loop->set_wait_hooks([&] { EXPECT_EQ(raised<RuntimeError>([&] { loop->close(); }), wrong); },
                         {});
    loop->set_exception_handler([&](EventLoop& l, const ExceptionContext&) {
        EXPECT_EQ(raised<RuntimeError>([&] { l.close(); }), wrong);
    });
    loop->call_soon([] { throw ValueError("told"); });
    turn();
}

void second_sink(log::Level, std::string_view) {}
void first_sink(log::Level, std::string_view) {
    log::set_sink(&second_sink);
    log::write(log::Level::ERROR, "from within");
}

TEST(Sinks, MayReplaceThemselvesAndWrite) {  // L8.
    const log::Sink before = log::set_sink(&first_sink);
    log::write(log::Level::ERROR, "text");
    EXPECT_EQ(log::set_sink(before), &second_sink);
}

}  // namespace
