// tasks/gather.hpp, tasks/wait.hpp, tasks/shield.hpp, tasks/as_completed.hpp as C++ sees them:
// types, ownership, ranges. Their order of events is compared with CPython's by the conformance
// scenarios gather-*, wait-*, shield-* and as-completed-*. T-15 to T-19, T-21, B-13 to B-20, B-25.
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::raised;
using support::run_virtual;

Coroutine<int> give(int x, int seconds = 1) {
    co_await sleep(std::chrono::seconds(seconds));
    co_return x;
}
Coroutine<> nothing() { co_await sleep(1s); }
Coroutine<std::unique_ptr<int>> owner(int x) {
    co_await sleep(1s);
    co_return std::make_unique<int>(x);
}
Coroutine<int> fail(const char* text, int seconds = 1) {
    co_await sleep(std::chrono::seconds(seconds));
    throw ValueError(text);
}

TEST(Gather, GivesATupleInOrder) {  // T-15
    run_virtual([]() -> Coroutine<> {
        auto r = co_await gather(give(1, 2), nothing(), owner(3));
        static_assert(
            std::is_same_v<decltype(r), std::tuple<int, std::monostate, std::unique_ptr<int>>>);
        EXPECT_EQ(std::get<0>(r), 1);
        EXPECT_EQ(*std::get<2>(r), 3);
        auto one = co_await gather(give(4));
        EXPECT_EQ(std::get<0>(one), 4);
        auto none = co_await gather();
        static_assert(std::is_same_v<decltype(none), std::tuple<>>);
    });
}

TEST(Gather, GivesAVectorForARange) {  // T-15
    run_virtual([]() -> Coroutine<> {
        std::vector<Coroutine<int>> coroutines;
        for (int i = 0; i < 3; ++i) coroutines.push_back(give(i, 3 - i));
        auto all = co_await gather(std::move(coroutines));
        EXPECT_EQ(all, (std::vector<int>{0, 1, 2}));
        std::vector<Task<int>> tasks{create_task(give(5)), create_task(give(6))};
        all = co_await gather(tasks);
        EXPECT_EQ(all, (std::vector<int>{5, 6}));
        std::array<Task<int>, 1> array{create_task(give(7))};
        all = co_await gather(array);
        EXPECT_EQ(all, std::vector<int>{7});
        std::vector<Coroutine<>> voids;
        voids.push_back(nothing());
        EXPECT_EQ((co_await gather(std::move(voids))).size(), 1u);
        std::vector<Coroutine<std::unique_ptr<int>>> owners;
        owners.push_back(owner(8));
        EXPECT_EQ(*(co_await gather(std::move(owners)))[0], 8);
        auto bools = [](bool b) -> Coroutine<bool> { co_return b; };
        std::vector<Coroutine<bool>> flags;
        flags.push_back(bools(true));
        auto answers = co_await gather(std::move(flags));
        EXPECT_EQ(answers, std::vector<bool>{true});
        EXPECT_TRUE((co_await gather(std::vector<Task<int>>())).empty());
    });
}

TEST(Gather, OfTheSameObjectTwiceRunsItOnce) {  // B-13
    run_virtual([]() -> Coroutine<> {
        auto c = give(1);
        auto [a, b] = co_await gather(c, c);
        EXPECT_EQ(a + b, 2);
        auto t = create_task(give(2));
        auto r = co_await gather(t, t, give(3));
        EXPECT_EQ(r, std::make_tuple(2, 2, 3));
    });
}

TEST(Gather, GivesTheFirstErrorAndLeavesTheOthersRunning) {  // B-14, S-66
    const auto loop = VirtualTimeEventLoop::create();
    const support::ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        auto slow = create_task(give(1, 5));
        {
            auto r = co_await as_result(gather(slow, fail("first", 1), fail("second", 2)));
            EXPECT_EQ(support::error_text<ValueError>(r), "first");
        }
        EXPECT_FALSE(slow.done());
        EXPECT_EQ(co_await slow, 1);
    });
    loop->close();
    EXPECT_EQ(errors.lines(), support::Lines{});  // the second error is silent
}

