// tasks/gather.hpp: parity rows T-15, T-16, S-30, S-33, S-66, EG-05, B-13 to B-17.
// ctest: optimised
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <array>
#include <list>
#include <memory>
#include <string>
#include <tuple>
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
Coroutine<> nothing() { co_return; }
Coroutine<int> fail(std::string text, Duration after = {}) {
    if (after > Duration()) co_await sleep(after);
    throw ValueError(text);
    co_return 0;
}
// Ends normally, once cancelled.
Coroutine<int> stubborn(int value) {
    (void)co_await as_result(sleep(1h));
    co_return value;
}

TEST(Gather, GivesATupleInOrder) {  // T-15
    run_virtual([]() -> Coroutine<> {
        const TimePoint begin = get_running_loop().time();
        const auto [a, b, c] =
            co_await gather(give(1, 3s), sleep(1s, std::string("two")), nothing());
        EXPECT_EQ(a, 1);
        EXPECT_EQ(b, "two");
        static_assert(std::is_same_v<decltype(c), const std::monostate>);
        EXPECT_EQ(get_running_loop().time() - begin, 3s) << "at once, not one after another";
    });
}

TEST(Gather, GivesAVectorForARange) {
    run_virtual([]() -> Coroutine<> {
        std::vector<Coroutine<int>> coroutines;
        for (int i = 0; i < 4; ++i) coroutines.push_back(give(i, Duration(4 - i)));
        const auto in_order = co_await gather(std::move(coroutines));
        EXPECT_EQ(in_order, (std::vector<int>{0, 1, 2, 3}));
        std::list<Task<int>> tasks;
        for (int i = 0; i < 3; ++i) tasks.push_back(create_task(give(i)));
        const auto of_tasks = co_await gather(tasks);
        EXPECT_EQ(of_tasks, (std::vector<int>{0, 1, 2}));
        EXPECT_EQ(tasks.front().result(), 0) << "a range of handles is only read";
        const std::vector<Future<int>> futures(tasks.begin(), tasks.end());
        EXPECT_EQ(co_await gather(futures), of_tasks);
        std::vector<Coroutine<>> voids;
        voids.push_back(nothing());
        EXPECT_EQ((co_await gather(voids)).size(), 1u);
        std::vector<Coroutine<bool>> bools;
        bools.push_back([]() -> Coroutine<bool> { co_return true; }());
        const std::vector<bool> results = co_await gather(std::move(bools));
        EXPECT_EQ(results, std::vector<bool>(1, true));
    });
}

TEST(Gather, OfNothingIsDoneAtOnce) {  // T-15, S-30
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        const auto none = gather();
        EXPECT_TRUE(none.done());
        static_assert(std::is_same_v<decltype(none), const Future<std::tuple<>>>);
        co_await none;
        EXPECT_EQ(co_await gather(std::vector<Task<int>>()), std::vector<int>());
        EXPECT_EQ(iterations.count(), 0);
    });
    const auto loop = VirtualTimeEventLoop::create();
    set_event_loop(loop.get());
    EXPECT_EQ(&gather().get_loop(), loop.get());
    set_event_loop(nullptr);
}

TEST(Gather, TakesThreeIterationsForTrivialCoroutines) {  // S-33
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        co_await gather(give(1), give(2));
        EXPECT_EQ(iterations.passed(), 3);
        const Future<int> f;
        f.set_result(1);
        const auto t = create_task(give(2));
        co_await t;
        iterations.passed();
        const auto g = gather(f, t);
        EXPECT_TRUE(g.done()) << "T-15: all are done already";
        co_await g;
        EXPECT_EQ(iterations.passed(), 0) << "S-30";
        const auto mixed = gather(f, give(3));
        EXPECT_FALSE(mixed.done());
        EXPECT_EQ(co_await mixed, (std::tuple(1, 3)));
    });
}

