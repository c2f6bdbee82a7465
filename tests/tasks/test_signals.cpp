// signals.hpp and the loop's signal handlers: SG-01 to SG-03, R-08, S-96 to S-99. Orders were
// compared with CPython 3.13's.
#include <asyncio/signals.hpp>

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <asyncio/runners.hpp>
#include <asyncio/threads.hpp>
#include <asyncio/timeouts.hpp>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <new>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "counted_new.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::raised;
using support::run_virtual;

constexpr RunOptions kVirtual{.loop_factory = &VirtualTimeEventLoop::create};

// What the process does with a signal: 'd'efault, 'i'gnore or 'c'atch.
char disposition(int signal) {
    struct sigaction now{};
    EXPECT_EQ(::sigaction(signal, nullptr, &now), 0);
    if ((now.sa_flags & SA_SIGINFO) != 0) return 'c';
    if (now.sa_handler == SIG_DFL) return 'd';
    return now.sa_handler == SIG_IGN ? 'i' : 'c';
}

// ---- handlers -----------------------------------------------------------------------------------

TEST(SignalHandler, IsCalledInTheLoopEachTime) {  // SG-01
    int calls = 0;
    run_virtual([&]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        loop.add_signal_handler(SIGUSR1, [&] {
            EXPECT_EQ(&get_running_loop(), &loop);
            ++calls;
        });
        for (int i = 1; i <= 3; ++i) {
            ::raise(SIGUSR1);
            EXPECT_EQ(calls, i - 1);
            co_await sleep(1s);
            EXPECT_EQ(calls, i);
        }
    });
    EXPECT_EQ(disposition(SIGUSR1), 'd');
}

TEST(SignalHandler, RunsTwoIterationsLater) {  // SG-03
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        support::Lines order;
        loop.add_signal_handler(SIGUSR1, [&] { order.push_back("handler"); });
        ::raise(SIGUSR1);
        loop.call_soon([&] {
            order.push_back("first");
            loop.call_soon([&] { order.push_back("second"); });
        });
        for (int i = 0; i < 4; ++i) co_await sleep(0s);
        // Read in the next iteration, called in the one after.
        EXPECT_EQ(order, (support::Lines{"first", "handler", "second"}));
    });
}

TEST(SignalHandler, WakesALoopThatSleeps) {  // SG-01
    for (const auto create : {&EpollEventLoop::create, &new_event_loop}) {
        const auto loop = create();
        std::thread sender;
        loop->add_signal_handler(SIGUSR1, [&] { loop->stop(); });
        sender = std::thread([] { ::kill(::getpid(), SIGUSR1); });
        loop->run_forever();
        sender.join();
    }
}

TEST(SignalHandler, CoalescesWhatComesTogether) {  // SG-03
    run_virtual([]() -> Coroutine<> {
        int calls = 0;
        get_running_loop().add_signal_handler(SIGUSR1, [&] { ++calls; });
        for (int i = 0; i < 5; ++i) ::raise(SIGUSR1);
        co_await sleep(1s);
        EXPECT_EQ(calls, 1);
    });
}

TEST(SignalHandler, ReplacesAnOlderOneSilently) {  // SG-01
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        std::string calls;
        const auto token = std::make_shared<int>(1);
        loop.add_signal_handler(SIGUSR1, [&, token] { calls += 'a'; });
        loop.add_signal_handler(SIGUSR1, [&] { calls += 'b'; });
        EXPECT_EQ(token.use_count(), 1);  // the older one is gone
        ::raise(SIGUSR1);
        co_await sleep(1s);
        EXPECT_EQ(calls, "b");
        EXPECT_TRUE(loop.remove_signal_handler(SIGUSR1));
        EXPECT_FALSE(loop.remove_signal_handler(SIGUSR1));
        EXPECT_EQ(disposition(SIGUSR1), 'd');
    });
}

TEST(SignalHandler, OneThatIsRemovedIsNotCalled) {  // SG-02
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        loop.add_signal_handler(SIGUSR1, [] { ADD_FAILURE(); });
        ::raise(SIGUSR1);
        EXPECT_TRUE(loop.remove_signal_handler(SIGUSR1));
        co_await sleep(1s);
    });
}

