// tasks/task.hpp: parity rows T-01 to T-14, T-29 to T-38, S-15 to S-26, S-32, S-40 to S-53, S-60 to
// S-62, EG-01 to EG-04, B-10 to B-12, B-32 to B-38, X-01, X-04, X-13.
#include <asyncio/futures.hpp>
#include <asyncio/runners.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>

#include <gtest/gtest.h>

#include <memory>
#include <sstream>
#include <string>
#include <unordered_set>

#include "counted_new.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::error_text;
using support::ErrorCapture;
using support::Iterations;
using support::Lines;
using support::LogCapture;
using support::masked;
using support::raised;
using support::run_virtual;

Coroutine<int> give(int value) { co_return value; }
Coroutine<> nothing() { co_return; }
Coroutine<> fail(std::string text) {
    throw ValueError(text);
    co_return;
}
Coroutine<> wait_for_ever() { co_await Future<>(); }

// ---- making them -------------------------------------------------------------------------------

TEST(CreateTask, RunsTheCoroutineAndKeepsItsResult) {  // T-01, T-06
    run_virtual([]() -> Coroutine<> {
        const Task<int> t = create_task(give(3));
        EXPECT_FALSE(t.done());
        EXPECT_EQ(co_await t, 3);
        EXPECT_TRUE(t.done());
        EXPECT_FALSE(t.cancelled());
        EXPECT_EQ(t.result(), 3);
        EXPECT_EQ(t.exception(), nullptr);
    });
}

TEST(CreateTask, WithoutARunningLoopIsAnError) {  // T-01
    const LogCapture log;
    EXPECT_EQ(raised<RuntimeError>([] { create_task(nothing()); }), "no running event loop");
    EXPECT_EQ(log.lines().size(), 1u) << "the coroutine was never awaited";
}

TEST(CreateTask, OnALoopThatDoesNotRunYet) {  // EF-02
    const auto loop = VirtualTimeEventLoop::create();
    const auto t = loop->create_task(give(1));
    EXPECT_EQ(&t.get_loop(), loop.get());
    EXPECT_EQ(loop->run_until_complete(t), 1);
}

TEST(CreateTask, OnAClosedLoopIsAnError) {  // EF-02
    const LogCapture log;
    const auto loop = VirtualTimeEventLoop::create();
    loop->close();
    EXPECT_EQ(raised<RuntimeError>([&] { loop->create_task(nothing()); }), "Event loop is closed");
    EXPECT_EQ(log.lines().size(), 1u) << "the coroutine was never awaited";
}

TEST(CreateTask, TakesEverythingThatCanBeAwaited) {
    run_virtual([]() -> Coroutine<> {
        const auto f = get_running_loop().create_future<int>();
        f.set_result(1);
        EXPECT_EQ(co_await create_task(f), 1);
        const auto inner = create_task(give(2));
        EXPECT_EQ(co_await create_task(inner), 2);
        EXPECT_EQ(co_await create_task([]() -> Coroutine<int> { co_return 3; }), 3);
        EXPECT_EQ(co_await create_task([&] { return give(4); }), 4);
        co_await create_task(sleep(1s));
        EXPECT_EQ(co_await create_task(sleep(1s, 5)), 5);
        const auto r = co_await create_task(as_result(fail("x")));
        EXPECT_TRUE(r.holds<ValueError>());
    });
}

TEST(CreateTask, KeepsACallableAndWhatItCapturedUntilItIsDone) {
    const auto value = std::make_shared<int>(7);
    run_virtual([&]() -> Coroutine<> {
        auto body = [value]() -> Coroutine<int> {
            co_await sleep(1s);
            co_return *value;
        };
        const auto t = create_task(callable(std::move(body)));
        EXPECT_GE(value.use_count(), 2);
        EXPECT_EQ(co_await t, 7);
    });
    EXPECT_EQ(value.use_count(), 1);
}

TEST(CreateTask, AnAwaitedOrMovedCoroutineCannotBeUsedAgain) {
    run_virtual([]() -> Coroutine<> {
        Coroutine<int> c = give(1);
        EXPECT_EQ(co_await c, 1);
        EXPECT_EQ(raised<RuntimeError>([&] { create_task(c); }),
                  "cannot reuse already awaited coroutine");
    });
}

TEST(CreateTask, FirstStepRunsInTheNextIterationAmongOtherCallbacks) {  // S-15, X-04
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Lines log;
        Iterations iterations(loop);
        const auto at = [&](const char* what) {
            log.push_back(what + std::to_string(iterations.count()));
        };
        loop.call_soon([&] { at("a"); });
        const auto t = create_task([&]() -> Coroutine<> {
            at("T");
            co_return;
        });
        loop.call_soon([&] { at("b"); });
        EXPECT_EQ(log, Lines{});
        co_await t;
        at("main");
        EXPECT_EQ(log, (Lines{"a1", "T1", "b1", "main2"}));
    });
}

TEST(Iterations, OfCallbacksThatQueueCallbacks) {  // X-01, S-04, B-03
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Lines log;
        loop.call_soon([&] {
            log.push_back("cb1");
            loop.call_soon([&] { log.push_back("child"); });
        });
        loop.call_soon([&] { log.push_back("cb2"); });
        co_await sleep(0s);
        log.push_back("main");
        co_await sleep(0s);
        log.push_back("main");
        EXPECT_EQ(log, (Lines{"cb1", "cb2", "main", "child", "main"}));
    });
}

TEST(CreateTask, AwaitOfATrivialOneTakesTwoIterations) {  // S-32, S-21
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        co_await create_task(nothing());
        EXPECT_EQ(iterations.passed(), 2);
        const auto t = create_task(nothing());
        co_await sleep(0s);
        EXPECT_TRUE(t.done());
        iterations.passed();
        co_await t;
        EXPECT_EQ(iterations.passed(), 0) << "S-18, S-30: done ones do not suspend";
        co_await give(1);
        EXPECT_EQ(iterations.passed(), 0) << "AG-01: nor do coroutines";
    });
}

TEST(CreateTask, MoveOnlyUndefaultableAndReferenceResults) {
    struct NoDefault {
        explicit NoDefault(int v) : value(v) {}
        NoDefault(NoDefault&&) = default;
        int value;
    };
    static int global = 0;
    run_virtual([]() -> Coroutine<> {
        auto a = create_task(
            []() -> Coroutine<std::unique_ptr<int>> { co_return std::make_unique<int>(1); });
        EXPECT_EQ(*co_await a, 1);
        const std::unique_ptr<int> moved = co_await std::move(a);
        EXPECT_EQ(*moved, 1);
        const auto b = create_task([]() -> Coroutine<NoDefault> { co_return NoDefault(2); });
        EXPECT_EQ((co_await b).value, 2);
        const auto c = create_task([]() -> Coroutine<int&> { co_return global; });
        EXPECT_EQ(&(co_await c), &global);
    });
}

TEST(CreateTask, AResultWhoseMoveThrowsIsAnError) {
    struct ThrowsOnSecondMove {
        ThrowsOnSecondMove() = default;
        ThrowsOnSecondMove(ThrowsOnSecondMove&& o) : moves(o.moves + 1) {
            if (moves == 2) throw RuntimeError("move");
        }
        int moves = 0;
    };
    run_virtual([]() -> Coroutine<> {
        const auto t =
            create_task([]() -> Coroutine<ThrowsOnSecondMove> { co_return ThrowsOnSecondMove(); });
        EXPECT_EQ(error_text<RuntimeError>(co_await as_result(AnyTask(t))), "move");
    });
}

// ---- names -------------------------------------------------------------------------------------

