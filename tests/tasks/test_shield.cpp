// tasks/shield.hpp: parity rows T-17, S-30, S-33, B-18, B-19.
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>

#include <gtest/gtest.h>

#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::error_text;
using support::ErrorCapture;
using support::Iterations;
using support::Lines;
using support::run_virtual;

Coroutine<int> give(int value, Duration after = {}) {
    if (after > Duration()) co_await sleep(after);
    co_return value;
}
Coroutine<int> fail(std::string text, Duration after = {}) {
    if (after > Duration()) co_await sleep(after);
    throw ValueError(text);
    co_return 0;
}

TEST(Shield, MirrorsTheResult) {  // T-17
    run_virtual([]() -> Coroutine<> {
        EXPECT_EQ(co_await shield(give(1, 1s)), 1);
        const auto t = create_task(fail("x"));
        EXPECT_EQ(error_text<ValueError>(co_await as_result(shield(t))), "x");
        const Future<> f;
        const auto s = shield(f);
        static_assert(std::is_same_v<decltype(s), const Future<>>);
        f.set_result();
        co_await s;
    });
}

TEST(Shield, OfADoneOneIsTheOneItself) {  // B-18, S-30
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        const Future<int> f;
        f.set_result(1);
        EXPECT_EQ(shield(f), f);
        EXPECT_EQ(co_await shield(f), 1);
        EXPECT_EQ(iterations.count(), 0);
    });
}

TEST(Shield, TakesThreeIterationsForATrivialCoroutine) {  // S-33, T-17
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        co_await shield(give(1));
        EXPECT_EQ(iterations.passed(), 3);
        const Future<> f;
        const auto s = shield(f);
        get_running_loop().call_soon([&] {
            iterations.passed();
            f.set_result();
        });
        co_await s;
        EXPECT_EQ(iterations.passed(), 2);
    });
}

TEST(Shield, KeepsTheInnerTaskRunning) {  // T-17
    run_virtual([]() -> Coroutine<> {
        const auto inner = create_task(give(5, 2s));
        const auto waiter =
            create_task([&]() -> Coroutine<int> { co_return co_await shield(inner); });
        co_await sleep(1s);
        EXPECT_TRUE(waiter.cancel("outer"));
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(waiter)), "outer");
        EXPECT_EQ(inner.cancelling(), 0u);
        EXPECT_EQ(co_await inner, 5);
    });
}

TEST(Shield, TheOuterFutureMayBeCancelledByHand) {
    run_virtual([]() -> Coroutine<> {
        const auto inner = create_task(give(5, 2s));
        const auto outer = shield(inner);
        co_await sleep(1s);
        EXPECT_TRUE(outer.cancel("by hand"));
        EXPECT_TRUE(outer.cancelled());
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(outer)), "by hand");
        EXPECT_EQ(co_await inner, 5);
    });
}

TEST(Shield, ACancelOfTheInnerOneCancelsTheOuterWithoutTheMessage) {  // T-17
    run_virtual([]() -> Coroutine<> {
        const auto inner = create_task(give(1, 1h));
        const auto outer = shield(inner);
        co_await sleep(1s);
        inner.cancel("inner");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(outer)), "");
        EXPECT_TRUE(outer.cancelled());
    });
}

TEST(Shield, CancelledBeforeTheAwaitAndInTheIterationInWhichItEnds) {  // S-44, S-45
    run_virtual([]() -> Coroutine<> {
        const auto inner = create_task(give(1, 1s));
        const auto before = create_task([&]() -> Coroutine<> {
            current_task().cancel("before");
            co_await shield(inner);
        });
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(before)), "before");
        EXPECT_FALSE(inner.done());
        const Future<int> f;
        const auto outer = shield(f);
        const auto late = create_task([&]() -> Coroutine<> { co_await outer; });
        co_await sleep(0s);
        f.set_result(2);
        co_await sleep(0s);
        EXPECT_TRUE(outer.done());
        EXPECT_FALSE(late.done());
        late.cancel("late");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(late)), "late");
        EXPECT_EQ(outer.result(), 2);
        co_await inner;
    });
}