TEST(SignalHandler, MayRemoveItself) {  // SG-02
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        int calls = 0;
        const std::string text(100, 'x');
        loop.add_signal_handler(SIGUSR1, [&, text] {
            EXPECT_TRUE(loop.remove_signal_handler(SIGUSR1));
            calls += static_cast<int>(text.size());
        });
        ::raise(SIGUSR1);
        co_await sleep(1s);
        EXPECT_EQ(calls, 100);
    });
}

TEST(SignalHandler, RefusesWhatCannotBeCaught) {  // SG-01, SG-02
    const auto loop = VirtualTimeEventLoop::create();
    const auto nothing = [] {};
    for (const int bad : {0, -1, 32, 33, 65, 1000}) {
        const std::string text = "invalid signal number " + std::to_string(bad);
        EXPECT_EQ(raised<ValueError>([&] { loop->add_signal_handler(bad, nothing); }), text);
        EXPECT_EQ(raised<ValueError>([&] { loop->remove_signal_handler(bad); }), text);
        EXPECT_EQ(raised<ValueError>([&] { signals::wait(bad).close(); }), text);
    }
    for (const int bad : {SIGKILL, SIGSTOP}) {
        EXPECT_EQ(raised<RuntimeError>([&] { loop->add_signal_handler(bad, nothing); }),
                  "sig " + std::to_string(bad) + " cannot be caught");
        EXPECT_FALSE(loop->remove_signal_handler(bad));
    }
    loop->close();
    EXPECT_EQ(raised<RuntimeError>([&] { loop->add_signal_handler(SIGUSR1, nothing); }),
              "Event loop is closed");
    EXPECT_FALSE(loop->remove_signal_handler(SIGUSR1));
}

TEST(SignalHandler, IsRemovedWhenItsLoopCloses) {  // SG-02, S-94
    const auto token = std::make_shared<int>(1);
    ::signal(SIGUSR2, SIG_IGN);
    const auto loop = VirtualTimeEventLoop::create();
    loop->add_signal_handler(SIGUSR1, [token] {});
    loop->add_signal_handler(SIGUSR2, [token] {});
    ::raise(SIGUSR1);
    EXPECT_EQ(disposition(SIGUSR2), 'c');
    loop->close();
    EXPECT_EQ(token.use_count(), 1);
    EXPECT_EQ(disposition(SIGUSR1), 'd');
    EXPECT_EQ(disposition(SIGUSR2), 'i');  // what was there before
    ::signal(SIGUSR2, SIG_DFL);
}

TEST(SignalHandler, LeavesAloneWhatOthersHaveInstalledSince) {  // SG-02
    const auto loop = VirtualTimeEventLoop::create();
    loop->add_signal_handler(SIGUSR1, [] {});
    ::signal(SIGUSR1, SIG_IGN);
    EXPECT_TRUE(loop->remove_signal_handler(SIGUSR1));
    EXPECT_EQ(disposition(SIGUSR1), 'i');
    ::signal(SIGUSR1, SIG_DFL);
}

TEST(SignalHandler, ReportsWhatItRaises) {  // SG-01, SC-07
    const auto loop = VirtualTimeEventLoop::create();
    support::Lines reports;
    loop->set_exception_handler([&](EventLoop&, const ExceptionContext& context) {
        reports.push_back(detail::describe(context.exception));
    });
    loop->add_signal_handler(SIGUSR1, [] { throw ValueError("bad"); });
    loop->run_until_complete([]() -> Coroutine<> {
        ::raise(SIGUSR1);
        co_await sleep(1s);
        ::raise(SIGUSR1);
        co_await sleep(1s);
    });
    EXPECT_EQ(reports, (support::Lines{"ValueError('bad')", "ValueError('bad')"}));
    loop->add_signal_handler(SIGUSR1, [] { throw SystemExit(3); });
    EXPECT_THROW(loop->run_until_complete([]() -> Coroutine<> {
        ::raise(SIGUSR1);
        co_await sleep(1s);
    }),
                 SystemExit);
}