TEST(TaskName, ComesFromOneCounterAndAGivenOneTakesNoNumber) {  // T-02, T-08, B-12
    run_virtual([]() -> Coroutine<> {
        const auto number = [](const Task<>& t) { return std::stoi(t.get_name().substr(5)); };
        const auto a = create_task(nothing());
        const auto named = create_task(nothing(), {.name = "mine"});
        const auto b = create_task(nothing());
        EXPECT_EQ(a.get_name().substr(0, 5), "Task-");
        EXPECT_EQ(number(b), number(a) + 1);
        EXPECT_EQ(named.get_name(), "mine");
        a.set_name("other");
        EXPECT_EQ(a.get_name(), "other");
        EXPECT_EQ(AnyTask(a).get_name(), "other");
        co_await a;
        co_await b;
        co_await named;
        EXPECT_EQ(a.get_name(), "other") << "kept when done";
    });
}

TEST(TaskName, IsCopiedBeforeTheCallReturns) {
    run_virtual([]() -> Coroutine<> {
        std::string name = "short-lived";
        const auto t = create_task(nothing(), {.name = name});
        name = "overwritten";
        EXPECT_EQ(t.get_name(), "short-lived");
        co_await t;
    });
}

// ---- who runs ----------------------------------------------------------------------------------

TEST(CurrentTask, IsTheOneWhoseStepRuns) {  // T-29, S-12
    EXPECT_EQ(raised<RuntimeError>([] { current_task(); }), "no running event loop");
    run_virtual([]() -> Coroutine<> {
        const AnyTask main = current_task();
        EXPECT_TRUE(main);
        EXPECT_EQ(current_task(get_running_loop()), main);
        AnyTask seen;
        const auto t = create_task([&]() -> Coroutine<> {
            seen = current_task();
            co_return;
        });
        co_await t;
        EXPECT_EQ(seen, t);
        EXPECT_EQ(current_task(), main);
        bool in_callback = true;
        get_running_loop().call_soon([&] { in_callback = static_cast<bool>(current_task()); });
        co_await sleep(0s);
        EXPECT_FALSE(in_callback);
        const auto other = VirtualTimeEventLoop::create();
        EXPECT_FALSE(current_task(*other));
    });
}

TEST(AllTasks, AreThoseThatAreNotDoneInTheOrderOfMaking) {  // T-30
    EXPECT_EQ(raised<RuntimeError>([] { all_tasks(); }), "no running event loop");
    run_virtual([]() -> Coroutine<> {
        const auto a = create_task(sleep(1s));
        const auto b = create_task(nothing());
        const auto c = create_task(sleep(1s));
        EXPECT_EQ(all_tasks(), (std::vector<AnyTask>{current_task(), a, b, c}));
        co_await b;
        EXPECT_EQ(all_tasks(), (std::vector<AnyTask>{current_task(), a, c}));
        a.cancel();
        EXPECT_EQ(all_tasks().size(), 3u) << "a cancelled one is there until it has ended";
        co_await c;
        EXPECT_EQ(all_tasks(), (std::vector<AnyTask>{current_task()}));
    });
}

TEST(AllTasks, KeepsOnesThatNobodyElseHolds) {  // T-37: unlike CPython's they are never lost
    run_virtual([]() -> Coroutine<> {
        bool ran = false;
        create_task([&]() -> Coroutine<> {
            co_await sleep(1s);
            ran = true;
        });
        co_await sleep(2s);
        EXPECT_TRUE(ran);
    });
}

TEST(AsTask, FindsTheTaskBehindAFuture) {
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(give(1));
        const Future<int> f = t;
        EXPECT_EQ(as_task(f), t);
        EXPECT_FALSE(as_task(Future<int>()));
        EXPECT_FALSE(as_task(AnyFuture()));
        EXPECT_EQ(co_await f, 1);
    });
}

TEST(TaskHandle, EmptyOnesSaySo) {
    const Task<int> empty;
    EXPECT_FALSE(empty);
    const std::string text = "this handle is empty: it refers to no object";
    EXPECT_EQ(raised<RuntimeError>([&] { (void)empty.get_name(); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { (void)empty.cancelling(); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { empty.cancel(); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { (void)AnyTask().get_stack(); }), text);
}

template <class F>
concept Settable =
    requires(F f) { f.set_result(1); } || requires(F f) { f.set_exception(nullptr); };
static_assert(Settable<Future<int>> && !Settable<Task<int>> && !Settable<AnyFuture>);

TEST(TaskHandle, RefusesToBeSet) {  // T-12
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(give(1));
        const Future<int> f = t;
        EXPECT_EQ(raised<RuntimeError>([&] { f.set_result(2); }),
                  "Task does not support set_result operation");
        EXPECT_EQ(raised<RuntimeError>([&] { f.set_exception(ValueError("x")); }),
                  "Task does not support set_exception operation");
        EXPECT_EQ(co_await f, 1);
    });
}

TEST(TaskHandle, CallbacksGetTheHandleTheyWereAddedTo) {  // T-07
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(give(4));
        int seen = 0;
        t.add_done_callback([&](Task<int> done) { seen += done.result(); });
        t.add_done_callback([&](Future<int> done) { seen += done.result(); });
        AnyTask(t).add_done_callback([&](AnyTask done) { seen += done.result<int>(); });
        const CallbackId id = AnyFuture(t).add_done_callback([&](AnyFuture) { seen += 1000; });
        EXPECT_EQ(t.remove_done_callback(id), 1u);
        co_await t;
        EXPECT_EQ(seen, 12);
    });
}

TEST(EnsureFuture, GivesFuturesBackAndWrapsTheRest) {  // T-31
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        EXPECT_EQ(ensure_future(f), f);
        const auto t = create_task(give(1));
        EXPECT_EQ(ensure_future(t), t);
        EXPECT_EQ(ensure_future(t, &get_running_loop()), t);
        const Future<int> wrapped = ensure_future(give(2));
        EXPECT_TRUE(as_task(wrapped));
        EXPECT_EQ(co_await wrapped, 2);
        co_await t;
        const auto other = VirtualTimeEventLoop::create();
        EXPECT_EQ(raised<ValueError>([&] { ensure_future(f, other.get()); }),
                  "The future belongs to a different loop than the one specified as the loop "
                  "argument");
    });
}

TEST(EnsureFuture, WithoutARunningLoopUsesTheCurrentOne) {  // T-31
    const auto loop = VirtualTimeEventLoop::create();
    set_event_loop(loop.get());
    const auto f = ensure_future(give(2));
    EXPECT_EQ(loop->run_until_complete(f), 2);
    const auto other = VirtualTimeEventLoop::create();
    const auto g = ensure_future(give(3), other.get());
    EXPECT_EQ(other->run_until_complete(g), 3);
    set_event_loop(nullptr);
}

// ---- bad awaits --------------------------------------------------------------------------------

TEST(Task, CannotAwaitItself) {  // T-34, S-25
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        AnyTask self;
        const auto t = create_task([&]() -> Coroutine<int> {
            iterations.passed();
            const auto r = co_await as_result(self);
            EXPECT_EQ(iterations.passed(), 1);
            const std::string text = masked(error_text<RuntimeError>(r));
            EXPECT_EQ(text.find("Task cannot await on itself: <Task pending name='Task-"), 0u)
                << text;
            co_return 1;
        });
        self = t;
        EXPECT_EQ(co_await t, 1);
    });
}

TEST(Task, ThatAwaitsItselfCanBeCancelled) {
    run_virtual([]() -> Coroutine<> {
        AnyTask self;
        const auto t = create_task([&]() -> Coroutine<> { co_await self; });
        self = t;
        co_await sleep(0s);
        t.cancel();
        EXPECT_TRUE((co_await as_result(t)).holds<CancelledError>());
    });
}

// ---- sleep -------------------------------------------------------------------------------------

TEST(Sleep, OfNothingOrLessTakesExactlyOneIteration) {  // T-14, S-19, S-31, B-11
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Iterations iterations(loop);
        co_await sleep(0s);
        EXPECT_EQ(iterations.passed(), 1);
        co_await sleep(-1s);
        EXPECT_EQ(iterations.passed(), 1);
        bool fired = false;
        const auto timer = loop.call_later(0s, [&] { fired = true; });
        co_await sleep(0s);
        EXPECT_EQ(iterations.passed(), 1) << "with timers due as well (B-11)";
        EXPECT_FALSE(fired) << "the timer joins behind what is queued";
        timer.cancel();
    });
}