TEST(Gather, MakesItsTasksInOrderAtTheCall) {  // T-15
    run_virtual([]() -> Coroutine<> {
        Lines log;
        const auto say = [&](std::string text) -> Coroutine<> {
            log.push_back(text);
            co_return;
        };
        auto g = gather(say("a"), say("b"));
        get_running_loop().call_soon([&] { log.push_back("after"); });
        EXPECT_EQ(all_tasks().size(), 3u);
        EXPECT_EQ(log, Lines{});
        co_await g;
        EXPECT_EQ(log, (Lines{"a", "b", "after"}));
    });
}

TEST(Gather, OfTheSameObjectTwiceRunsItOnce) {  // B-13
    run_virtual([]() -> Coroutine<> {
        int runs = 0;
        const auto count = [&]() -> Coroutine<int> { co_return ++runs; };
        auto c = count();
        const auto [a, b, other] = co_await gather(c, c, count());
        EXPECT_EQ(a, 1);
        EXPECT_EQ(b, 1);
        EXPECT_EQ(other, 2);
        const auto t = create_task(count());
        EXPECT_EQ(co_await gather(t, t, t), (std::tuple(3, 3, 3)));
        const std::vector<Task<int>> twice{t, t};
        const auto both = co_await gather(twice);
        EXPECT_EQ(both, (std::vector<int>{3, 3}));
    });
}

TEST(Gather, ACallableTwiceRunsTwice) {
    run_virtual([]() -> Coroutine<> {
        int runs = 0;
        const auto count = [&]() -> Coroutine<int> { co_return ++runs; };
        EXPECT_EQ(co_await gather(count, count), (std::tuple(1, 2)));
    });
}

TEST(Gather, GivesTheFirstErrorAndLeavesTheOthersRunning) {  // S-66, B-14
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TimePoint begin = loop.time();
        const auto slow = create_task(give(1, 5s));
        const auto r = co_await as_result(gather(slow, fail("first", 1s), fail("second", 2s)));
        EXPECT_EQ(error_text<ValueError>(r), "first");
        EXPECT_EQ(loop.time() - begin, 1s);
        EXPECT_EQ(co_await slow, 1);
        EXPECT_EQ(slow.cancelling(), 0u);
    });
    EXPECT_EQ(errors.lines(), Lines{}) << "B-14: the second one is silenced";
}

TEST(Gather, FirstInTheOrderOfCompletionNotOfArguments) {  // S-66
    run_virtual([]() -> Coroutine<> {
        const auto r = co_await as_result(gather(fail("late", 2s), fail("early", 1s)));
        EXPECT_EQ(error_text<ValueError>(r), "early");
        co_await sleep(5s);
    });
}

TEST(Gather, ThatNobodyAwaitsReportsItsException) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        (void)gather(fail("unseen"), give(1));
        co_await sleep(1s);
    });
    EXPECT_EQ(errors.lines(),
              (Lines{"_GatheringFuture exception was never retrieved: ValueError('unseen')"}));
}

TEST(Gather, ACancelledChildIsAnErrorNotACancel) {  // B-15
    run_virtual([]() -> Coroutine<> {
        const auto child = create_task(give(1, 1h));
        const auto other = create_task(give(2, 1s));
        const auto g = gather(child, other);
        co_await sleep(0s);
        child.cancel("child");
        const auto r = co_await as_result(g);
        EXPECT_EQ(error_text<CancelledError>(r), "child");
        EXPECT_FALSE(g.cancelled());
        EXPECT_TRUE(g.done());
        EXPECT_EQ(co_await other, 2);
    });
}

// ---- exceptions as results ---------------------------------------------------------------------

TEST(Gather, WithReturnExceptionsGivesResults) {  // T-15
    run_virtual([]() -> Coroutine<> {
        const auto cancelled = create_task(give(1, 1h));
        cancelled.cancel("m");
        const auto [a, b, c, d] =
            co_await gather(return_exceptions, give(1), fail("x", 1s), cancelled, nothing());
        EXPECT_EQ(a.value(), 1);
        EXPECT_EQ(error_text<ValueError>(b), "x");
        EXPECT_TRUE(c.holds<CancelledError>());
        EXPECT_TRUE(d.has_value());
        std::vector<Coroutine<int>> range;
        range.push_back(give(5));
        range.push_back(fail("y"));
        const auto results = co_await gather(return_exceptions, std::move(range));
        EXPECT_EQ(results.at(0).value(), 5);
        EXPECT_EQ(error_text<ValueError>(results.at(1)), "y");
        EXPECT_TRUE((co_await gather(return_exceptions, std::vector<Task<int>>())).empty());
    });
}