TEST(SignalHandler, RunsInTheContextOfItsRegistration) {  // SG-01
    ContextVar<int> v{"v", 0};
    run_virtual([&]() -> Coroutine<> {
        int seen = -1;
        v.set(5);
        get_running_loop().add_signal_handler(SIGUSR1, [&] { seen = v.get(); });
        v.set(6);
        ::raise(SIGUSR1);
        co_await sleep(1s);
        EXPECT_EQ(seen, 5);
    });
}

TEST(SignalHandler, EveryLoopThatAsksIsTold) {  // SG-01
    std::atomic<int> ready{0};
    std::atomic<int> told{0};
    const auto serve = [&] {
        const auto loop = EpollEventLoop::create();
        loop->add_signal_handler(SIGUSR1, [&] {
            ++told;
            loop->stop();
        });
        loop->call_soon([&] { ++ready; });
        loop->run_forever();
    };
    std::thread one(serve);
    std::thread two(serve);
    while (ready < 2) std::this_thread::yield();
    ::kill(::getpid(), SIGUSR1);
    one.join();
    two.join();
    EXPECT_EQ(told, 2);
    EXPECT_EQ(disposition(SIGUSR1), 'd');
}

TEST(SignalHandler, LoopsComeAndGoUnderAStormOfSignals) {  // SG-01, SG-02
    std::atomic<bool> stop{false};
    ::signal(SIGUSR1, SIG_IGN);  // while no loop catches it
    std::thread storm([&] {
        while (!stop) ::kill(::getpid(), SIGUSR1);
    });
    const auto come_and_go = [] {
        for (int i = 0; i < 200; ++i) {
            const auto loop = EpollEventLoop::create();
            loop->add_signal_handler(SIGUSR1, [&] { loop->stop(); });
            loop->run_forever();
        }
    };
    std::thread other(come_and_go);
    come_and_go();
    other.join();
    stop = true;
    storm.join();
    EXPECT_EQ(disposition(SIGUSR1), 'i');
    ::signal(SIGUSR1, SIG_DFL);
}

// ---- waiting ------------------------------------------------------------------------------------

TEST(SignalWait, GivesTheSignalThatCame) {
    run_virtual([]() -> Coroutine<> {
        auto task = create_task(signals::wait(SIGUSR1, SIGUSR2));
        auto other = create_task(signals::wait(SIGUSR2));
        co_await sleep(1s);
        EXPECT_EQ(disposition(SIGUSR1), 'c');
        ::raise(SIGUSR2);
        EXPECT_EQ(co_await task, SIGUSR2);
        EXPECT_EQ(co_await other, SIGUSR2);  // each that waits gets it
        EXPECT_EQ(disposition(SIGUSR1), 'd');
        EXPECT_EQ(disposition(SIGUSR2), 'd');
    });
}

TEST(SignalWait, AndAHandlerBothGetIt) {
    run_virtual([]() -> Coroutine<> {
        int calls = 0;
        EventLoop& loop = get_running_loop();
        loop.add_signal_handler(SIGUSR1, [&] { ++calls; });
        auto task = create_task(signals::wait(SIGUSR1));
        co_await sleep(1s);
        ::raise(SIGUSR1);
        co_await task;
        co_await sleep(1s);
        EXPECT_EQ(calls, 1);
        EXPECT_EQ(disposition(SIGUSR1), 'c');  // the handler's still
        EXPECT_TRUE(loop.remove_signal_handler(SIGUSR1));
    });
}

// Each block is refused once; with the address sanitizer the calls come of operator new, too.
TEST(SignalWait, AndHandlersGetItWithoutMemoryForACall) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        std::string calls;
        int waited = 0;
        run_virtual([&]() -> Coroutine<> {
            EventLoop& loop = get_running_loop();
            loop.add_signal_handler(SIGUSR1, [&] { calls += 'a'; });
            loop.add_signal_handler(SIGUSR2, [&] { calls += 'b'; });
            const auto wait = [&]() -> Coroutine<> {
                waited = co_await signals::wait(SIGUSR1, SIGUSR2);
            };
            const auto waiter = create_task(wait());
            co_await sleep(0s);
            calls.reserve(10);
            ::raise(SIGUSR1);
            ::raise(SIGUSR2);
            support::blocks_left = given;
            for (int i = 0; i < 4; ++i) co_await sleep(0s);
            enough = support::blocks_left.exchange(-1) >= 0;
            EXPECT_TRUE(waiter.done());
        });
        EXPECT_EQ(calls, "ab") << given;
        EXPECT_EQ(waited, SIGUSR1) << given;
    }
}