TEST(Sleep, GivesItsResult) {  // T-14
    run_virtual([]() -> Coroutine<> {
        EXPECT_EQ(co_await sleep(1s, 5), 5);
        EXPECT_EQ(co_await sleep(0s, std::string("text")), "text");
        EXPECT_EQ(*co_await sleep(1ms, std::make_unique<int>(3)), 3);
        static_assert(std::is_void_v<detail::AwaitValue<detail::Sleep>>);
    });
}

TEST(Sleep, TakesItsTime) {
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TimePoint begin = loop.time();
        co_await sleep(1500ms);
        EXPECT_EQ(loop.time() - begin, 1500ms);
        co_await sleep(0.25s);
        EXPECT_EQ(loop.time() - begin, 1750ms);
        co_await sleep(1ns);
        EXPECT_EQ(loop.time() - begin, 1750ms + 1ns);
    });
}

TEST(Sleep, SleepersWakeInTheOrderOfTheirDeadlinesEqualOnesInTheOrderOfTheCalls) {  // S-07
    run_virtual([]() -> Coroutine<> {
        Lines log;
        const auto sleeper = [&](Duration d, std::string name) -> Coroutine<> {
            co_await sleep(d);
            log.push_back(name);
        };
        std::vector<Task<>> all;
        all.push_back(create_task(sleeper(2s, "late")));
        for (int i = 0; i < 5; ++i) {
            all.push_back(create_task(sleeper(1s, std::to_string(i))));
        }
        all.push_back(create_task(sleeper(500ms, "early")));
        for (const auto& t : all) co_await t;
        EXPECT_EQ(log, (Lines{"early", "0", "1", "2", "3", "4", "late"}));
    });
}

TEST(Sleep, ResumesAnIterationAfterItsTimer) {  // S-20
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        Lines log;
        const auto t = create_task([&]() -> Coroutine<> {
            co_await sleep(1s);
            log.push_back("sleeper");
        });
        co_await sleep(0s);
        loop.call_later(1s, [&] {
            log.push_back("timer");
            loop.call_soon([&] { log.push_back("after the timer"); });
        });
        co_await t;
        EXPECT_EQ(log, (Lines{"timer", "sleeper", "after the timer"}));
    });
}

TEST(Sleep, CancelledRemovesItsTimer) {  // T-14
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const TimePoint begin = loop.time();
        const auto t = create_task(sleep(1h));
        co_await sleep(1s);
        EXPECT_TRUE(t.cancel("enough"));
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "enough");
        EXPECT_EQ(loop.time() - begin, 1s);
        co_await sleep(1s);
        EXPECT_EQ(loop.time() - begin, 2s);
    });
}

TEST(Sleep, CancelledBeforeItBegins) {  // S-45
    run_virtual([]() -> Coroutine<> {
        const auto cancelled = [](Duration d) -> Coroutine<> {
            current_task().cancel("self");
            co_await sleep(d);
        };
        for (const Duration d : {Duration(0s), Duration(1s)}) {
            Iterations iterations(get_running_loop());
            const auto r = co_await as_result(create_task(cancelled(d)));
            EXPECT_EQ(error_text<CancelledError>(r), "self");
            EXPECT_EQ(iterations.count(), 3) << "step, CancelledError, its end";
        }
    });
}

TEST(Sleep, CancelledInTheIterationInWhichItEnds) {  // S-44
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        const auto t = create_task(sleep(1s));
        co_await sleep(0s);
        loop.call_later(1s, [&] { EXPECT_TRUE(t.cancel("late")); });
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "late");
        const auto yields = create_task(sleep(0s));
        co_await sleep(0s);
        EXPECT_TRUE(yields.cancel());
        EXPECT_TRUE((co_await as_result(yields)).holds<CancelledError>());
    });
}

TEST(Sleep, WhoseTimerIsInTheReadyQueueWhenTheSleeperGoes) {
    run_virtual([]() -> Coroutine<> {
        EventLoop& loop = get_running_loop();
        std::vector<Task<>> sleepers;
        for (int i = 0; i < 3; ++i) sleepers.push_back(create_task(sleep(1s)));
        co_await sleep(0s);
        // Both due in one iteration: this callback runs first, then the sleepers' timers.
        loop.call_at(loop.time() + 500ms, [&] { loop.call_at(loop.time() + 500ms, [] {}); });
        co_await sleep(999ms);
        for (const auto& t : sleepers) t.cancel();
        for (const auto& t : sleepers) {
            EXPECT_TRUE((co_await as_result(t)).holds<CancelledError>());
        }
        co_await sleep(1s);
    });
}

TEST(Sleep, ForEverAndHugeOnes) {
    run_virtual([]() -> Coroutine<> {
        const auto for_ever = create_task(sleep(std::nullopt));
        const auto huge = create_task(sleep(std::chrono::hours(1'000'000'000)));
        const auto infinite = create_task(
            sleep(std::chrono::duration<double>(std::numeric_limits<double>::infinity())));
        co_await sleep(24h);
        EXPECT_FALSE(for_ever.done() || huge.done() || infinite.done());
        for (const auto& t : {for_ever, huge, infinite}) t.cancel();
        co_await sleep(0s);
        co_await sleep(0s);
        EXPECT_TRUE(for_ever.done() && huge.done() && infinite.done());
    });
}

TEST(Sleep, RefusesNaN) {  // T-14
    EXPECT_EQ(
        raised<ValueError>([] {
            (void)sleep(std::chrono::duration<double>(std::numeric_limits<double>::quiet_NaN()));
        }),
        "Invalid delay: NaN (not a number)");
}

// ---- cancelling --------------------------------------------------------------------------------

TEST(Cancel, BeforeTheFirstStepTheBodyIsNotEntered) {  // S-43, B-32
    run_virtual([]() -> Coroutine<> {
        struct Guard {
            explicit Guard(Lines& l) : log(&l) {}
            Guard(Guard&& o) noexcept : log(std::exchange(o.log, nullptr)) {}
            Guard& operator=(Guard&&) = delete;
            ~Guard() {
                if (log) log->push_back("parameter destroyed");
            }
            Lines* log;
        };
        Lines log;
        const auto body = [](Guard, Lines& l) -> Coroutine<> {
            l.push_back("entered");
            co_return;
        };
        Iterations iterations(get_running_loop());
        const auto t = create_task(body(Guard(log), log));
        EXPECT_TRUE(t.cancel("early"));
        EXPECT_FALSE(t.done());
        EXPECT_FALSE(t.cancelled());
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "early");
        EXPECT_EQ(iterations.count(), 2);
        EXPECT_TRUE(t.cancelled());
        EXPECT_EQ(log, (Lines{"parameter destroyed"}));
    });
}

TEST(Cancel, IsCountedAndUndone) {  // T-03 to T-05
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(wait_for_ever());
        co_await sleep(0s);
        EXPECT_EQ(t.cancelling(), 0u);
        EXPECT_EQ(t.uncancel(), 0u);
        EXPECT_TRUE(t.cancel());
        EXPECT_TRUE(t.cancel());
        EXPECT_EQ(t.cancelling(), 2u);
        EXPECT_EQ(t.uncancel(), 1u);
        co_await sleep(0s);
        EXPECT_TRUE(t.cancelled()) << "the future had been cancelled: uncancel() comes too late";
        EXPECT_EQ(t.cancelling(), 1u) << "stays as it was";
        EXPECT_FALSE(t.cancel()) << "S-50";
        EXPECT_EQ(t.cancelling(), 1u);
        EXPECT_EQ(AnyTask(t).uncancel(), 0u);
    });
}