TEST(Gather, OfFuturesThatAreDoneAlready) {
    run_virtual([]() -> Coroutine<> {
        const Future<int> value;
        const Future<int> error;
        const Future<int> cancelled;
        value.set_result(1);
        error.set_exception(ValueError("e"));
        cancelled.cancel("c");
        const auto g = gather(return_exceptions, value, error, cancelled);
        EXPECT_TRUE(g.done());
        const auto [a, b, c] = g.result();
        EXPECT_EQ(a.value(), 1);
        EXPECT_EQ(error_text<ValueError>(b), "e");
        EXPECT_EQ(error_text<CancelledError>(c), "c");
        const auto failed = gather(value, error);
        EXPECT_TRUE(failed.done());
        EXPECT_EQ(error_text<ValueError>(co_await as_result(failed)), "e");
    });
}

// ---- cancelling --------------------------------------------------------------------------------

TEST(Gather, CancelReachesAllAndWaitsForThem) {  // T-16
    run_virtual([]() -> Coroutine<> {
        const auto quick = create_task(give(1, 1h));
        const auto slow = create_task([]() -> Coroutine<int> {
            (void)co_await as_result(sleep(1h));
            co_await sleep(5s);
            throw CancelledError("slowly");
            co_return 0;
        });
        const auto g = gather(return_exceptions, quick, slow);
        co_await sleep(1s);
        const TimePoint begin = get_running_loop().time();
        EXPECT_TRUE(g.cancel("stop"));
        EXPECT_FALSE(g.done());
        const auto r = co_await as_result(g);
        EXPECT_EQ(get_running_loop().time() - begin, 5s);
        EXPECT_TRUE(r.holds<CancelledError>()) << "B-16: in spite of return_exceptions";
        EXPECT_FALSE(g.cancelled()) << "it is set as an exception";
        EXPECT_TRUE(quick.cancelled());
        EXPECT_EQ(quick.cancelling(), 1u);
        EXPECT_FALSE(g.cancel()) << "done";
    });
}

TEST(GatherCancel, WithoutReturnExceptionsEndsWithTheFirstChild) {  // T-16
    run_virtual([]() -> Coroutine<> {
        const auto quick = create_task(give(1, 1h));
        const auto stays = create_task(stubborn(2));
        const auto g = gather(quick, stays);
        co_await sleep(1s);
        EXPECT_TRUE(g.cancel("stop"));
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(g)), "stop");
        EXPECT_EQ(co_await stays, 2);
    });
}

TEST(GatherCancel, ChildrenThatSwallowItDoNotSaveIt) {  // B-16
    run_virtual([]() -> Coroutine<> {
        const auto g = gather(stubborn(1), stubborn(2));
        co_await sleep(1s);
        EXPECT_TRUE(g.cancel());
        EXPECT_TRUE((co_await as_result(g)).holds<CancelledError>());
    });
}

TEST(GatherCancel, WithReturnExceptionsLeavesNoErrorToBeReported) {  // T-16
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        const auto fails = []() -> Coroutine<> {
            (void)co_await as_result(sleep(1h));
            throw ValueError("instead of a CancelledError");
        };
        const auto t = create_task([&]() -> Coroutine<> {
            const auto inner = gather(fails);
            co_await gather(return_exceptions, fails, inner, sleep(1h));
        });
        co_await sleep(1s);
        t.cancel();
        EXPECT_TRUE((co_await as_result(t)).holds<CancelledError>());
    });
    EXPECT_EQ(errors.lines(), Lines());
}