TEST(SignalHandler, OneThatIsRemovedBeforeThereIsMemoryIsNotCalled) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    if (!support::kAddressSanitizer) GTEST_SKIP() << "calls come of the pool";
    std::string calls;
    run_virtual([&]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        loop.add_signal_handler(SIGUSR1, [&] { calls += 'a'; });
        ::raise(SIGUSR1);
        support::blocks_left = 0;
        for (int i = 0; i < 2; ++i) co_await sleep(0s);
        EXPECT_LT(support::blocks_left.exchange(-1), 0);
        loop.remove_signal_handler(SIGUSR1);
        loop.add_signal_handler(SIGUSR1, [&] { calls += 'b'; });
        co_await sleep(1s);
    });
    EXPECT_EQ(calls, "");
}

TEST(SignalWait, Cancelled) {
    run_virtual([]() -> Coroutine<> {
        auto before = create_task(signals::wait(SIGUSR1));
        before.cancel();
        EXPECT_TRUE((co_await as_result(before)).holds<CancelledError>());
        auto waiting = create_task(signals::wait(SIGUSR1));
        co_await sleep(1s);
        waiting.cancel();
        EXPECT_TRUE((co_await as_result(waiting)).holds<CancelledError>());
        EXPECT_EQ(disposition(SIGUSR1), 'd');
        // In the tick in which it comes, the cancel wins.
        auto together = create_task(signals::wait(SIGUSR1));
        co_await sleep(1s);
        ::raise(SIGUSR1);
        get_running_loop().call_soon([&] { together.cancel(); });
        EXPECT_TRUE((co_await as_result(together)).holds<CancelledError>());
        EXPECT_EQ(disposition(SIGUSR1), 'd');
    });
}

TEST(SignalWait, RefusesWhatCannotBeCaught) {
    run_virtual([]() -> Coroutine<> {
        const auto r = co_await as_result(signals::wait(SIGUSR1, SIGKILL));
        EXPECT_EQ(support::error_text<RuntimeError>(r), "sig 9 cannot be caught");
        EXPECT_EQ(disposition(SIGUSR1), 'd');
    });
}

TEST(SignalWait, LoopClosesWhileATaskWaits) {
    const auto loop = VirtualTimeEventLoop::create();
    auto task = loop->create_task(signals::wait(SIGUSR1));
    loop->run_until_complete(sleep(1s));
    EXPECT_EQ(disposition(SIGUSR1), 'c');
    const support::LogCapture log;
    loop->close();
    EXPECT_EQ(disposition(SIGUSR1), 'd');
}

TEST(SignalWatch, YieldsEachFromTheCallOn) {
    run_virtual([]() -> Coroutine<> {
        auto hups = signals::watch(SIGHUP, SIGUSR1);
        ::raise(SIGUSR1);
        ::raise(SIGHUP);
        EXPECT_EQ((co_await hups.next()).value(), SIGHUP);  // the lower number first
        EXPECT_EQ((co_await hups.next()).value(), SIGUSR1);
        auto next = create_task(hups.next());
        co_await sleep(1s);
        EXPECT_FALSE(next.done());
        ::raise(SIGHUP);
        EXPECT_EQ((co_await next).value(), SIGHUP);
        co_await hups.aclose();
        EXPECT_EQ(disposition(SIGHUP), 'd');
        EXPECT_EQ(disposition(SIGUSR1), 'd');
    });
}