TEST(Gather, WithReturnExceptionsGivesResults) {  // T-15
    run_virtual([]() -> Coroutine<> {
        auto [a, b, c] = co_await gather(return_exceptions, give(1), fail("bad"), nothing());
        EXPECT_EQ(a.value(), 1);
        EXPECT_TRUE(b.holds<ValueError>());
        EXPECT_TRUE(c.has_value());
        std::vector<Coroutine<int>> range;
        range.push_back(fail("x"));
        range.push_back(give(2));
        auto results = co_await gather(return_exceptions, std::move(range));
        EXPECT_TRUE(results[0].holds<ValueError>());
        EXPECT_EQ(results[1].value(), 2);
    });
}

TEST(Gather, RefusesFuturesOfDifferentLoops) {  // T-15
    const auto a = VirtualTimeEventLoop::create();
    const auto b = VirtualTimeEventLoop::create();
    auto f = a->create_future<int>();
    auto g = b->create_future<int>();
    EXPECT_EQ(raised<ValueError>([&] { (void)gather(f, g); }),
              "The future belongs to a different loop than the one specified as the loop argument");
}

TEST(Gather, CancelReachesAllAndWaitsForThem) {  // T-16, B-15, B-16
    run_virtual([]() -> Coroutine<> {
        auto a = create_task(give(1, 10));
        auto b = create_task(give(2, 10));
        auto g = gather(return_exceptions, a, b);
        co_await sleep(1s);
        EXPECT_TRUE(g.cancel());
        auto r = co_await as_result(g);
        EXPECT_TRUE(r.holds<CancelledError>());
        EXPECT_TRUE(a.cancelled() && b.cancelled());
        EXPECT_FALSE(g.cancelled());
        EXPECT_FALSE(g.cancel());
    });
}

TEST(Gather, OfPendingFuturesThatIsDroppedLeavesThemAlone) {
    run_virtual([]() -> Coroutine<> {
        auto f = get_running_loop().create_future<int>();
        {
            auto g = gather(f, get_running_loop().create_future<int>());
        }
        f.set_result(1);
        EXPECT_EQ(co_await f, 1);
    });
}

TEST(Wait, GivesHandlesInTheOrderOfTheArguments) {  // T-18, T-19
    run_virtual([]() -> Coroutine<> {
        std::vector<Task<int>> tasks{create_task(give(1, 3)), create_task(give(2, 1)),
                                     create_task(give(3, 2))};
        auto first = co_await wait(tasks, {.return_when = FIRST_COMPLETED});
        EXPECT_EQ(first.done, std::vector<Task<int>>{tasks[1]});
        EXPECT_EQ(first.pending, (std::vector<Task<int>>{tasks[0], tasks[2]}));
        auto later = co_await wait(tasks, {.timeout = 1s});
        EXPECT_EQ(later.done.size() + later.pending.size(), 3u);
        auto all = co_await wait(tasks);
        EXPECT_EQ(all.done, tasks);
        EXPECT_TRUE(all.pending.empty());
    });
}

TEST(Wait, TakesCoroutinesSingleFuturesAndDuplicates) {  // T-18
    run_virtual([]() -> Coroutine<> {
        std::vector<Coroutine<int>> coroutines;
        coroutines.push_back(give(1));
        auto r = co_await wait(std::move(coroutines));
        static_assert(std::is_same_v<decltype(r), WaitResult<Task<int>>>);
        EXPECT_EQ(r.done[0].result(), 1);
        auto a = create_task(give(2));
        auto b = create_task(nothing());
        auto both = co_await wait(a, b, a);
        static_assert(std::is_same_v<decltype(both), WaitResult<AnyFuture>>);
        EXPECT_EQ(both.done.size(), 2u);
        EXPECT_EQ(both.done[0].result<int>(), 2);
    });
}

TEST(Wait, OfNothingIsAnErrorAndABadConstantToo) {  // T-18
    run_virtual([]() -> Coroutine<> {
        auto none = co_await as_result(wait(std::vector<Task<int>>()));
        EXPECT_EQ(support::error_text<ValueError>(none), "Set of Tasks/Futures is empty.");
        std::vector<Task<int>> tasks{create_task(give(1))};
        auto bad = co_await as_result(wait(tasks, {.return_when = static_cast<ReturnWhen>(9)}));
        EXPECT_EQ(support::error_text<ValueError>(bad), "Invalid return_when value: 9");
        co_await tasks[0];
    });
}