TEST(Cancel, UndoneBeforeDeliveryIsDropped) {  // T-05, S-49, B-36
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task([]() -> Coroutine<int> {
            const AnyTask self = current_task();
            self.cancel();
            self.cancel();
            EXPECT_EQ(self.uncancel(), 1u);
            EXPECT_TRUE((co_await as_result(sleep(0s))).holds<CancelledError>()) << "S-49";
            self.uncancel();
            self.cancel();
            EXPECT_EQ(self.uncancel(), 0u);
            co_await sleep(1s);
            co_return 5;
        });
        EXPECT_EQ(co_await t, 5);
        const auto unstarted = create_task(give(6));
        unstarted.cancel();
        unstarted.uncancel();
        EXPECT_EQ(co_await unstarted, 6);
    });
}

TEST(Cancel, OfOneThatWaitsForATaskGoesDownTheChainAndUp) {  // S-41
    run_virtual([]() -> Coroutine<> {
        Lines log;
        Iterations iterations(get_running_loop());
        const void* seen[3] = {};
        const Future<> f;
        const auto innermost = create_task([&]() -> Coroutine<> {
            const auto r = co_await as_result(f);
            seen[0] = detail::find<CancelledError>(r.error());
            log.push_back("innermost " + std::to_string(iterations.passed()));
            r.value();
        });
        const auto middle = create_task([&]() -> Coroutine<> {
            const auto r = co_await as_result(innermost);
            seen[1] = detail::find<CancelledError>(r.error());
            log.push_back("middle " + std::to_string(iterations.passed()));
            r.value();
        });
        const auto outer = create_task([&]() -> Coroutine<> {
            const auto r = co_await as_result(middle);
            seen[2] = detail::find<CancelledError>(r.error());
            log.push_back("outer " + std::to_string(iterations.passed()));
            r.value();
        });
        co_await sleep(0s);
        iterations.passed();
        EXPECT_TRUE(outer.cancel("down"));
        EXPECT_TRUE(f.cancelled());
        EXPECT_EQ(outer.cancelling(), 1u);
        EXPECT_EQ(middle.cancelling(), 1u);
        EXPECT_EQ(innermost.cancelling(), 1u);
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(outer)), "down");
        EXPECT_EQ(log, (Lines{"innermost 1", "middle 1", "outer 1"}));
        EXPECT_NE(seen[0], nullptr);
        EXPECT_EQ(seen[0], seen[1]) << "B-37: the same object";
        EXPECT_EQ(seen[0], seen[2]);
    });
}

TEST(Cancel, SwallowedByTheInnerTaskDoesNotCancelTheOuterOne) {  // S-42, B-35
    run_virtual([]() -> Coroutine<> {
        const auto inner = create_task([]() -> Coroutine<int> {
            (void)co_await as_result(Future<>());
            co_return 8;
        });
        const auto outer = create_task([&]() -> Coroutine<int> { co_return co_await inner; });
        co_await sleep(0s);
        co_await sleep(0s);
        EXPECT_TRUE(outer.cancel());
        EXPECT_EQ(co_await outer, 8);
        EXPECT_FALSE(outer.cancelled());
        EXPECT_EQ(outer.cancelling(), 1u);
    });
}

TEST(Cancel, OfItselfIsDeliveredAtTheNextSuspension) {  // S-45
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task([]() -> Coroutine<std::string> {
            const Future<int> done;
            done.set_result(1);
            EXPECT_TRUE(current_task().cancel("later"));
            EXPECT_EQ(co_await done, 1) << "nothing is delivered where nothing suspends";
            EXPECT_EQ(co_await give(2), 2);
            co_return error_text<CancelledError>(co_await as_result(Future<>()));
        });
        EXPECT_EQ(co_await t, "later");
    });
}

TEST(Cancel, DueWhenTheCoroutineReturnsCancelsTheTask) {  // S-46, B-34
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task([]() -> Coroutine<int> {
            current_task().cancel("due");
            co_return 1;
        });
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "due");
        EXPECT_TRUE(t.cancelled());
        EXPECT_EQ(raised<CancelledError>([&] { (void)t.result(); }), "due") << "each time";
        const auto raises = create_task([]() -> Coroutine<int> {
            current_task().cancel();
            throw ValueError("wins");
            co_return 1;
        });
        EXPECT_EQ(error_text<ValueError>(co_await as_result(raises)), "wins");
        EXPECT_FALSE(raises.cancelled());
    });
}

TEST(Cancel, SeveralBeforeDeliveryGiveOneError) {  // S-47, S-48
    run_virtual([]() -> Coroutine<> {
        int errors = 0;
        const auto t = create_task([&]() -> Coroutine<std::string> {
            const auto r = co_await as_result(Future<>());
            errors += r.holds<CancelledError>();
            const auto again = co_await as_result(sleep(1s));
            errors += again.holds<CancelledError>();
            co_return error_text<CancelledError>(r);
        });
        co_await sleep(0s);
        t.cancel("first");
        t.cancel("second");
        EXPECT_EQ(co_await t, "first") << "that of the one that cancelled the future";
        EXPECT_EQ(errors, 1);
        EXPECT_EQ(t.cancelling(), 2u);
    });
}

TEST(Cancel, SeveralOfWhichOnlyAFlagIsSetGiveTheLastMessage) {  // S-47
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(wait_for_ever());
        t.cancel("first");
        t.cancel("second");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "second");
        const auto last_without = create_task(wait_for_ever());
        last_without.cancel("first");
        last_without.cancel();
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(last_without)), "");
    });
}

TEST(Cancel, OriginalErrorIsHandedOutOnce) {  // T-06, S-51
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(wait_for_ever());
        co_await sleep(0s);
        t.cancel("message");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "message");
        EXPECT_EQ(raised<CancelledError>([&] { t.result(); }), "");
        EXPECT_EQ(raised<CancelledError>([&] { (void)t.exception(); }), "");
    });
}

TEST(Cancel, RaisedByTheCoroutineItselfCancelsTheTask) {  // S-52, T-06, B-38
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task([]() -> Coroutine<> {
            throw CancelledError("own");
            co_return;
        });
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(t)), "own");
        EXPECT_TRUE(t.cancelled());
        EXPECT_EQ(t.cancelling(), 0u);
    });
}

class MyCancelled : public CancelledError {
  public:
    using CancelledError::CancelledError;
};

TEST(Cancel, DerivedErrorsCountAsOne) {  // S-53
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task([]() -> Coroutine<> {
            throw MyCancelled("derived");
            co_return;
        });
        EXPECT_TRUE((co_await as_result(t)).holds<MyCancelled>());
        EXPECT_TRUE(t.cancelled());
    });
}

TEST(Cancel, AfterCatchingItTheTaskGoesOn) {  // S-48: edge-triggered
    run_virtual([]() -> Coroutine<> {
        Lines log;
        const auto t = create_task([&]() -> Coroutine<int> {
            try {
                co_await sleep(1h);
            } catch (const CancelledError& e) {
                log.push_back(std::string("caught ") + e.what());
            }
            co_await sleep(1s);
            log.push_back("went on");
            co_return 4;
        });
        co_await sleep(0s);
        t.cancel("c");
        EXPECT_EQ(co_await t, 4);
        EXPECT_EQ(log, (Lines{"caught c", "went on"}));
    });
}

TEST(Cancel, RunsDestructorsOfTheSuspendedFrames) {
    run_virtual([]() -> Coroutine<> {
        Lines log;
        struct Guard {
            Lines& log;
            std::string name;
            ~Guard() { log.push_back(name); }
        };
        const auto inner = [&]() -> Coroutine<> {
            const Guard g{log, "inner"};
            co_await sleep(1h);
        };
        const auto t = create_task([&]() -> Coroutine<> {
            const Guard g{log, "outer"};
            co_await inner();
        });
        co_await sleep(1s);
        t.cancel();
        (void)co_await as_result(t);
        EXPECT_EQ(log, (Lines{"inner", "outer"}));
    });
}

