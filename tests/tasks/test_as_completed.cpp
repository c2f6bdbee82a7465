// tasks/as_completed.hpp: parity rows T-21, S-37, S-88, B-25.
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "counted_new.hpp"
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

TEST(AsCompleted, GivesTheTasksThemselves) {  // T-21, S-88, B-25
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(3, 3s)), create_task(give(1, 1s)),
                          create_task(fail("x", 2s))};
        Tasks seen;
        auto it = as_completed(tasks);
        while (auto t = co_await it.next()) {
            EXPECT_TRUE(t->done());
            seen.push_back(*t);
        }
        EXPECT_EQ(seen, (Tasks{tasks[1], tasks[2], tasks[0]}));
        EXPECT_FALSE(co_await it.next()) << "it stays at its end";
        EXPECT_TRUE(detail::holds<ValueError>(tasks[2].exception()));
    });
}

TEST(AsCompleted, GivesCoroutinesToAPlainLoop) {  // T-21
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(3, 3s)), create_task(fail("x", 2s)),
                          create_task(give(1, 1s))};
        Lines log;
        for (auto&& next : as_completed(tasks)) {
            const auto r = co_await as_result(std::move(next));
            log.push_back(r.has_value() ? std::to_string(r.value()) : error_text<ValueError>(r));
        }
        EXPECT_EQ(log, (Lines{"1", "x", "3"}));
    });
}

TEST(AsCompleted, PlainIterationMayAwaitThemAtOnce) {  // S-88
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(2, 2s)), create_task(give(1, 1s))};
        std::vector<Task<int>> waiters;
        for (auto&& next : as_completed(tasks)) waiters.push_back(create_task(std::move(next)));
        EXPECT_EQ(waiters.size(), 2u);
        EXPECT_EQ(co_await waiters[0], 1) << "the first that asks gets the first that ends";
        EXPECT_EQ(co_await waiters[1], 2);
    });
}

TEST(AsCompleted, TakesItsIterations) {  // S-37
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1)), create_task(give(2)), create_task(give(3))};
        co_await sleep(0s);
        co_await sleep(0s);
        Iterations iterations(get_running_loop());
        auto it = as_completed(tasks);
        (void)co_await it.next();
        EXPECT_EQ(iterations.passed(), 2);
        (void)co_await it.next();
        (void)co_await it.next();
        EXPECT_FALSE(co_await it.next());
        EXPECT_EQ(iterations.passed(), 0);
    });
}

TEST(AsCompleted, MakesTasksOfCoroutinesAtOnceAndCollapsesDuplicates) {  // T-21
    run_virtual([]() -> Coroutine<> {
        std::vector<Coroutine<int>> coroutines;
        coroutines.push_back(give(1));
        coroutines.push_back(give(2));
        auto it = as_completed(std::move(coroutines));
        EXPECT_EQ(all_tasks().size(), 3u);
        int sum = 0;
        while (auto t = co_await it.next()) sum += t->result();
        EXPECT_EQ(sum, 3);
        const auto task = create_task(give(7));
        int count = 0;
        const Tasks same{task, task};
        for (auto&& next : as_completed(same)) count += co_await std::move(next);
        EXPECT_EQ(count, 7);
    });
}

TEST(AsCompleted, OfNothingNeedsNoLoop) {  // T-21
    int count = 0;
    for (auto&& next : as_completed(Tasks())) {
        (void)next;
        ++count;
    }
    EXPECT_EQ(count, 0);
    run_virtual([]() -> Coroutine<> {
        auto it = as_completed(Tasks(), {.timeout = 1s});
        EXPECT_FALSE(co_await it.next());
    });
}

TEST(AsCompleted, TimesOutWithoutCancelling) {  // T-21, B-25
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 1s)), create_task(give(2, 5s)),
                          create_task(give(3, 6s))};
        Lines log;
        for (auto&& next : as_completed(tasks, {.timeout = 2s})) {
            const auto r = co_await as_result(std::move(next));
            log.push_back(r.has_value()             ? std::to_string(r.value())
                          : r.holds<TimeoutError>() ? "timeout"
                                                    : "other");
        }
        EXPECT_EQ(log, (Lines{"1", "timeout", "timeout"}));
        EXPECT_EQ(get_running_loop().time().time_since_epoch(), 2s);
        EXPECT_EQ(tasks[1].cancelling(), 0u);
        auto it = as_completed(tasks, {.timeout = 1s});
        EXPECT_EQ(co_await it.next(), tasks[0]);
        EXPECT_TRUE((co_await as_result(it.next())).holds<TimeoutError>());
        EXPECT_TRUE((co_await as_result(it.next())).holds<TimeoutError>());
        EXPECT_FALSE(co_await it.next());
        EXPECT_EQ(co_await tasks[2], 3);
    });
}

TEST(AsCompleted, TimerAndWatchersGoWithIt) {
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    loop->run_until_complete([&]() -> Coroutine<> {
        const std::vector<Future<int>> futures{f};
        {
            auto it = as_completed(futures, {.timeout = 1h});
            EXPECT_NE(repr(f), "<Future pending>");
        }
        EXPECT_EQ(repr(f), "<Future pending>");
        const Tasks tasks{create_task(give(1, 1s))};
        auto it = as_completed(tasks, {.timeout = 1h});
        (void)co_await it.next();
    });
    EXPECT_THROW(loop->run_forever(), DeadlockError);
    EXPECT_EQ(loop->time().time_since_epoch(), 1s);
}