class ShieldReport : public testing::Test {
  protected:
    std::unique_ptr<EventLoop> loop_ = VirtualTimeEventLoop::create();
    ErrorCapture errors_{*loop_};
};

TEST(Shield, ReportsAnInnerErrorThatNobodySees) {  // T-17 (3.14), B-19
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        const auto inner = create_task(fail("late", 2s));
        const auto outer = shield(inner);
        co_await sleep(1s);
        outer.cancel();
        co_await sleep(2s);
    });
    EXPECT_EQ(errors.lines(),
              (Lines{"ValueError exception in shielded future: ValueError('late')"}));
}

TEST_F(ShieldReport, OnceHoweverOftenItWasShielded) {  // B-19
    loop_->run_until_complete([]() -> Coroutine<> {
        const auto inner = create_task(fail("late", 2s));
        for (int i = 0; i < 3; ++i) {
            const auto outer = shield(inner);
            co_await sleep(100ms);
            outer.cancel();
            co_await sleep(100ms);
        }
        co_await sleep(2s);
        EXPECT_TRUE((co_await as_result(inner)).holds<ValueError>());
    });
    EXPECT_EQ(errors_.lines().size(), 1u);
}

TEST_F(ShieldReport, NotIfItEndsWellOrCancelled) {
    loop_->run_until_complete([]() -> Coroutine<> {
        const auto well = create_task(give(1, 2s));
        const auto cancelled = create_task(give(1, 1h));
        const auto a = shield(well);
        const auto b = shield(cancelled);
        co_await sleep(1s);
        a.cancel();
        b.cancel();
        co_await sleep(1s);
        cancelled.cancel();
        co_await sleep(2s);
    });
    EXPECT_EQ(errors_.lines(), Lines{});
}

TEST_F(ShieldReport, AFailureInTheIterationOfTheCancelIsNotSilent) {
    loop_->run_until_complete([]() -> Coroutine<> {
        const Future<> f;
        const auto outer = shield(f);
        outer.cancel();
        f.set_exception(ValueError("raced"));
        co_await sleep(1s);
    });
    EXPECT_EQ(errors_.lines(),
              (Lines{"Future exception was never retrieved: ValueError('raced')"}));
}

TEST_F(ShieldReport, AnOuterThatNobodyAwaitsReportsTheFailureOnce) {
    loop_->run_until_complete([]() -> Coroutine<> {
        (void)shield(fail("unseen", 1s));
        co_await sleep(2s);
    });
    EXPECT_EQ(errors_.lines(),
              (Lines{"Future exception was never retrieved: ValueError('unseen')"}));
}

TEST(Shield, OfATaskKeepsItsCallbacks) {
    run_virtual([]() -> Coroutine<> {
        int calls = 0;
        shield(give(1, 1s)).add_done_callback([&] { ++calls; });
        co_await sleep(2s);
        EXPECT_EQ(calls, 1);
    });
}

TEST(Shield, DroppedLeavesItsFuture) {
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        const auto watched = std::make_shared<int>(1);
        shield(f).add_done_callback([watched] {});
        EXPECT_EQ(watched.use_count(), 1);
        EXPECT_EQ(repr(f), "<Future pending>");
        f.set_result(1);
        co_await sleep(0s);
    });
}

TEST(Shield, MoveOnlyResultsAreMoved) {
    run_virtual([]() -> Coroutine<> {
        auto outer =
            shield([]() -> Coroutine<std::unique_ptr<int>> { co_return std::make_unique<int>(4); });
        const auto value = co_await std::move(outer);
        EXPECT_EQ(*value, 4);
        static int number = 1;
        const auto reference = shield([]() -> Coroutine<int&> {
            co_await sleep(1s);
            co_return number;
        });
        EXPECT_EQ(&(co_await reference), &number);
    });
}

