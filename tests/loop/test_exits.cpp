// How a program ends while a loop runs: std::exit() from wherever, and a Ctrl-C that nobody
// catches.
#include <asyncio/coroutines.hpp>
#include <asyncio/exceptions.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/signals.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/threads.hpp>

#include <gtest/gtest.h>

#include <unistd.h>
#include <csignal>
#include <cstdlib>
#include <exception>
#include <memory>
#include <thread>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::raised;
using testing::ExitedWithCode;
using testing::KilledBySignal;

Coroutine<> exits() {
    auto pending = create_task(sleep(1h));
    co_await sleep(1ms);
    std::exit(3);
}
Coroutine<> waits() { co_await sleep(1h); }

// ---- std::exit() in a task (L7) ----

TEST(ExitInATask, EndsTheProgramWithItsStatusWhereverTheLoopLives) {
    EXPECT_EXIT(run(exits()), ExitedWithCode(3), "^$");
    EXPECT_EXIT(get_event_loop().run_until_complete(exits()), ExitedWithCode(3), "^$");
    EXPECT_EXIT(new_event_loop()->run_until_complete(exits()), ExitedWithCode(3), "^$");
    EXPECT_EXIT(
        {
            static const auto loop = new_event_loop();
            loop->run_until_complete(exits());
        },
        ExitedWithCode(3), "^$");
    EXPECT_EXIT(
        {
            static thread_local const auto loop = new_event_loop();
            loop->run_until_complete(exits());
        },
        ExitedWithCode(3), "^$");
    EXPECT_EXIT(
        {
            static const auto loop = VirtualTimeEventLoop::create();
            loop->run_until_complete(exits());
        },
        ExitedWithCode(3), "^$");
}

TEST(ExitInATask, EndsTheProgramThatHasARunner) {
    EXPECT_EXIT(
        {
            static Runner runner;
            runner.run(exits());
        },
        ExitedWithCode(3), "^$");
    EXPECT_EXIT(
        {
            static thread_local Runner runner;
            runner.run(exits());
        },
        ExitedWithCode(3), "^$");
}

TEST(ExitInATask, MayBeQuick) {
    EXPECT_EXIT(run([]() -> Coroutine<> {
                    co_await sleep(1ms);
                    std::quick_exit(3);
                }),
                ExitedWithCode(3), "^$");
}

TEST(ExitInACallback, EndsTheProgramWithItsStatus) {
    EXPECT_EXIT(
        {
            static const auto loop = new_event_loop();
            loop->call_later(1ms, [] { std::exit(3); });
            loop->run_forever();
        },
        ExitedWithCode(3), "^$");
    EXPECT_EXIT(
        {
            get_event_loop().add_signal_handler(SIGUSR1, [] { std::exit(3); });
            get_event_loop().call_soon([] { std::raise(SIGUSR1); });
            get_event_loop().run_forever();
        },
        ExitedWithCode(3), "^$");
    EXPECT_EXIT(
        {
            static auto task = get_event_loop().create_task(sleep(1ms));
            task.add_done_callback([] { std::exit(3); });
            get_event_loop().run_forever();
        },
        ExitedWithCode(3), "^$");
}

// A frame that is unwound by nobody keeps what it has; a loop beside the one that runs is closed.
TEST(ExitInATask, ClosesTheLoopsThatDoNotRun) {
    EXPECT_EXIT(
        {
            static const auto idle = new_event_loop();
            static auto task = idle->create_task(waits());
            idle->call_soon([] { idle->stop(); });
            idle->run_forever();
            run(exits());
        },
        ExitedWithCode(3), "destroyed but it is pending");
}

TEST(ExitOnAnotherThread, EndsTheProgramWhileTheLoopRuns) {
    EXPECT_EXIT(
        {
            static const auto loop = new_event_loop();
            loop->call_soon([] { std::thread([] { std::exit(3); }).detach(); });
            loop->run_until_complete(waits());
        },
        ExitedWithCode(3), "^$");
    EXPECT_EXIT(run([]() -> Coroutine<> { co_await to_thread([] { std::exit(3); }); }),
                ExitedWithCode(3), "^$");
    EXPECT_EXIT(
        {
            std::thread([] {
                static const auto loop = new_event_loop();
                loop->call_later(1ms, [] { std::exit(3); });
                loop->run_forever();
            }).join();
        },
        ExitedWithCode(3), "^$");
}

// As exit() destroys a static one: the memory stays. (The sanitizer of undefined behaviour says of
// each call that there is no loop any more, and is right.)
TEST(DestroyingARunningLoop, LeavesItRunning) {
    if (support::kAddressSanitizer) GTEST_SKIP() << "calls a destroyed loop";
    EventLoop* const loop = new_event_loop().release();
    int later = 0;
    loop->call_soon([&] { std::destroy_at(loop); });
    loop->call_later(1ms, [&] {
        ++later;
        get_running_loop().stop();
    });
    loop->run_forever();
    EXPECT_EQ(later, 1);
    loop->close();
    EXPECT_TRUE(loop->is_closed());
    ::operator delete(loop);
}

TEST(ClosingARunnerInItsOwnTask, IsAnError) {
    Runner runner;
    runner.run([&runner]() -> Coroutine<> {
        EXPECT_EQ(raised<RuntimeError>([&] { runner.close(); }),
                  "Cannot close a running event loop");
        co_return;
    });
    EXPECT_EQ(runner.run([]() -> Coroutine<int> { co_return 1; }), 1);
}

// ---- a Ctrl-C that nobody catches (L33) ----

// A program of its own, uncaught.cpp: an exception has to leave main(). (What leaves a noexcept
// function is not the same to g++ 12, which then ends the program without saying of what.)
[[noreturn]] void become(const char* which) {
    ::execl(UNCAUGHT_PROGRAM, UNCAUGHT_PROGRAM, which, nullptr);
    ::_exit(127);
}

TEST(UncaughtInterrupt, EndsTheProgramByItsSignal) {
    EXPECT_EXIT(become("run"), KilledBySignal(SIGINT), "^$");
    EXPECT_EXIT(become("runner"), KilledBySignal(SIGINT), "^$");
    EXPECT_EXIT(become("second run"), KilledBySignal(SIGINT), "^$");
}

TEST(UncaughtInterrupt, IsTheOnlyOneThatEndsSo) {
    EXPECT_EXIT(become("error"), KilledBySignal(SIGABRT), "not an interrupt");
    EXPECT_EXIT(become("terminate"), KilledBySignal(SIGABRT), "");
}

TEST(UncaughtInterrupt, LeavesTheProgramsOwnHandlerItsPart) {
    EXPECT_EXIT(become("own handler, error"), ExitedWithCode(7), "^$");
    EXPECT_EXIT(become("own handler, interrupt"), KilledBySignal(SIGINT), "^$");
    // One that asks the handler that it found, which is the library's.
    EXPECT_EXIT(become("asking handler, error"), KilledBySignal(SIGABRT), "for nobody");
    EXPECT_EXIT(become("asking handler, interrupt"), KilledBySignal(SIGINT), "^$");
}

}  // namespace
