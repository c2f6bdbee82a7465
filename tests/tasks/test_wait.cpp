// tasks/wait.hpp: parity rows T-18, T-19, S-33, S-34, B-20.
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

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
using support::raised;
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

using Tasks = std::vector<Task<int>>;

TEST(Wait, GivesHandlesInTheOrderOfTheArguments) {  // T-18
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 2s)), create_task(fail("x", 1s)),
                          create_task(give(3))};
        const TimePoint begin = get_running_loop().time();
        const auto [done, pending] = co_await wait(tasks);
        EXPECT_EQ(get_running_loop().time() - begin, 2s);
        EXPECT_EQ(done, tasks) << "in the order of the arguments";
        EXPECT_TRUE(pending.empty());
        EXPECT_TRUE(detail::holds<ValueError>(tasks[1].exception()));
    });
}

TEST(Wait, WithATimeoutGivesWhatIsPendingAndCancelsNothing) {  // T-18, B-20
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 3s)), create_task(give(2, 1s)),
                          create_task(give(3, 5s))};
        const auto [done, pending] = co_await wait(tasks, {.timeout = 2s});
        EXPECT_EQ(get_running_loop().time().time_since_epoch(), 2s);
        EXPECT_EQ(done, (Tasks{tasks[1]}));
        EXPECT_EQ(pending, (Tasks{tasks[0], tasks[2]}));
        EXPECT_EQ(pending[0].cancelling(), 0u);
        EXPECT_EQ(co_await tasks[2], 3);
    });
}

TEST(Wait, ItsTimerGoesWithIt) {
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 1s))};
        (void)co_await wait(tasks, {.timeout = 1h});
    });
    SUCCEED() << "virtual time would say if the loop had waited: nothing does";
    const auto loop = VirtualTimeEventLoop::create();
    loop->run_until_complete([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 1s))};
        (void)co_await wait(tasks, {.timeout = 1h});
    });
    EXPECT_THROW(loop->run_forever(), DeadlockError) << "no timer is left";
    EXPECT_EQ(loop->time().time_since_epoch(), 1s);
}

TEST(Wait, UntilTheFirstHasEnded) {  // T-19
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 2s)), create_task(give(2, 1s))};
        const auto [done, pending] = co_await wait(tasks, {.return_when = FIRST_COMPLETED});
        EXPECT_EQ(done, (Tasks{tasks[1]}));
        EXPECT_EQ(pending, (Tasks{tasks[0]}));
        co_await tasks[0];
    });
}

TEST(Wait, UntilTheFirstException) {  // T-19, B-20
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 1s)), create_task(give(2, 9s)),
                          create_task(fail("x", 3s)), create_task(give(4, 1h))};
        tasks[3].cancel();
        const auto [done, pending] = co_await wait(tasks, {.return_when = FIRST_EXCEPTION});
        EXPECT_EQ(get_running_loop().time().time_since_epoch(), 3s) << "no cancel counts";
        EXPECT_EQ(done, (Tasks{tasks[0], tasks[2], tasks[3]}));
        EXPECT_EQ(pending, (Tasks{tasks[1]}));
        const auto [all, none] = co_await wait(pending, {.return_when = FIRST_EXCEPTION});
        EXPECT_EQ(all.size(), 1u) << "without an exception: when all have ended";
        EXPECT_TRUE(none.empty());
    });
}

TEST(Wait, WithFirstExceptionHasSeenTheException) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        const Tasks tasks{create_task(fail("seen")), create_task(give(1, 1s))};
        (void)co_await wait(tasks, {.return_when = FIRST_EXCEPTION});
        co_await tasks[1];
    });
    EXPECT_EQ(errors.lines(), Lines{});
}

TEST(Wait, DoesNotLookAtExceptionsOtherwise) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        const Tasks tasks{create_task(fail("not seen"))};
        (void)co_await wait(tasks);
    });
    EXPECT_EQ(errors.lines().size(), 1u);
}