TEST(Shield, AResultThatThrowsWhenCopiedIsItsError) {
    struct Throws {
        Throws() = default;
        Throws(const Throws&) { throw RuntimeError("copied"); }
        Throws(Throws&&) = default;
    };
    run_virtual([]() -> Coroutine<> {
        const auto outer = shield([]() -> Coroutine<Throws> { co_return Throws(); });
        EXPECT_EQ(error_text<RuntimeError>(co_await as_result(AnyFuture(outer))), "copied");
    });
}

TEST(Shield, MayBeSetByHand) {
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        const auto outer = shield(f);
        outer.set_result(8);
        EXPECT_EQ(co_await outer, 8);
        f.set_result(9);
        co_await sleep(0s);
        EXPECT_EQ(outer.result(), 8);
    });
}

TEST(Shield, OfAnotherLoopIsRefusedWhereItIsAwaited) {  // T-34
    const auto other = VirtualTimeEventLoop::create();
    const auto foreign = other->create_future<int>();
    run_virtual([&]() -> Coroutine<> {
        const auto r = co_await as_result(shield(foreign));
        EXPECT_TRUE(r.holds<RuntimeError>());
    });
}

TEST(Shield, EndsWithItsLoop) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->create_task([]() -> Coroutine<> { co_await shield(give(1, 1h)); });
    loop->run_until_complete(sleep(1s));
    loop->close();
    EXPECT_EQ(errors.lines().size(), 2u) << "the waiter and what is shielded";
}

// ---- many of one future (L27)
// --------------------------------------------------------------------

double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST(Shield, ManyThatTimeOutOnOneFutureCostNoSquare) {  // L27
    static constexpr int kTasks = 40'000;
    run_virtual([]() -> Coroutine<> {
        const Future<int> one;
        const auto impatient = [&]() -> Coroutine<> {
            const auto r = co_await as_result(wait_for(shield(one), 1s));
            EXPECT_TRUE(r.holds<TimeoutError>());
        };
        std::vector<Task<>> tasks;
        for (int i = 0; i < kTasks; ++i) tasks.push_back(create_task(impatient()));
        const double begin = cpu_seconds();
        for (const auto& t : tasks) co_await t;
        EXPECT_LT(cpu_seconds() - begin, 5);
    });
}

TEST(Shield, ManyThatTimeOutAndTryAgainCostNoSquare) {  // L27
    static constexpr int kTasks = 20'000;
    run_virtual([]() -> Coroutine<> {
        const Future<int> one;
        const auto impatient = [&](int i) -> Coroutine<> {
            for (int turn = 0; turn < 3; ++turn) {
                const auto r = co_await as_result(wait_for(shield(one), 1s + i * 1us));
                EXPECT_TRUE(r.holds<TimeoutError>());
            }
        };
        std::vector<Task<>> tasks;
        for (int i = 0; i < kTasks; ++i) tasks.push_back(create_task(impatient(i)));
        const double begin = cpu_seconds();
        for (const auto& t : tasks) co_await t;
        EXPECT_LT(cpu_seconds() - begin, 5);
    });
}

TEST(Shield, TheLogNodeStaysBehindWhatWasAddedMeanwhile) {  // L27, T-17
    run_virtual([]() -> Coroutine<> {
        Lines order;
        get_running_loop().set_exception_handler(
            [&](EventLoop&, const ExceptionContext& c) { order.push_back(c.message); });
        const Future<int> inner;
        const auto note = [&](const char* text) {
            inner.add_done_callback([&order, text](const Future<int>& f) {
                order.push_back(text);
                (void)f.exception();
            });
        };
        for (const char* text : {"a", "b", "c"}) {
            note(text);
            shield(inner).cancel();
            co_await sleep(0s);
        }
        const auto waiting = create_task([&]() -> Coroutine<> {
            (void)co_await as_result(inner);
            order.push_back("task");
        });
        co_await sleep(0s);
        shield(inner).cancel();
        co_await sleep(0s);
        inner.set_exception(ValueError("lost"));
        co_await waiting;
        co_await sleep(0s);
        EXPECT_EQ(order, (Lines{"a", "b", "c", "task", "ValueError exception in shielded future"}));
    });
}

}  // namespace