TEST(Wait, CancelledLeavesTheTasksAlone) {  // T-18, B-20
    run_virtual([]() -> Coroutine<> {
        std::vector<Task<int>> tasks{create_task(give(1, 5))};
        auto waiting = create_task(wait(tasks));
        auto at_once = create_task(wait(tasks));
        at_once.cancel();
        co_await sleep(1s);
        waiting.cancel();
        auto r = co_await as_result(waiting);
        EXPECT_TRUE(r.holds<CancelledError>());
        EXPECT_TRUE(at_once.cancelled());
        EXPECT_EQ(co_await tasks[0], 1);
        auto in_the_same_tick = create_task(wait(tasks));
        co_await sleep(0s);
        co_await sleep(0s);
        in_the_same_tick.cancel();
        EXPECT_TRUE((co_await as_result(in_the_same_tick)).holds<CancelledError>());
    });
}

TEST(Shield, KeepsTheInnerTaskRunning) {  // T-17
    run_virtual([]() -> Coroutine<> {
        auto inner = create_task(owner(1));
        auto outer = create_task(shield(inner));
        co_await sleep(0s);
        outer.cancel();
        EXPECT_TRUE((co_await as_result(outer)).holds<CancelledError>());
        EXPECT_EQ(*co_await inner, 1);
        EXPECT_EQ(shield(inner).id(), inner.id());  // B-18: done already
        EXPECT_EQ(co_await shield(give(2)), 2);
        EXPECT_EQ(*co_await shield(owner(3)), 3);
    });
}

TEST(Shield, ReportsAnInnerErrorThatNobodySees) {  // T-17, B-19
    const auto loop = VirtualTimeEventLoop::create();
    const support::ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        auto inner = create_task(fail("lost"));
        auto outer = shield(inner);
        outer.cancel();
        co_await sleep(2s);
    });
    loop->close();
    EXPECT_EQ(errors.lines(),
              support::Lines{"ValueError exception in shielded future: ValueError('lost')"});
}

TEST(AsCompleted, GivesTheTasksThemselves) {  // T-21
    run_virtual([]() -> Coroutine<> {
        std::vector<Task<int>> tasks{create_task(give(1, 2)), create_task(give(2, 1))};
        std::vector<Task<int>> order;
        auto it = as_completed(tasks);
        while (auto t = co_await it.next()) order.push_back(*t);
        EXPECT_EQ(order, (std::vector<Task<int>>{tasks[1], tasks[0]}));
    });
}

TEST(AsCompleted, GivesCoroutinesToAPlainLoop) {  // T-21
    run_virtual([]() -> Coroutine<> {
        std::vector<Coroutine<std::unique_ptr<int>>> coroutines;
        coroutines.push_back(owner(4));
        coroutines.push_back(owner(5));
        int sum = 0;
        for (auto&& next : as_completed(std::move(coroutines))) sum += *co_await std::move(next);
        EXPECT_EQ(sum, 9);
        for (auto&& next : as_completed(std::vector<Task<int>>())) co_await std::move(next);
    });
}

TEST(AsCompleted, TimesOutWithoutCancelling) {  // B-25
    run_virtual([]() -> Coroutine<> {
        std::vector<Task<int>> tasks{create_task(give(1, 1)), create_task(give(2, 5))};
        auto it = as_completed(tasks, {.timeout = 2s});
        EXPECT_EQ((co_await it.next())->result(), 1);
        auto late = co_await as_result(it.next());
        EXPECT_TRUE(late.holds<TimeoutError>());
        EXPECT_EQ(co_await tasks[1], 2);
    });
}

TEST(AsCompleted, CancelledNextLosesNothing) {
    run_virtual([]() -> Coroutine<> {
        std::vector<Task<int>> tasks{create_task(give(1, 2))};
        auto it = as_completed(tasks);
        auto next = create_task(it.next());
        co_await sleep(1s);
        next.cancel();
        EXPECT_TRUE((co_await as_result(next)).holds<CancelledError>());
    });
}

}  // namespace