// ---- circles (L20) ------------------------------------------------------------------------------

constexpr std::string_view kCircle = "Tasks await one another in a circle: ";

// What run() makes of tasks that would wait for ever: the errors that it reports at its end.
template <class F>
Lines errors_of_run(F make) {
    const LogCapture log;
    Lines errors;
    asyncio::run(
        [&]() -> Coroutine<> {
            get_running_loop().set_exception_handler(
                [&](EventLoop&, const ExceptionContext& context) {
                    errors.push_back(context.exception ? detail::describe(context.exception)
                                                       : context.message);
                });
            co_await make();
            co_await sleep(1ms);
        },
        {.loop_factory = &VirtualTimeEventLoop::create});
    return errors;
}

bool names_circle(const Lines& errors) {
    for (const std::string& e : errors) {
        if (e.find(kCircle) != std::string::npos) return true;
    }
    ADD_FAILURE() << errors.size() << " errors, none of which names a circle";
    return false;
}

TEST(Circle, ACancelRaisesAnErrorThatNamesIt) {  // L20
    run_virtual([]() -> Coroutine<> {
        Task<> a;
        Task<> b;
        a = create_task([&]() -> Coroutine<> { co_await b; }, {.name = "a"});
        b = create_task([&]() -> Coroutine<> { co_await a; }, {.name = "b"});
        co_await sleep(1s);
        EXPECT_TRUE(a.cancel());
        EXPECT_EQ(a.cancelling(), 1u);
        EXPECT_EQ(b.cancelling(), 1u);
        const auto r = co_await as_result(a);
        EXPECT_EQ(support::masked(error_text<RuntimeError>(r)),
                  "Tasks await one another in a circle: 'a' in <lambda>() at FILE:LINE -> 'b' in "
                  "<lambda>() at FILE:LINE -> 'a'");
        EXPECT_EQ(b.exception(), r.error()) << "it is raised at the await of the last one";
        EXPECT_EQ(all_tasks().size(), 1u);
    });
}

TEST(Circle, EveryLengthIsEndedByRun) {  // L20
    for (const std::size_t n : {2u, 3u, 25u, 1'000u}) {
        std::vector<Task<>> tasks(n);
        const auto next = [&](std::size_t i) -> Coroutine<> { co_await tasks[(i + 1) % n]; };
        const Lines errors = errors_of_run([&]() -> Coroutine<> {
            for (std::size_t i = 0; i < n; ++i) tasks[i] = create_task(next(i));
            co_return;
        });
        EXPECT_EQ(errors.size(), n);
        EXPECT_TRUE(names_circle(errors));
        EXPECT_LT(errors.at(0).size(), 4000u);
        tasks.clear();
    }
}

TEST(Circle, ATaskThatIsNotPartOfItGetsTheErrorToo) {  // L20
    run_virtual([]() -> Coroutine<> {
        Task<> a;
        Task<> b;
        a = create_task([&]() -> Coroutine<> { co_await b; }, {.name = "a"});
        b = create_task([&]() -> Coroutine<> { co_await a; }, {.name = "b"});
        const auto outside = create_task([&]() -> Coroutine<> { co_await a; });
        co_await sleep(1s);
        EXPECT_TRUE(outside.cancel());
        EXPECT_TRUE(outside.cancel()) << "again, before it has an effect";
        const std::string text = error_text<RuntimeError>(co_await as_result(outside));
        EXPECT_TRUE(text.ends_with("-> 'a'")) << text;
    });
}

TEST(Circle, OneWhoGetsOverTheErrorGoesOn) {  // L20
    run_virtual([]() -> Coroutine<> {
        Task<> a;
        Task<> b;
        a = create_task([&]() -> Coroutine<> { co_await b; });
        b = create_task([&]() -> Coroutine<> {
            const auto r = co_await as_result(a);
            EXPECT_TRUE(r.holds<RuntimeError>());
            co_await sleep(1s);
        });
        co_await sleep(1s);
        a.cancel();
        b.uncancel();
        EXPECT_TRUE((co_await as_result(a)).has_value());
    });
}

TEST(Circle, ACancelBetweenTheErrorAndItsDeliveryIsDueAtTheNextAwait) {  // L20
    run_virtual([]() -> Coroutine<> {
        Task<> a;
        Task<> b;
        Lines seen;
        a = create_task([&]() -> Coroutine<> { co_await b; });
        b = create_task([&]() -> Coroutine<> {
            seen.push_back(detail::type_name((co_await as_result(a)).error()));
            seen.push_back(detail::type_name((co_await as_result(sleep(1s))).error()));
        });
        co_await sleep(1s);
        a.cancel();
        b.cancel();
        (void)co_await as_result(b);
        EXPECT_EQ(seen.at(0), "RuntimeError");
        EXPECT_EQ(all_tasks().size(), 1u + (a.done() ? 0u : 1u));
    });
}

TEST(Circle, ATaskMayEndWhileTheErrorIsOnItsWay) {  // L20
    // A future is set in the iteration in which the circle is broken: its value counts.
    run_virtual([]() -> Coroutine<> {
        Task<int> a;
        Task<int> b;
        a = create_task([&]() -> Coroutine<int> {
            const auto r = co_await as_result(b);
            co_return r.has_value() ? r.value() : -1;
        });
        b = create_task([&]() -> Coroutine<int> { co_return co_await a; });
        co_await sleep(1s);
        EXPECT_TRUE(b.cancel());
        EXPECT_EQ(co_await a, -1);
        EXPECT_EQ(co_await b, -1);
    });
}

TEST(Circle, ByGather) {  // L20
    Task<> a;
    Task<> b;
    EXPECT_TRUE(names_circle(errors_of_run([&]() -> Coroutine<> {
        a = create_task([&]() -> Coroutine<> { co_await gather(b, sleep(1h)); });
        b = create_task([&]() -> Coroutine<> { co_await gather(sleep(1h), gather(a)); });
        co_return;
    })));
    EXPECT_TRUE(a.done() && b.done());
    // The gather itself is cancelled, and it is one of the tasks' own.
    Future<std::tuple<std::monostate>> whole(nullptr);
    errors_of_run([&]() -> Coroutine<> {
        a = create_task([&]() -> Coroutine<> { co_await whole; });
        whole = gather(a);
        co_await sleep(1ms);
        EXPECT_TRUE(whole.cancel());
        const auto r = co_await as_result(whole);
        EXPECT_TRUE(names_circle(Lines{error_text<RuntimeError>(r)}));
    });
    a = b = nullptr;
    whole = nullptr;
}

TEST(Circle, ByShieldWaitAndAsCompletedEndsByCancelling) {  // L20
    for (int how = 0; how < 4; ++how) {
        Task<> a;
        Task<> b;
        errors_of_run([&]() -> Coroutine<> {
            a = create_task([&, how]() -> Coroutine<> {
                if (how == 0) co_await shield(b);
                if (how == 1) (void)co_await wait(b);
                if (how == 2) {
                    auto items = as_completed(std::vector{b});
                    (void)co_await items.next();
                }
                if (how == 3) co_await wait_for(b, 1h);
            });
            b = create_task([&]() -> Coroutine<> { co_await a; });
            co_return;
        });
        EXPECT_TRUE(a.done() && b.done()) << how;
    }
}

// ---- exceptions --------------------------------------------------------------------------------

TEST(TaskError, IsRaisedInEveryAwaiter) {  // T-06, S-64
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(fail("broken"));
        EXPECT_EQ(error_text<ValueError>(co_await as_result(t)), "broken");
        EXPECT_EQ(error_text<ValueError>(co_await as_result(t)), "broken");
        EXPECT_EQ(raised<ValueError>([&] { t.result(); }), "broken");
        EXPECT_FALSE(t.cancelled());
        try {
            co_await t;
            ADD_FAILURE();
        } catch (const ValueError& e) {
            EXPECT_EQ(&e, detail::find<ValueError>(t.exception()));
        }
    });
}