TEST(GatherCancel, AfterAnExceptionWasDeliveredDoesNothing) {  // B-17
    run_virtual([]() -> Coroutine<> {
        const auto slow = create_task(give(1, 5s));
        const auto g = gather(fail("x"), slow);
        (void)co_await as_result(g);
        EXPECT_FALSE(g.cancel());
        EXPECT_EQ(co_await slow, 1);
    });
}

TEST(GatherCancel, OfTheTaskThatAwaitsIt) {  // S-41
    run_virtual([]() -> Coroutine<> {
        const auto child = create_task(give(1, 1h));
        const auto t = create_task([&]() -> Coroutine<> { co_await gather(child, give(2, 1h)); });
        co_await sleep(1s);
        EXPECT_TRUE(t.cancel("outer"));
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "outer");
        EXPECT_TRUE(t.cancelled());
        EXPECT_TRUE(child.cancelled());
    });
}

TEST(GatherCancel, BeforeTheAwaitAndInTheIterationInWhichItEnds) {  // S-44, S-45
    run_virtual([]() -> Coroutine<> {
        const auto before = create_task([]() -> Coroutine<> {
            current_task().cancel("before");
            co_await gather(give(1, 1h));
        });
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(before)), "before");
        const Future<int> f;
        const auto g = gather(f);
        const auto t = create_task([&]() -> Coroutine<> { co_await g; });
        co_await sleep(0s);
        f.set_result(1);
        co_await sleep(0s);  // the gather is done, its awaiter not yet resumed
        EXPECT_TRUE(g.done());
        EXPECT_FALSE(t.done());
        t.cancel("late");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "late");
        EXPECT_EQ(std::get<0>(g.result()), 1) << "the result is still there";
    });
}

TEST(GatherCancel, OfDoneChildrenThatItHasNotHeardOfYet) {
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        const auto g = gather(f);
        f.set_result(1);
        EXPECT_FALSE(g.cancel()) << "no child accepts it";
        EXPECT_EQ(std::get<0>(co_await g), 1);
    });
}

// ---- bounds ------------------------------------------------------------------------------------

TEST(Gather, RefusesFuturesOfDifferentLoops) {  // T-15
    const auto a = VirtualTimeEventLoop::create();
    const auto b = VirtualTimeEventLoop::create();
    const auto f = a->create_future<int>();
    const auto g = b->create_future<int>();
    EXPECT_EQ(raised<ValueError>([&] { (void)gather(f, g); }),
              "The future belongs to a different loop than the one specified as the loop argument");
    f.set_result(1);
    g.set_result(2);
}

TEST(Gather, OfAnEmptyHandleIsRefused) {
    run_virtual([]() -> Coroutine<> {
        EXPECT_THROW((void)gather(Task<int>()), RuntimeError);
        EXPECT_THROW((void)gather(std::vector<Task<int>>(1)), RuntimeError);
        co_return;
    });
}

TEST(Gather, MoveOnlyResultsAreMoved) {
    run_virtual([]() -> Coroutine<> {
        const auto make = [](int v) -> Coroutine<std::unique_ptr<int>> {
            co_return std::make_unique<int>(v);
        };
        auto [a, b] = co_await gather(make(1), make(2));
        EXPECT_EQ(*a + *b, 3);
        std::vector<Coroutine<std::unique_ptr<int>>> range;
        range.push_back(make(5));
        const auto values = co_await gather(std::move(range));
        EXPECT_EQ(*values.at(0), 5);
        const auto t = create_task(make(6));
        auto g = gather(t);
        const auto [moved] = co_await std::move(g);
        EXPECT_EQ(*moved, 6);
    });
}

TEST(Gather, ResultsThatThrowWhenCopiedAreItsError) {
    struct Throws {
        Throws() = default;
        Throws(const Throws&) { throw RuntimeError("copied"); }
        Throws(Throws&&) = default;
    };
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task([]() -> Coroutine<Throws> { co_return Throws(); });
        EXPECT_EQ(error_text<RuntimeError>(co_await as_result(AnyFuture(gather(t)))), "copied")
            << "t shares the result, so it is copied";
    });
}