TEST(SignalWatch, ACancelledNextEndsIt) {
    run_virtual([]() -> Coroutine<> {
        auto usr = signals::watch(SIGUSR1);
        auto next = create_task(usr.next());
        co_await sleep(1s);
        next.cancel();
        EXPECT_TRUE((co_await as_result(next)).holds<CancelledError>());
        EXPECT_EQ(disposition(SIGUSR1), 'd');
        EXPECT_FALSE((co_await usr.next()).has_value());
    });
    EXPECT_EQ(disposition(SIGUSR1), 'd');
}

TEST(SignalWatch, MayOutliveItsLoopUnbegun) {
    AsyncGenerator<int> usr =
        run_virtual([]() -> Coroutine<AsyncGenerator<int>> { co_return signals::watch(SIGUSR1); });
    EXPECT_EQ(disposition(SIGUSR1), 'd');
}

// ---- Ctrl-C -------------------------------------------------------------------------------------

TEST(Interrupt, TheFirstCancelsTheMainTask) {  // R-08, S-96
    std::string end;
    EXPECT_THROW(asyncio::run(
                     [&]() -> Coroutine<> {
                         ::raise(SIGINT);
                         const auto r = co_await as_result(sleep(10s));
                         end = detail::describe(r.error());
                         EXPECT_EQ(current_task().cancelling(), 1u);
                         r.value();
                     },
                     kVirtual),
                 KeyboardInterrupt);
    EXPECT_EQ(end, "CancelledError()");
    EXPECT_EQ(disposition(SIGINT), 'd');
}

TEST(Interrupt, WakesALoopThatSleeps) {
    std::thread sender;
    EXPECT_THROW(asyncio::run([&]() -> Coroutine<> {
                     sender = std::thread([] { ::kill(::getpid(), SIGINT); });
                     co_await sleep(1000s);
                 }),
                 KeyboardInterrupt);
    sender.join();
}

TEST(Interrupt, AMainThatSwallowsTheCancelReturnsItsValue) {  // S-97
    EXPECT_EQ(asyncio::run(
                  []() -> Coroutine<int> {
                      ::raise(SIGINT);
                      static_cast<void>(co_await as_result(sleep(10s)));
                      co_return 7;
                  },
                  kVirtual),
              7);
}

TEST(Interrupt, UncancelByTheMainTaskChangesNothing) {
    EXPECT_THROW(asyncio::run(
                     []() -> Coroutine<> {
                         ::raise(SIGINT);
                         const auto r = co_await as_result(sleep(10s));
                         current_task().uncancel();
                         r.value();
                     },
                     kVirtual),
                 KeyboardInterrupt);
}

TEST(Interrupt, ACancelOfOthersToo) {
    EXPECT_THROW(asyncio::run(
                     []() -> Coroutine<> {
                         current_task().cancel();
                         ::raise(SIGINT);
                         const auto r = co_await as_result(sleep(10s));
                         static_cast<void>(co_await as_result(sleep(10s)));
                         r.value();
                     },
                     kVirtual),
                 CancelledError);
}

TEST(Interrupt, TheSecondLeavesBeforeTheNextCallback) {  // R-08, S-97
    support::Lines order;
    EXPECT_THROW(asyncio::run(
                     [&]() -> Coroutine<> {
                         EventLoop& loop = get_running_loop();
                         loop.call_soon([&] {
                             ::raise(SIGINT);
                             ::raise(SIGINT);
                             order.push_back("raised");
                             loop.call_soon([&] { order.push_back("never first"); });
                         });
                         loop.call_soon([&] { order.push_back("next"); });
                         const auto r = co_await as_result(sleep(10s));
                         order.push_back(detail::describe(r.error()));
                         r.value();
                     },
                     kVirtual),
                 KeyboardInterrupt);
    // What was ready runs in the shutdown, which cancels the main task.
    EXPECT_EQ(order, (support::Lines{"raised", "next", "never first", "CancelledError()"}));
}

TEST(Interrupt, TheSecondEndsAMainThatIgnoresTheFirst) {
    int cancels = 0;
    EXPECT_THROW(asyncio::run([&]() -> Coroutine<> {
                     ::raise(SIGINT);
                     while (true) {
                         const auto r = co_await as_result(sleep(1ms));
                         if (!r.has_value() && ++cancels == 2) co_return;
                         if (!r.has_value()) ::raise(SIGINT);
                     }
                 }),
                 KeyboardInterrupt);
    EXPECT_EQ(cancels, 2);  // the second one is the shutdown's
}