TEST(TaskError, OfAnyKindIsOnlyStored) {  // S-62
    run_virtual([]() -> Coroutine<> {
        const auto base = create_task([]() -> Coroutine<> {
            throw GeneratorExit();
            co_return;
        });
        const auto number = create_task([]() -> Coroutine<> {
            throw 5;
            co_return;
        });
        EXPECT_TRUE((co_await as_result(base)).holds<GeneratorExit>());
        EXPECT_TRUE((co_await as_result(number)).holds<int>());
    });
}

TEST(TaskError, NeverRetrievedIsReported) {  // F-12, S-63
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        create_task(fail("lost"));
        co_await sleep(1s);
    });
    EXPECT_EQ(errors.lines(), (Lines{"Task exception was never retrieved: ValueError('lost')"}));
}

TEST(TaskError, OfATaskWhoseCancelWasAskedForIsReportedToo) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        {
            const auto t = create_task([]() -> Coroutine<> {
                (void)co_await as_result(sleep(1h));
                throw ValueError("instead of ending");
            });
            co_await sleep(1s);
            t.cancel();
        }
        co_await sleep(1s);
    });
    EXPECT_EQ(errors.lines(),
              (Lines{"Task exception was never retrieved: ValueError('instead of ending')"}));
}

TEST(TaskError, KeyboardInterruptIsStoredAndLeavesTheLoop) {  // S-60
    const auto loop = VirtualTimeEventLoop::create();
    bool ran = false;
    const auto t = loop->create_task([]() -> Coroutine<> {
        throw KeyboardInterrupt("now");
        co_return;
    });
    loop->call_soon([&] { ran = true; });
    EXPECT_EQ(raised<KeyboardInterrupt>([&] { loop->run_forever(); }), "now");
    EXPECT_FALSE(ran) << "the rest of the queue stays";
    EXPECT_FALSE(loop->is_running());
    EXPECT_EQ(raised<KeyboardInterrupt>([&] { t.result(); }), "now");
    loop->run_until_complete(sleep(0s));
    EXPECT_TRUE(ran);
}

TEST(TaskError, SystemExitLeavesARunUntilCompleteOnceAndIsNotReported) {  // S-60, S-61
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    try {
        loop->run_until_complete([]() -> Coroutine<> {
            throw SystemExit(3);
            co_return;
        });
        ADD_FAILURE();
    } catch (const SystemExit& e) {
        EXPECT_EQ(e.code(), 3);
    }
    // The ended task's callback, which is still queued, does not stop this run.
    EXPECT_EQ(loop->run_until_complete([]() -> Coroutine<int> {
        co_await sleep(1s);
        co_return 2;
    }),
              2);
    EXPECT_EQ(errors.lines(), Lines{});
}

TEST(TaskError, InterruptInAnAwaitedTaskReachesTheAwaiterLater) {  // S-60, S-61
    const auto loop = VirtualTimeEventLoop::create();
    Lines log;
    const auto main = loop->create_task([&]() -> Coroutine<> {
        const auto t = create_task([]() -> Coroutine<> {
            throw KeyboardInterrupt();
            co_return;
        });
        const auto r = co_await as_result(t);
        log.push_back(r.holds<KeyboardInterrupt>() ? "told" : "not told");
    });
    EXPECT_THROW(loop->run_until_complete(main), KeyboardInterrupt);
    EXPECT_EQ(log, Lines{});
    loop->run_until_complete(main);
    EXPECT_EQ(log, (Lines{"told"}));
}

// ---- the end of the loop -----------------------------------------------------------------------

TEST(DestroyedTask, IsReportedWhenTheLoopCloses) {  // T-36
    const auto loop = VirtualTimeEventLoop::create();
    ErrorCapture errors(*loop);
    Lines log;
    AnyTask told;
    loop->set_exception_handler([&](EventLoop&, const ExceptionContext& c) {
        log.push_back(c.message);
        told = as_task(c.task);
    });
    const auto t = loop->create_task([&]() -> Coroutine<> {
        struct Guard {
            Lines& log;
            ~Guard() { log.push_back("destroyed"); }
        } guard{log};
        co_await sleep(1h);
    });
    loop->run_until_complete(sleep(0s));
    loop->close();
    EXPECT_EQ(log, (Lines{"Task was destroyed but it is pending!", "destroyed"}));
    EXPECT_EQ(told, t);
    EXPECT_FALSE(t.done());
    EXPECT_EQ(t.get_stack().size(), 0u);
    EXPECT_NO_THROW(t.cancel());
    EXPECT_NE(repr(t).find("<Task "), std::string::npos);
}

TEST(DestroyedTask, OfRunUntilCompleteIsHidden) {  // T-36, B-09
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    EXPECT_EQ(raised<RuntimeError>([&] {
                  loop->run_until_complete([]() -> Coroutine<> {
                      get_running_loop().stop();
                      co_await sleep(1h);
                  });
              }),
              "Event loop stopped before Future completed.");
    loop->close();
    EXPECT_EQ(errors.lines(), Lines{});
}

TEST(DestroyedTask, ThatHasNotBegunAndOneThatIsReady) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    const auto value = std::make_shared<int>(1);
    auto begins = [value]() -> Coroutine<> {
        const auto mine = value;
        co_await sleep(0s);
        ADD_FAILURE() << "never resumed";
    };
    auto never_begins = [value]() -> Coroutine<> {
        ADD_FAILURE() << "never begun";
        co_return;
    };
    loop->create_task(begins);
    loop->stop();
    loop->run_forever();
    loop->create_task(never_begins);
    loop->close();
    EXPECT_EQ(errors.lines().size(), 2u);
    EXPECT_EQ(value.use_count(), 3) << "value and the two lambdas here";
}

TEST(DestroyedTask, FramesGoInnermostFirst) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    Lines log;
    struct Guard {
        Lines& log;
        std::string name;
        ~Guard() { log.push_back(name); }
    };
    const auto third = [&]() -> Coroutine<> {
        const Guard g{log, "third"};
        co_await Future<>();
    };
    const auto second = [&]() -> Coroutine<> {
        const Guard g{log, "second"};
        (void)co_await as_result(third());
    };
    loop->create_task([&]() -> Coroutine<> {
        const Guard g{log, "first"};
        co_await second();
    });
    loop->run_until_complete(sleep(1s));
    loop->close();
    EXPECT_EQ(log, (Lines{"third", "second", "first"}));
}

TEST(DestroyedTask, WhoseDestructorsUseOtherTasksAndFutures) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    Future<int> f = loop->create_future<int>();
    Task<> waits = loop->create_task([&]() -> Coroutine<> { co_await f; });
    Task<> sleeps = loop->create_task([&]() -> Coroutine<> { co_await sleep(1h); });
    Task<> chained = loop->create_task([&]() -> Coroutine<> { co_await sleeps; });
    const auto busy = loop->create_task([&]() -> Coroutine<> {
        struct Guard {
            Future<int>& f;
            Task<>&a, &b, &c;
            ~Guard() {
                a.cancel("from a destructor");
                b.cancel();
                c.cancel();
                if (!f.done()) f.set_result(1);
                a.add_done_callback([] { ADD_FAILURE(); });
            }
        } guard{f, waits, sleeps, chained};
        co_await sleep(1h);
    });
    loop->run_until_complete(sleep(1s));
    loop->close();
    EXPECT_TRUE(f.done());
    EXPECT_FALSE(waits.done());
    EXPECT_EQ(errors.lines().size(), 4u);
}

TEST(DestroyedTask, DoneCallbacksAreDroppedUnrun) {
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    const auto value = std::make_shared<int>(1);
    const auto t = loop->create_task(wait_for_ever());
    t.add_done_callback([value] { ADD_FAILURE(); });
    loop->run_until_complete(sleep(0s));
    EXPECT_EQ(value.use_count(), 2);
    loop->close();
    EXPECT_EQ(value.use_count(), 1);
}