TEST(AsCompleted, OfAnotherLoopIsRefused) {  // T-21
    const auto other = VirtualTimeEventLoop::create();
    const std::vector<Future<int>> foreign{other->create_future<int>()};
    run_virtual([&]() -> Coroutine<> {
        EXPECT_EQ(
            raised<ValueError>([&] { (void)as_completed(foreign); }),
            "The future belongs to a different loop than the one specified as the loop argument");
        co_return;
    });
}

TEST(AsCompleted, MoveOnlyResultsAreMoved) {
    run_virtual([]() -> Coroutine<> {
        std::vector<Coroutine<std::unique_ptr<int>>> coroutines;
        coroutines.push_back(
            []() -> Coroutine<std::unique_ptr<int>> { co_return std::make_unique<int>(3); }());
        for (auto&& next : as_completed(std::move(coroutines))) {
            const auto value = co_await std::move(next);
            EXPECT_EQ(*value, 3);
        }
    });
}

// ---- cancelling --------------------------------------------------------------------------------

TEST(AsCompleted, CancelledNextLosesNothing) {
    run_virtual([]() -> Coroutine<> {
        const Tasks tasks{create_task(give(1, 2s)), create_task(give(2, 3s))};
        auto it = as_completed(tasks);
        const auto waiter = create_task([&]() -> Coroutine<> { (void)co_await it.next(); });
        co_await sleep(1s);
        waiter.cancel("waiter");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(waiter)), "waiter");
        EXPECT_EQ(tasks[0].cancelling(), 0u);
        EXPECT_EQ(co_await it.next(), tasks[0]);
        EXPECT_FALSE(co_await it.next()) << "the cancelled call has counted";
    });
}

TEST(AsCompletedCancel, BeforeItBeginsAndInTheIterationInWhichItEnds) {  // S-44, S-45
    run_virtual([]() -> Coroutine<> {
        const std::vector<Future<int>> futures(3);
        auto it = as_completed(futures);
        const auto before = create_task([&]() -> Coroutine<> {
            current_task().cancel("before");
            (void)co_await it.next();
        });
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(before)), "before");
        const auto late = create_task([&]() -> Coroutine<> { (void)co_await it.next(); });
        const auto second = create_task([&]() -> Coroutine<int> {
            const auto f = co_await it.next();
            co_return f->result();
        });
        co_await sleep(0s);
        futures[1].set_result(1);
        co_await sleep(0s);  // the first waiter is woken, its task not yet resumed
        EXPECT_FALSE(late.done());
        late.cancel("late");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(late)), "late");
        EXPECT_EQ(co_await second, 1) << "S-54: the wake-up goes to the next";
    });
}

TEST(AsCompleted, EndsWithItsLoop) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->create_task([]() -> Coroutine<> {
        const std::vector<Future<int>> futures(2);
        auto it = as_completed(futures, {.timeout = 1h});
        (void)co_await it.next();
    });
    loop->run_until_complete(sleep(1s));
    loop->close();
    EXPECT_EQ(errors.lines(), (Lines{"Task was destroyed but it is pending!"}));
}

// ---- due when it is armed, on the real loop (L38)
// ------------------------------------------------

Coroutine<int> spin(int n) {
    for (int i = 0; i < n; ++i) co_await sleep(0s);
    co_return n;
}

// What CPython 3.11 answers.
TEST(AsCompleted, WithATimeoutOfZeroOnTheRealLoop) {  // L38, S-37
    for (const bool real : {false, true}) {
        const auto loop = real ? new_event_loop() : VirtualTimeEventLoop::create();
        loop->run_until_complete([real]() -> Coroutine<> {
            for (const Duration timeout : {Duration(0s), Duration(-1s), Duration(1ns)}) {
                // While something is ready, virtual time stands still.
                if (!real && timeout > 0s) continue;
                for (const int n : {0, 1, 2, 5, 30, 62, 63, 64, 65, 100}) {
                    Tasks tasks{create_task(spin(n))};
                    auto it = as_completed(tasks, {.timeout = timeout});
                    const auto r = co_await as_result(it.next());
                    EXPECT_TRUE(r.holds<TimeoutError>()) << n;
                    co_await tasks[0];
                }
            }
        });
    }
}

TEST(AsCompleted, WithoutMemoryLeavesTheTasksAsTheyWere) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    int refused = 0;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        run_virtual([&]() -> Coroutine<> {
            Tasks tasks{create_task(give(1)), create_task(give(2)), create_task(give(3, 2s))};
            co_await tasks[0];
            support::blocks_left = given;
            try {
                const auto all = as_completed(tasks, AsCompletedOptions{.timeout = 1s});
            } catch (const std::bad_alloc&) {
                ++refused;
            }
            enough = support::blocks_left.exchange(-1) >= 0;
            int sum = 0;
            for (const auto& t : tasks) sum += co_await t;
            EXPECT_EQ(sum, 6);
        });
    }
    EXPECT_GE(refused, 2);
}

}  // namespace