TEST(Interrupt, OneAfterTheMainTaskRaisesAtOnce) {  // S-97
    bool cleaned = false;
    EXPECT_THROW(asyncio::run(
                     [&]() -> Coroutine<int> {
                         create_task([&]() -> Coroutine<> {
                             static_cast<void>(co_await as_result(sleep(10s)));
                             cleaned = true;
                             ::raise(SIGINT);
                             co_await sleep(10s);
                         });
                         co_await sleep(1s);
                         co_return 1;
                     },
                     kVirtual),
                 KeyboardInterrupt);
    EXPECT_TRUE(cleaned);
    EXPECT_EQ(disposition(SIGINT), 'd');
}

TEST(Interrupt, TheThirdKills) {
    EXPECT_EXIT(asyncio::run(
                    []() -> Coroutine<> {
                        for (int i = 0; i < 3; ++i) ::raise(SIGINT);
                        std::exit(1);
                        co_return;
                    },
                    kVirtual),
                testing::KilledBySignal(SIGINT), "");
}

TEST(Interrupt, RunMainReturns130) {  // R-08, S-95
    const support::LogCapture log;
    testing::internal::CaptureStderr();
    EXPECT_EQ(run_main(
                  []() -> Coroutine<> {
                      ::raise(SIGINT);
                      co_await sleep(10s);
                  },
                  kVirtual),
              130);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "KeyboardInterrupt\n");
}

TEST(Interrupt, EachRunOfARunnerCountsAnew) {  // S-90
    Runner runner(kVirtual);
    const auto main = []() -> Coroutine<> {
        ::raise(SIGINT);
        co_await sleep(10s);
    };
    for (int i = 0; i < 4; ++i) {
        EXPECT_THROW(runner.run(main), KeyboardInterrupt);
        EXPECT_EQ(disposition(SIGINT), 'd');
    }
    EXPECT_EQ(runner.run(sleep(1s, 3)), 3);
}

TEST(Interrupt, InstallsNothingWhereOthersHandleIt) {  // R-08, S-98
    ::signal(SIGINT, SIG_IGN);
    asyncio::run(
        []() -> Coroutine<> {
            EXPECT_EQ(disposition(SIGINT), 'i');
            ::raise(SIGINT);
            co_await sleep(1s);
        },
        kVirtual);
    ::signal(SIGINT, SIG_DFL);
    std::thread([] {
        asyncio::run(
            []() -> Coroutine<> {
                EXPECT_EQ(disposition(SIGINT), 'd');
                co_return;
            },
            kVirtual);
    }).join();
}

TEST(Interrupt, InstallsNothingWithoutARunner) {  // S-99
    const auto loop = VirtualTimeEventLoop::create();
    loop->run_until_complete([]() -> Coroutine<> {
        EXPECT_EQ(disposition(SIGINT), 'd');
        co_return;
    });
}

TEST(Interrupt, AHandlerOfTheLoopTakesItsPlaceWhileItIsThere) {  // SG-01, SG-02, R-08
    int calls = 0;
    EXPECT_THROW(asyncio::run(
                     [&]() -> Coroutine<> {
                         EventLoop& loop = get_running_loop();
                         loop.add_signal_handler(SIGINT, [&] { ++calls; });
                         for (int i = 0; i < 4; ++i) {
                             ::raise(SIGINT);
                             co_await sleep(1s);
                         }
                         EXPECT_TRUE(loop.remove_signal_handler(SIGINT));
                         ::raise(SIGINT);
                         co_await sleep(1s);
                     },
                     kVirtual),
                 KeyboardInterrupt);
    EXPECT_EQ(calls, 4);
}

TEST(Interrupt, IsNotLostWhenMainEndsWithIt) {  // S-97
    EXPECT_THROW(asyncio::run(
                     []() -> Coroutine<int> {
                         ::raise(SIGINT);
                         co_return 1;
                     },
                     kVirtual),
                 KeyboardInterrupt);
}

}  // namespace