// ---- introspection -----------------------------------------------------------------------------

TEST(TaskStack, HasAnEntryForEverySuspendedFrame) {  // T-11
    run_virtual([]() -> Coroutine<> {
        const auto inner = []() -> Coroutine<> { co_await sleep(1h); };
        const auto outer = [&]() -> Coroutine<> { co_await inner(); };
        const auto t = create_task(outer());
        EXPECT_EQ(t.get_stack().size(), 1u) << "before the first step: where it is defined";
        co_await sleep(1s);
        const auto stack = t.get_stack();
        EXPECT_EQ(stack.size(), 2u);
        for (const auto& place : stack) EXPECT_GT(place.line(), 0u);
        EXPECT_EQ(t.get_stack(1).size(), 1u);
        EXPECT_EQ(t.get_stack(1)[0].line(), stack.back().line()) << "the innermost is kept";
        std::ostringstream out;
        t.print_stack(0, &out);
        EXPECT_EQ(out.str().find("Stack for <Task pending name='"), 0u);
        EXPECT_NE(out.str().find("(most recent call last):\n  File \""), std::string::npos);
        t.cancel();
        (void)co_await as_result(t);
        EXPECT_EQ(t.get_stack().size(), 0u);
        out.str("");
        t.print_stack(0, &out);
        EXPECT_EQ(out.str().find("No stack for <Task cancelled name='"), 0u);
    });
}

TEST(TaskContext, IsACopyOrTheGivenOne) {  // T-10, S-24, CV-01
    static ContextVar<int> var("task_context", 0);
    run_virtual([]() -> Coroutine<> {
        var.set(1);
        const auto set = [](int v) -> Coroutine<int> {
            const int before = var.get();
            var.set(v);
            co_await sleep(0s);
            EXPECT_EQ(var.get(), v);
            co_return before;
        };
        const auto copied = create_task(set(2));
        const Context own = copy_context();
        const auto given = create_task(set(3), {.context = &own});
        var.set(9);
        EXPECT_EQ(co_await copied, 1);
        EXPECT_EQ(co_await given, 1);
        EXPECT_EQ(var.get(), 9);
        EXPECT_EQ(copied.get_context().get(var), 2);
        EXPECT_EQ(own.get(var), 3);
        EXPECT_EQ(given.get_context(), own);
    });
}

// ---- eager tasks -------------------------------------------------------------------------------

TEST(EagerTask, ThatDoesNotSuspendIsDoneOnReturn) {  // EG-03, EG-04, X-13
    run_virtual([]() -> Coroutine<> {
        Lines log;
        const AnyTask main = current_task();
        std::size_t seen_all = 0;
        const auto t = create_task(
            [&]() -> Coroutine<int> {
                EXPECT_NE(current_task(), main);
                seen_all = all_tasks().size();
                log.push_back("body");
                co_return 5;
            },
            {.name = "eager", .eager_start = true});
        EXPECT_TRUE(t.done());
        EXPECT_EQ(t.result(), 5);
        EXPECT_EQ(current_task(), main);
        EXPECT_EQ(seen_all, 2u) << "T-30: registered in its first step";
        EXPECT_EQ(all_tasks().size(), 1u);
        EXPECT_EQ(t.get_name(), "eager");
        t.add_done_callback([&] { log.push_back("callback"); });
        EXPECT_EQ(log, (Lines{"body"}));
        co_await sleep(0s);
        EXPECT_EQ(log, (Lines{"body", "callback"}));
    });
}

TEST(EagerTask, ThatSuspendsIsATaskLikeOthers) {  // EG-04
    run_virtual([]() -> Coroutine<> {
        Lines log;
        const AnyTask outer = current_task();
        const auto t = create_task(
            [&]() -> Coroutine<int> {
                log.push_back("begin");
                co_await sleep(1s);
                log.push_back("end");
                co_return 6;
            },
            {.eager_start = true});
        log.push_back("made");
        EXPECT_TRUE(current_task() == outer);
        EXPECT_FALSE(t.done());
        EXPECT_EQ(all_tasks().size(), 2u);
        EXPECT_EQ(co_await t, 6);
        EXPECT_EQ(log, (Lines{"begin", "made", "end"}));
    });
}

TEST(EagerTask, WhoseKeyboardInterruptLeavesItGivesTheOuterTaskBack) {  // EG-04, S-60
    run_virtual([]() -> Coroutine<> {
        const AnyTask outer = current_task();
        bool left = false;
        try {
            create_task([]() -> Coroutine<> { throw KeyboardInterrupt(); }, {.eager_start = true});
        } catch (const KeyboardInterrupt&) {
            left = true;
        }
        EXPECT_TRUE(left);
        EXPECT_TRUE(current_task() == outer);
        co_return;
    });
}

TEST(EagerTask, StoresItsException) {  // EG-04
    run_virtual([]() -> Coroutine<> {
        const auto t = create_task(fail("eager"), {.eager_start = true});
        EXPECT_TRUE(t.done());
        EXPECT_EQ(error_text<ValueError>(co_await as_result(t)), "eager");
        const auto cancelled = create_task(
            []() -> Coroutine<> {
                throw CancelledError("c");
                co_return;
            },
            {.eager_start = true});
        EXPECT_TRUE(cancelled.cancelled());
    });
}

TEST(EagerTask, RaisesAnInterruptInItsMaker) {  // EG-04
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        const AnyTask main = current_task();
        const auto make = [] {
            create_task(
                []() -> Coroutine<> {
                    throw KeyboardInterrupt("inline");
                    co_return;
                },
                {.eager_start = true});
        };
        EXPECT_EQ(raised<KeyboardInterrupt>(make), "inline");
        EXPECT_EQ(current_task(), main);
        EXPECT_EQ(all_tasks().size(), 1u);
        co_return;
    });
}

TEST(EagerTask, RunsInItsOwnContext) {  // EG-04
    static ContextVar<int> var("eager", 0);
    run_virtual([]() -> Coroutine<> {
        var.set(1);
        const auto t = create_task(
            []() -> Coroutine<int> {
                const int before = var.get();
                var.set(2);
                co_return before;
            },
            {.eager_start = true});
        EXPECT_EQ(var.get(), 1);
        EXPECT_EQ(co_await t, 1);
    });
}

TEST(EagerTask, OnALoopThatDoesNotRunBehavesNormally) {  // EG-04
    const auto loop = VirtualTimeEventLoop::create();
    bool began = false;
    const auto t = loop->create_task(
        [&]() -> Coroutine<> {
            began = true;
            co_return;
        },
        {.eager_start = true});
    EXPECT_FALSE(began);
    loop->run_until_complete(t);
    EXPECT_TRUE(began);
}

TEST(EagerTask, CancelledInItsFirstStepOrAfterIt) {
    run_virtual([]() -> Coroutine<> {
        const auto self = create_task(
            []() -> Coroutine<> {
                current_task().cancel("self");
                co_await sleep(1h);
            },
            {.eager_start = true});
        EXPECT_FALSE(self.done());
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(self)), "self");
        const auto after = create_task(sleep(1h), {.eager_start = true});
        after.cancel("after");
        EXPECT_EQ(error_text<CancelledError>(co_await as_result(after)), "after");
    });
}

TEST(EagerTask, FactoryMakesAllOfThemEager) {  // EG-01, EG-03, EF-03
    const auto loop = VirtualTimeEventLoop::create();
    EXPECT_FALSE(loop->get_task_factory());
    loop->set_task_factory(&eager_task_factory);
    EXPECT_TRUE(loop->get_task_factory());
    loop->run_until_complete([]() -> Coroutine<> {
        EXPECT_TRUE(create_task(give(1)).done());
        const auto lazy = create_task(give(2), {.eager_start = false});
        EXPECT_FALSE(lazy.done()) << "the call's own option wins";
        EXPECT_EQ(co_await lazy, 2);
        get_running_loop().set_task_factory(nullptr);
        EXPECT_FALSE(create_task(give(1)).done());
        co_await sleep(0s);
    });
}