TEST(Wait, TakesItsIterations) {  // S-33, S-34
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        const Tasks tasks{create_task(give(1))};
        (void)co_await wait(tasks);
        EXPECT_EQ(iterations.passed(), 3);
        (void)co_await wait(tasks);
        EXPECT_EQ(iterations.passed(), 2) << "all done already";
        (void)co_await wait(tasks, {.timeout = 0s});
        EXPECT_EQ(iterations.passed(), 2);
        const std::vector<Future<>> futures(1);
        const auto [done, pending] = co_await wait(futures, {.timeout = 0s});
        EXPECT_EQ(iterations.passed(), 2);
        EXPECT_TRUE(done.empty());
        EXPECT_EQ(pending, futures);
    });
}

TEST(Wait, OfNothingIsAnErrorAndABadConstantToo) {  // T-18
    run_virtual([]() -> Coroutine<> {
        const auto r = co_await as_result(wait(Tasks()));
        EXPECT_EQ(error_text<ValueError>(r), "Set of Tasks/Futures is empty.");
        const Tasks tasks{create_task(give(1))};
        const auto when = static_cast<ReturnWhen>(77);
        const auto bad = co_await as_result(wait(tasks, {.return_when = when}));
        EXPECT_EQ(error_text<ValueError>(bad), "Invalid return_when value: 77");
        EXPECT_TRUE((co_await as_result(wait(Tasks(1)))).holds<RuntimeError>());
        co_await tasks[0];
    });
}

TEST(Wait, TakesCoroutinesSingleFuturesAndDuplicates) {  // T-18
    run_virtual([]() -> Coroutine<> {
        const auto a = create_task(give(1));
        const auto b = create_task(give(2));
        const Tasks tasks{a, b, a, a};
        const auto [done, pending] = co_await wait(tasks);
        EXPECT_EQ(done, (Tasks{a, b}));
        EXPECT_TRUE(pending.empty());
    });
    run_virtual([]() -> Coroutine<> {  // the notes' way
        std::vector<Coroutine<int>> coroutines;
        coroutines.push_back(give(1, 1s));
        coroutines.push_back(give(2));
        const auto [done, pending] = co_await wait(std::move(coroutines));
        static_assert(std::is_same_v<decltype(done), const std::vector<Task<int>>>);
        EXPECT_EQ(done.size(), 2u);
        EXPECT_EQ(done[0].result() + done[1].result(), 3);
        EXPECT_TRUE(pending.empty());
    });
    run_virtual([]() -> Coroutine<> {
        const auto a = create_task(give(1));
        const Future<std::string> f;
        f.set_result("s");
        const auto [done, pending] = co_await wait(a, f);
        EXPECT_EQ(done, (std::vector<AnyFuture>{a, f}));
        EXPECT_TRUE(pending.empty());
        const std::vector<AnyFuture> any{a, f};
        EXPECT_EQ((co_await wait(any)).done, any);
    });
}

TEST(Wait, IsLazy) {  // an async def
    const auto loop = VirtualTimeEventLoop::create();
    std::vector<Coroutine<int>> coroutines;
    coroutines.push_back(give(1));
    auto w = wait(std::move(coroutines));  // no loop runs yet
    EXPECT_EQ(loop->run_until_complete(std::move(w)).done.size(), 1u);
}

TEST(Wait, OfAnotherLoopIsRefused) {
    const auto other = VirtualTimeEventLoop::create();
    const std::vector<Future<int>> foreign{other->create_future<int>()};
    run_virtual([&]() -> Coroutine<> {
        const auto r = co_await as_result(wait(foreign));
        EXPECT_EQ(
            error_text<ValueError>(r),
            "The future belongs to a different loop than the one specified as the loop argument");
    });
}

// ---- cancelling --------------------------------------------------------------------------------