TEST(Gather, MayBeSetOrFailedByHand) {  // a gather is a Future
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        const Future<std::tuple<int>> g = gather(f);
        g.set_result(std::tuple(7));
        EXPECT_EQ(std::get<0>(co_await g), 7);
        const Future<std::tuple<int>> failed = gather(f);
        failed.set_exception(ValueError("by hand"));
        EXPECT_TRUE((co_await as_result(failed)).holds<ValueError>());
        f.set_result(1);
        co_await sleep(0s);
        EXPECT_EQ(std::get<0>(g.result()), 7);
    });
}

TEST(Gather, OfPendingFuturesThatIsDroppedLeavesThemAlone) {
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        const auto watched = std::make_shared<int>(1);
        for (int i = 0; i < 3; ++i) {
            auto g = gather(f, f);
            g.add_done_callback([watched] {});
        }
        EXPECT_EQ(watched.use_count(), 1);
        EXPECT_EQ(repr(f), "<Future pending>") << "nothing is left in its list";
        co_return;
    });
}

TEST(Gather, OfTasksLivesUntilTheyHaveEnded) {
    run_virtual([]() -> Coroutine<> {
        int calls = 0;
        gather(give(1, 1s), give(2, 2s)).add_done_callback([&] { ++calls; });
        co_await sleep(3s);
        EXPECT_EQ(calls, 1);
    });
}

TEST(Gather, ItsOwnTasksAreNotReportedAsDestroyed) {  // T-36
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        (void)gather(give(1, 1h), give(2, 1h));
        std::vector<Coroutine<int>> range;
        range.push_back(give(3, 1h));
        (void)gather(std::move(range));
        create_task(give(4, 1h));
        co_await sleep(1s);
    });
    loop->close();
    EXPECT_EQ(errors.lines(), (Lines{"Task was destroyed but it is pending!"})) << "create_task's";
}

TEST(Gather, OfEagerTasksIsDoneOnReturn) {  // EG-05
    const auto loop = VirtualTimeEventLoop::create();
    loop->set_task_factory(&eager_task_factory);
    loop->run_until_complete([]() -> Coroutine<> {
        const auto g = gather(give(1), give(2));
        EXPECT_TRUE(g.done());
        EXPECT_EQ(co_await g, (std::tuple(1, 2)));
    });
}

TEST(Gather, OfGathersCancelsAllTheWayDown) {
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(give(1, 1h));
        const auto g = gather(gather(t, give(2, 1h)), give(3, 1h));
        co_await sleep(1s);
        EXPECT_TRUE(g.cancel("deep"));
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(g)), "deep");
        EXPECT_TRUE(t.cancelled());
    });
}

TEST(Gather, WithoutMemoryNothingBegins) {  // L25
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    int refused = 0;
    const auto sweep = [&](auto call) {
        bool enough = false;
        std::ptrdiff_t given = -1;
        while (!enough) {
            ++given;
            run_virtual([&]() -> Coroutine<> {
                int ran = 0;
                const auto one = [&ran]() -> Coroutine<> {
                    ++ran;
                    co_return;
                };
                std::vector<Coroutine<>> many;
                for (int i = 0; i < 3; ++i) many.push_back(one());
                bool all = true;
                support::blocks_left = given;
                try {
                    call(many);
                } catch (const std::bad_alloc&) {
                    all = false;
                    ++refused;
                }
                enough = support::blocks_left.exchange(-1) >= 0;
                for (auto& c : many) {
                    if (c) c.close();
                }
                co_await sleep(1s);
                EXPECT_EQ(ran, all ? 3 : 0) << given;
            });
        }
    };
    sweep([](auto& many) {
        static_cast<void>(gather(std::move(many[0]), std::move(many[1]), std::move(many[2])));
    });
    sweep([](auto& many) { static_cast<void>(gather(std::move(many))); });
    sweep([](auto& many) { static_cast<void>(as_completed(std::move(many))); });
    EXPECT_GE(refused, 9);
}

}  // namespace