TEST(EagerTask, MayMakeOthersInATower) {
    run_virtual([]() -> Coroutine<> {
        struct Tower {
            static Coroutine<int> level(int n) {
                if (n == 0) co_return 0;
                const auto below = create_task(level(n - 1), {.eager_start = true});
                co_return 1 + co_await below;
            }
        };
        EXPECT_EQ(co_await Tower::level(100'000), 100'000) << "deeper than the machine's stack";
    });
}

TEST(TaskFactory, MayChangeTheOptions) {  // EF-03
    const auto loop = VirtualTimeEventLoop::create();
    Lines made;
    loop->set_task_factory([&](EventLoop& l, TaskOptions& options) {
        EXPECT_EQ(&l, loop.get());
        made.push_back(std::string(options.name));
        if (options.name.empty()) options.name = "by factory";
    });
    loop->run_until_complete([]() -> Coroutine<> {
        const auto a = create_task(nothing());
        const auto b = create_task(nothing(), {.name = "given"});
        EXPECT_EQ(a.get_name(), "by factory");
        EXPECT_EQ(b.get_name(), "given");
        co_await a;
        co_await b;
    });
    EXPECT_EQ(made, (Lines{"", "", "given"})) << "the first is run_until_complete's own";
}

TEST(TaskFactory, ThatRaisesMakesNoTask) {
    const LogCapture log;
    const auto loop = VirtualTimeEventLoop::create();
    loop->set_task_factory([](EventLoop&, TaskOptions&) { throw ValueError("no tasks"); });
    EXPECT_EQ(raised<ValueError>([&] { loop->create_task(nothing()); }), "no tasks");
    EXPECT_EQ(all_tasks(*loop).size(), 0u);
    EXPECT_EQ(log.lines().size(), 1u) << "the coroutine was never awaited";
}

// L36. Whoever wakes a task twice for one wait ends its next await by itself. These calls are
// compiled into the program, not into the library.
TEST(ReadyQueue, TakesATaskOnce) {
#ifdef ASYNCIO_READY_ONCE
    EXPECT_DEATH(run_virtual([]() -> Coroutine<> {
                     auto task = create_task(sleep(1s), {.name = "woken"});
                     co_await sleep(0s);
                     auto& state = static_cast<detail::TaskBase&>(*task.state());
                     state.wake();
                     state.wake();
                 }),
                 "a node entered the ready queue twice: woken");
#else
    GTEST_SKIP() << "this build does not look whether a node enters the ready queue twice";
#endif
}

// ---- without memory -----------------------------------------------------------------------------

// In a build with the frame pool only some blocks come from operator new; with the address
// sanitizer, which also sees what stays behind, all do.
TEST(CreateTask, WithoutMemoryMakesNoTask) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    int refused = 0;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        const auto loop = VirtualTimeEventLoop::create();
        int made = 0;
        int ran = 0;
        const auto witness = std::make_shared<int>();
        loop->run_until_complete([&]() -> Coroutine<> {
            auto child = [&ran, witness]() -> Coroutine<> {
                ++ran;
                co_return;
            };
            support::blocks_left = given;
            try {
                create_task(child, {.name = "a name that is too long to be kept in place"});
                ++made;
            } catch (const std::bad_alloc&) {
                ++refused;
            }
            enough = support::blocks_left.exchange(-1) >= 0;
            EXPECT_EQ(all_tasks().size(), 1u + static_cast<std::size_t>(made)) << given;
            co_await sleep(0s);
        });
        EXPECT_EQ(ran, made) << given;
        EXPECT_EQ(witness.use_count(), 1) << given;
        loop->close();
    }
    EXPECT_GE(refused, 2);
}

TEST(CancelTask, WithoutMemoryForTheMessageItIsCancelledWithoutOne) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    int without = 0;
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        support::run_virtual([&]() -> Coroutine<> {
            auto task = create_task(nothing());
            bool asked = false;
            support::blocks_left = given;
            try {
                asked = task.cancel("a message that is too long to be kept in place");
            } catch (const std::bad_alloc&) {
                // Before anything was done.
                EXPECT_EQ(task.cancelling(), 0u);
            }
            enough = support::blocks_left.exchange(-1) >= 0;
            const auto r = co_await as_result(task);
            EXPECT_EQ(r.has_value(), !asked);
            const auto* error = detail::find<CancelledError>(r.error());
            EXPECT_EQ(error != nullptr, asked);
            if (error && error->message().empty()) ++without;
        });
    }
    EXPECT_EQ(without, 1);
}

// What must not raise says less where there is no memory.
// Nobody is told in full, and the loop goes on.
TEST(Reports, WithoutMemoryDoNotLeaveTheLoop) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const std::exception_ptr error =
        std::make_exception_ptr(ValueError("a reason that is too long to be kept in place"));
    const auto sink = log::set_sink([](log::Level, std::string_view) {});
    for (const bool handler : {false, true}) {
        for (const bool debug : {false, true}) {
            bool enough = false;
            for (std::ptrdiff_t given = 0; !enough; ++given) {
                auto loop = VirtualTimeEventLoop::create();
                loop->set_debug(debug);
                if (handler) {
                    loop->set_exception_handler([&](EventLoop&, const ExceptionContext&) {
                        std::rethrow_exception(error);
                    });
                }
                const auto future = loop->create_future<int>();
                future.add_done_callback([&] { std::rethrow_exception(error); });
                loop->call_soon([&] { std::rethrow_exception(error); });
                int called = 0;
                loop->call_soon([&] { ++called; });
                future.set_result(1);
                support::blocks_left = given;
                EXPECT_NO_THROW(loop->run_once(0s)) << given;
                EXPECT_NO_THROW(loop->run_once(0s)) << given;
                enough = support::blocks_left.exchange(-1) >= 0;
                EXPECT_EQ(called, 1) << given;
            }
        }
    }
    log::set_sink(sink);
}

TEST(DestroyingALoop, WithoutMemoryToSaySoClosesIt) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    const auto sink = log::set_sink([](log::Level, std::string_view) {});
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        auto loop = VirtualTimeEventLoop::create();
        loop->set_debug(true);
        auto dropped = std::make_shared<int>();
        loop->call_later(1h, [dropped] {});
        support::blocks_left = given;
        loop = nullptr;
        enough = support::blocks_left.exchange(-1) >= 0;
        EXPECT_EQ(dropped.use_count(), 1) << given;
    }
    log::set_sink(sink);
}

TEST(Reports, WithoutMemoryAreShort) {  // L26
    if (!SUPPORT_OWN_NEW) GTEST_SKIP() << "the sanitizer has an operator new of its own";
    bool enough = false;
    for (std::ptrdiff_t given = 0; !enough; ++given) {
        enough = true;
        const auto without = [&](auto report) {
            support::blocks_left = given;
            report();
            enough = support::blocks_left.exchange(-1) >= 0 && enough;
        };
        const auto sink = log::set_sink([](log::Level, std::string_view) {});
        const auto loop = VirtualTimeEventLoop::create();
        loop->run_until_complete([&]() -> Coroutine<> {
            auto failed = get_running_loop().create_future<int>();
            failed.set_exception(ValueError("a reason that is too long to be kept in place"));
            without([&] { failed = nullptr; });

            auto inner = get_running_loop().create_future<int>();
            auto outer = shield(inner);
            outer.cancel();
            static_cast<void>(co_await as_result(outer));
            inner.set_exception(ValueError("a reason that is too long to be kept in place"));
            support::blocks_left = given;
            co_await sleep(0s);
            enough = support::blocks_left.exchange(-1) >= 0 && enough;
        });
        const auto pending = loop->create_task(sleep(1h));
        loop->run_once(0s);
        without([&] { loop->close(); });
        log::set_sink(sink);
    }
}

}  // namespace