TEST(Wait, CancelledLeavesTheTasksAlone) {  // T-18
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 5s)), create_task(give(2, 6s))};
        const auto t = create_task([&]() -> Coroutine<> { (void)co_await wait(tasks); });
        co_await sleep(1s);
        EXPECT_NE(repr(tasks[0]).find("cb=[wait()]"), std::string::npos);
        EXPECT_TRUE(t.cancel("waiter"));
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "waiter");
        EXPECT_EQ(tasks[0].cancelling(), 0u);
        EXPECT_EQ(repr(tasks[0]).find("wait()"), std::string::npos) << "it is not watched any more";
        EXPECT_EQ(co_await tasks[0], 1);
        EXPECT_EQ(co_await tasks[1], 2);
    });
}

TEST(WaitCancel, BeforeItBeginsAndInTheIterationInWhichItEnds) {  // S-44, S-45
    run_virtual([]() -> Coroutine<> {
        const std::vector<Future<>> futures(2);
        const auto before = create_task([&]() -> Coroutine<> {
            current_task().cancel("before");
            (void)co_await wait(futures);
        });
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(before)), "before");
        const auto late = create_task([&]() -> Coroutine<> { (void)co_await wait(futures); });
        co_await sleep(0s);
        futures[0].set_result();
        futures[1].set_result();
        co_await sleep(0s);  // the waiter is set, the task not yet resumed
        EXPECT_FALSE(late.done());
        late.cancel("late");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(late)), "late");
    });
}

TEST(WaitCancel, WhileCallbacksOfItsFuturesAreInTheQueue) {
    run_virtual([]() -> Coroutine<> {
        const std::vector<Future<>> futures(3);
        const auto t =
            create_task([&]() -> Coroutine<> { (void)co_await wait(futures, {.timeout = 1s}); });
        co_await sleep(0s);
        futures[0].set_result();
        t.cancel();
        futures[1].set_result();
        EXPECT_TRUE((co_await as_result(t)).holds<CancelledError>());
        co_await sleep(2s);
    });
}

TEST(WaitCancel, InTheIterationOfItsTimeout) {
    run_virtual([]() -> Coroutine<> {
        const std::vector<Future<>> futures(1);
        EventLoop& loop = get_running_loop();
        Task<> t;
        loop.call_later(1s, [&] { t.cancel("timer"); });
        t = create_task([&]() -> Coroutine<> { (void)co_await wait(futures, {.timeout = 1s}); });
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "timer");
    });
}

TEST(Wait, EndsWithItsLoop) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    const auto f = loop->create_future();
    loop->create_task([&]() -> Coroutine<> {
        const std::vector<Future<>> futures{f};
        (void)co_await wait(futures, {.timeout = 1h});
    });
    loop->run_until_complete(sleep(1s));
    loop->close();
    EXPECT_EQ(errors.lines(), (Lines{"Task was destroyed but it is pending!"}));
    EXPECT_EQ(repr(f), "<Future pending>");
}

// ---- due when it is armed, on the real loop (L38)
// ------------------------------------------------

Coroutine<int> spin(int n) {
    for (int i = 0; i < n; ++i) co_await sleep(0s);
    co_return n;
}

// What CPython 3.11 answers: a timeout of 0 is over in the next iteration, after what was ready.
TEST(Wait, WithATimeoutOfZeroOnTheRealLoop) {  // L38, S-34
    for (const bool real : {false, true}) {
        const auto loop = real ? new_event_loop() : VirtualTimeEventLoop::create();
        loop->run_until_complete([real]() -> Coroutine<> {
            for (const Duration timeout : {Duration(0s), Duration(-1s), Duration(1ns)}) {
                // While something is ready, virtual time stands still.
                if (!real && timeout > 0s) continue;
                for (const int n : {0, 1, 2, 3, 5, 30, 62, 63, 64, 65, 100}) {
                    Tasks tasks{create_task(spin(n))};
                    Iterations iterations(get_running_loop());
                    const auto r = co_await wait(tasks, {.timeout = timeout});
                    EXPECT_EQ(r.done.size(), n < 2 ? 1u : 0u) << n;
                    EXPECT_EQ(iterations.passed(), 2) << n;
                    co_await tasks[0];
                }
            }
        });
    }
}

}  // namespace
