// futures.hpp: parity rows F-01 to F-16, S-16 to S-18, S-63 to S-65, B-01, B-02, B-10.
#include <asyncio/futures.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <ctime>
#include <memory>
#include <random>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::ErrorCapture;
using support::Iterations;
using support::Lines;
using support::LogCapture;
using support::raised;
using support::run_virtual;

// ---- making, setting, looking ------------------------------------------------------------------

TEST(Future, IsPendingWhenMade) {
    const auto loop = VirtualTimeEventLoop::create();
    const Future<int> f = loop->create_future<int>();  // EF-01, F-16
    EXPECT_TRUE(f);
    EXPECT_FALSE(f.done());
    EXPECT_FALSE(f.cancelled());
    EXPECT_EQ(&f.get_loop(), loop.get());  // F-10
}

TEST(Future, DefaultConstructedBelongsToTheRunningLoop) {  // F-01
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        EXPECT_EQ(&f.get_loop(), &get_running_loop());
        EXPECT_FALSE(f.done());
        co_return;
    });
}

TEST(Future, OutsideOfALoopBelongsToTheCurrentOne) {  // F-01
    const auto loop = VirtualTimeEventLoop::create();
    set_event_loop(loop.get());
    const Future<> f;
    EXPECT_EQ(&f.get_loop(), loop.get());
    set_event_loop(nullptr);
}

TEST(Future, GivesTheResultThatWasSet) {  // F-02, F-04
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<std::string>();
    f.set_result("value");
    EXPECT_TRUE(f.done());
    EXPECT_FALSE(f.cancelled());
    EXPECT_EQ(f.result(), "value");
    EXPECT_EQ(f.exception(), nullptr);
    EXPECT_EQ(&f.result(), &f.result()) << "an lvalue handle shows the stored value, no copy";
}

TEST(Future, OfVoidAndOfReferences) {
    const auto loop = VirtualTimeEventLoop::create();
    const auto nothing = loop->create_future();
    nothing.set_result();
    EXPECT_NO_THROW(nothing.result());
    int number = 1;
    const auto reference = loop->create_future<int&>();
    reference.set_result(number);
    reference.result() = 7;
    EXPECT_EQ(number, 7);
}

struct NeedsTwo {
    NeedsTwo(int x, int y) : sum(x + y) {}
    NeedsTwo(const NeedsTwo&) = delete;
    NeedsTwo& operator=(const NeedsTwo&) = delete;
    int sum;
};

TEST(Future, MakesTheResultInPlace) {
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<NeedsTwo>();  // neither default-made, copied nor moved
    f.set_result(1, 2);
    EXPECT_EQ(f.result().sum, 3);
}

TEST(Future, RvalueHandleMovesTheResultOutIfItIsTheLast) {
    const auto loop = VirtualTimeEventLoop::create();
    auto f = loop->create_future<std::shared_ptr<int>>();
    auto value = std::make_shared<int>(5);
    f.set_result(value);
    auto second = f;
    const auto copy = std::move(second).result();
    EXPECT_EQ(value.use_count(), 3) << "value, the future's, copy";
    second = nullptr;
    const auto moved = std::move(f).result();
    EXPECT_EQ(value.use_count(), 3) << "value, copy, moved";
}

struct ThrowsWhenCopied {
    ThrowsWhenCopied() = default;
    ThrowsWhenCopied(const ThrowsWhenCopied&) { throw std::runtime_error("copy"); }
    ThrowsWhenCopied(ThrowsWhenCopied&&) = default;
};

TEST(Future, StaysPendingIfItsResultCannotBeMade) {
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<ThrowsWhenCopied>();
    const ThrowsWhenCopied value;
    EXPECT_EQ(raised<std::runtime_error>([&] { f.set_result(value); }), "copy");
    EXPECT_FALSE(f.done());
    f.set_result(ThrowsWhenCopied());
    EXPECT_TRUE(f.done());
}

TEST(Future, RefusesToBeReadWhilePending) {  // F-02, F-03
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    EXPECT_EQ(raised<InvalidStateError>([&] { (void)f.result(); }), "Result is not set.");
    EXPECT_EQ(raised<InvalidStateError>([&] { (void)f.exception(); }), "Exception is not set.");
    EXPECT_EQ(raised<InvalidStateError>([&] { f.check(); }), "Result is not set.");
}

TEST(Future, IsSetOnce) {  // F-04, F-05
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    f.set_result(1);
    EXPECT_EQ(raised<InvalidStateError>([&] { f.set_result(2); }), "invalid state");
    EXPECT_EQ(raised<InvalidStateError>([&] { f.set_exception(ValueError("x")); }),
              "invalid state");
    EXPECT_FALSE(f.cancel());
    EXPECT_EQ(f.result(), 1);
    const auto cancelled = loop->create_future<int>();
    cancelled.cancel();
    EXPECT_EQ(raised<InvalidStateError>([&] { cancelled.set_result(2); }), "invalid state");
}

TEST(Future, RaisesTheSameExceptionObjectEachTime) {  // F-02, F-03, S-64
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    f.set_exception(ValueError("wrong"));
    EXPECT_EQ(raised<ValueError>([&] { (void)f.result(); }), "wrong");
    EXPECT_EQ(raised<ValueError>([&] { f.check(); }), "wrong");
    const void* first = detail::find<ValueError>(f.exception());
    EXPECT_NE(first, nullptr);
    EXPECT_EQ(detail::find<ValueError>(f.exception()), first);
    try {
        (void)f.result();
    } catch (const ValueError& e) {
        EXPECT_EQ(&e, first);
    }
}

TEST(Future, TakesExceptionPointersButNotNull) {  // F-05
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future();
    EXPECT_EQ(raised<TypeError>([&] { f.set_exception(std::exception_ptr()); }),
              "invalid exception object");
    EXPECT_FALSE(f.done());
    f.set_exception(std::make_exception_ptr(42));  // whatever C++ can throw
    try {
        f.result();
        ADD_FAILURE();
    } catch (int number) {
        EXPECT_EQ(number, 42);
    }
}

TEST(Future, CancelEndsItWithACancelledError) {  // F-06, F-07, S-51
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    EXPECT_TRUE(f.cancel("why"));
    EXPECT_TRUE(f.done());
    EXPECT_TRUE(f.cancelled());
    EXPECT_FALSE(f.cancel("again")) << "S-50";
    EXPECT_EQ(raised<CancelledError>([&] { (void)f.result(); }), "why");
    EXPECT_EQ(raised<CancelledError>([&] { (void)f.exception(); }), "why");
    EXPECT_EQ(raised<CancelledError>([&] { (void)f.result(); }), "why") << "each time (S-51)";
}

TEST(Future, CancelWithoutAMessageHasNone) {
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    f.cancel();
    EXPECT_EQ(raised<CancelledError>([&] { (void)f.result(); }), "");
}

TEST(Future, SettingACancelledErrorIsNotACancel) {  // as CPython: only cancel() cancels a future
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    f.set_exception(CancelledError("stored"));
    EXPECT_FALSE(f.cancelled());
    EXPECT_TRUE(detail::is_cancelled_error(f.exception()));
    EXPECT_EQ(raised<CancelledError>([&] { (void)f.result(); }), "stored");
}

// ---- handles -----------------------------------------------------------------------------------

TEST(FutureHandle, EmptyOnesSaySo) {
    const Future<int> empty(nullptr);
    const AnyFuture any;
    EXPECT_FALSE(empty);
    EXPECT_FALSE(any);
    const std::string text = "this handle is empty: it refers to no object";
    EXPECT_EQ(raised<RuntimeError>([&] { (void)empty.done(); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { (void)empty.result(); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { empty.set_result(1); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { any.cancel(); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { any.add_done_callback([] {}); }), text);
    EXPECT_EQ(raised<RuntimeError>([&] { run_virtual([&]() -> Coroutine<> { co_await empty; }); }),
              text);
    EXPECT_EQ(repr(empty), "<empty handle>");
}

TEST(FutureHandle, ComparesAndHashesByIdentity) {
    const auto loop = VirtualTimeEventLoop::create();
    const auto a = loop->create_future<int>();
    const auto b = loop->create_future<int>();
    const auto a2 = a;
    EXPECT_EQ(a, a2);
    EXPECT_NE(a, b);
    const AnyFuture any = a;
    EXPECT_EQ(any, a);
    std::unordered_set<AnyFuture> set{a, b, a2, any};
    EXPECT_EQ(set.size(), 2u);
    std::unordered_set<Future<int>> typed{a, a2};
    EXPECT_EQ(typed.size(), 1u);
}

TEST(AnyFutureHandle, GivesTheResultIfTheTypeIsRight) {
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    const AnyFuture any = f;
    EXPECT_EQ(raised<InvalidStateError>([&] { (void)any.result<int>(); }), "Result is not set.");
    f.set_result(3);
    EXPECT_EQ(any.result<int>(), 3);
    EXPECT_EQ(raised<TypeError>([&] { (void)any.result<double>(); }),
              "the result of this future is a int, not a double");
    EXPECT_FALSE(as_task(any));
    int x = 0;
    const auto r = loop->create_future<int&>();
    r.set_result(x);
    EXPECT_EQ(&AnyFuture(r).result<int&>(), &x);
}

TEST(FutureHandle, OutlivesItsLoop) {
    Future<int> pending(nullptr);
    Future<int> finished(nullptr);
    {
        const auto loop = VirtualTimeEventLoop::create();
        pending = loop->create_future<int>();
        finished = loop->create_future<int>();
        finished.set_result(4);
    }
    EXPECT_EQ(finished.result(), 4);
    EXPECT_EQ(raised<RuntimeError>([&] { (void)pending.get_loop(); }),
              "the event loop of this future is gone");
    pending.add_done_callback([] { ADD_FAILURE() << "the loop is closed"; });
    pending.set_result(1);
    EXPECT_EQ(pending.result(), 1);
    EXPECT_EQ(raised<RuntimeError>([&] { finished.add_done_callback([] {}); }),
              "Event loop is closed");
}

static_assert(FutureLike<Future<int>> && FutureLike<AnyFuture&> &&
              FutureLike<const Task<>&>);  // F-13
static_assert(!FutureLike<int> && !FutureLike<Coroutine<int>>);
static_assert(std::is_nothrow_move_constructible_v<Future<int>> &&
              std::is_copy_assignable_v<Future<int>>);
static_assert(!std::is_constructible_v<Future<int>, int>);

// ---- done callbacks ----------------------------------------------------------------------------

TEST(DoneCallback, RunsInTheNextIterationNotInline) {  // B-01, S-16
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        Lines log;
        f.add_done_callback([&](Future<int> done) {
            EXPECT_EQ(done, f);
            log.push_back("callback " + std::to_string(done.result()));
        });
        f.set_result(1);
        log.push_back("set");
        co_await sleep(0s);
        EXPECT_EQ(log, (Lines{"set", "callback 1"}));
    });
}

TEST(DoneCallback, OnADoneFutureStillWaitsAnIteration) {  // B-02, S-23, F-08
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        f.set_result(1);
        bool called = false;
        f.add_done_callback([&] { called = true; });
        EXPECT_FALSE(called);
        co_await sleep(0s);
        EXPECT_TRUE(called);
    });
}

TEST(DoneCallback, AllRunInTheOrderOfRegistrationAmongOtherCallbacks) {  // S-16
    run_virtual([]() -> Coroutine<> {
        const Future<> f;
        Lines log;
        f.add_done_callback([&] { log.push_back("a"); });
        f.add_done_callback([&] { log.push_back("b"); });
        f.add_done_callback([&] { log.push_back("c"); });
        get_running_loop().call_soon([&] { log.push_back("before"); });
        f.set_result();
        get_running_loop().call_soon([&] { log.push_back("after"); });
        co_await sleep(0s);
        EXPECT_EQ(log, (Lines{"before", "a", "b", "c", "after"}));
    });
}

TEST(DoneCallback, RunsForEveryKindOfEnd) {
    run_virtual([]() -> Coroutine<> {
        const Future<> value;
        const Future<> error;
        const Future<> cancelled;
        int calls = 0;
        const auto count = [&] { ++calls; };
        value.add_done_callback(count);
        error.add_done_callback(count);
        cancelled.add_done_callback(count);
        value.set_result();
        error.set_exception(ValueError("x"));
        cancelled.cancel();
        (void)error.exception();
        co_await sleep(0s);
        EXPECT_EQ(calls, 3);
    });
}

int plain_calls = 0;
void plain_callback(AnyFuture) { ++plain_calls; }

TEST(DoneCallback, IsRemovedByIdOrByFunction) {  // F-09
    run_virtual([]() -> Coroutine<> {
        plain_calls = 0;
        const Future<> f;
        Lines log;
        f.add_done_callback([&] { log.push_back("kept"); });
        const CallbackId id = f.add_done_callback([&] { log.push_back("removed"); });
        f.add_done_callback(&plain_callback);
        f.add_done_callback([&] { log.push_back("kept too"); });
        f.add_done_callback(&plain_callback);
        EXPECT_EQ(f.remove_done_callback(&plain_callback), 2u) << "all equal ones";
        EXPECT_EQ(f.remove_done_callback(&plain_callback), 0u);
        EXPECT_EQ(f.remove_done_callback(id), 1u);
        EXPECT_EQ(f.remove_done_callback(id), 0u);
        EXPECT_EQ(f.remove_done_callback(CallbackId()), 0u);
        f.set_result();
        co_await sleep(0s);
        EXPECT_EQ(log, (Lines{"kept", "kept too"}));
        EXPECT_EQ(plain_calls, 0);
    });
}

TEST(DoneCallback, AddedTwiceRunsTwice) {  // F-08
    run_virtual([]() -> Coroutine<> {
        plain_calls = 0;
        const Future<> f;
        f.add_done_callback(&plain_callback);
        f.add_done_callback(&plain_callback);
        f.set_result();
        co_await sleep(0s);
        EXPECT_EQ(plain_calls, 2);
    });
}

TEST(DoneCallback, OnceScheduledIsBeyondReach) {  // F-09
    run_virtual([]() -> Coroutine<> {
        const Future<> f;
        int calls = 0;
        const CallbackId id = f.add_done_callback([&] { ++calls; });
        f.set_result();
        EXPECT_EQ(f.remove_done_callback(id), 0u);
        co_await sleep(0s);
        EXPECT_EQ(calls, 1);
    });
}

TEST(DoneCallback, RemovingEachPositionKeepsTheOthersInOrder) {
    run_virtual([]() -> Coroutine<> {
        for (int gone = 0; gone < 4; ++gone) {
            const Future<> f;
            Lines log;
            CallbackId ids[4];
            for (int i = 0; i < 4; ++i) {
                ids[i] = f.add_done_callback([&log, i] { log.push_back(std::to_string(i)); });
            }
            EXPECT_EQ(f.remove_done_callback(ids[gone]), 1u);
            f.add_done_callback([&log] { log.push_back("last"); });
            f.set_result();
            co_await sleep(0s);
            Lines expected;
            for (int i = 0; i < 4; ++i) {
                if (i != gone) expected.push_back(std::to_string(i));
            }
            expected.push_back("last");
            EXPECT_EQ(log, expected);
        }
    });
}

TEST(DoneCallback, MayOwnWhatItNeedsAndTheFutureItself) {
    run_virtual([]() -> Coroutine<> {
        Future<std::unique_ptr<int>> f;
        int seen = 0;
        auto owned = std::make_unique<int>(2);
        f.add_done_callback([&seen, owned = std::move(owned)](Future<std::unique_ptr<int>> done) {
            seen = *owned + *std::move(done).result();
        });
        f.set_result(std::make_unique<int>(3));
        f = nullptr;  // the loop keeps it until the callback has run
        co_await sleep(0s);
        EXPECT_EQ(seen, 5);
    });
}

TEST(DoneCallback, ThatOwnsItsFutureGoesWithTheLoopOrWhenRemoved) {
    const auto loop = VirtualTimeEventLoop::create();
    auto watched = std::make_shared<int>(1);
    const auto f = loop->create_future();
    const CallbackId id = f.add_done_callback([watched] {});
    EXPECT_EQ(watched.use_count(), 2);
    f.remove_done_callback(id);
    EXPECT_EQ(watched.use_count(), 1);
    f.add_done_callback([watched] {});
    f.set_result();
    EXPECT_EQ(watched.use_count(), 2);
    loop->close();
    EXPECT_EQ(watched.use_count(), 1) << "dropped unrun";
}

// A captured object that uses the future while its callback is being removed.
struct AddsAnother {
    explicit AddsAnother(Future<> f, int& calls) : future(std::move(f)), count(&calls) {}
    AddsAnother(AddsAnother&& o) noexcept
        : future(o.future), count(std::exchange(o.count, nullptr)) {}
    AddsAnother& operator=(AddsAnother&&) = delete;
    ~AddsAnother() {
        if (count) future.add_done_callback([c = count] { ++*c; });
    }
    void operator()() const {}
    Future<> future;
    int* count;
};

TEST(DoneCallback, RemovalMayRunCodeThatAddsAnother) {
    run_virtual([]() -> Coroutine<> {
        int calls = 0;
        const Future<> f;
        f.add_done_callback([&] { ++calls; });
        AddsAnother adds(f, calls);
        const CallbackId id = f.add_done_callback(std::move(adds));
        EXPECT_EQ(f.remove_done_callback(id), 1u);
        f.set_result();
        co_await sleep(0s);
        EXPECT_EQ(calls, 2);
    });
}

TEST(DoneCallback, MayChangeTheFuturesCallbacksWhileTheyRun) {
    run_virtual([]() -> Coroutine<> {
        const Future<> f;
        Lines log;
        f.add_done_callback([&] {
            log.push_back("first");
            f.add_done_callback([&] { log.push_back("late"); });
        });
        f.add_done_callback([&] { log.push_back("second"); });
        f.set_result();
        co_await sleep(0s);
        EXPECT_EQ(log, (Lines{"first", "second"}));
        co_await sleep(0s);
        EXPECT_EQ(log, (Lines{"first", "second", "late"}));
    });
}

TEST(DoneCallback, ThatRaisesGoesToTheHandlerAndTheOthersRun) {  // S-65, EH-05
    run_virtual([]() -> Coroutine<> {
        const ErrorCapture errors(get_running_loop());
        const Future<> f;
        int calls = 0;
        f.add_done_callback([&] { ++calls; });
        f.add_done_callback([&] { throw ValueError("in callback"); });
        f.add_done_callback([&] { ++calls; });
        f.set_result();
        co_await sleep(0s);
        EXPECT_EQ(calls, 2);
        EXPECT_EQ(errors.lines(),
                  (Lines{"Exception in callback at FILE:LINE: ValueError('in callback')"}));
    });
}

TEST(DoneCallback, KeyboardInterruptLeavesTheLoop) {  // S-60
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future();
    bool later = false;
    f.add_done_callback([] { throw KeyboardInterrupt("stop"); });
    f.add_done_callback([&] { later = true; });
    f.set_result();
    EXPECT_EQ(raised<KeyboardInterrupt>([&] { loop->run_forever(); }), "stop");
    EXPECT_FALSE(later);
    EXPECT_FALSE(loop->is_running());
    loop->stop();
    loop->run_forever();
    EXPECT_TRUE(later) << "X-16: it is still there when the loop runs again";
}

TEST(DoneCallback, RunsInTheContextOfItsRegistration) {  // F-08, CV-02
    static ContextVar<int> var("var", 0);
    run_virtual([]() -> Coroutine<> {
        const Future<> f;
        std::vector<int> seen;
        var.set(1);
        f.add_done_callback([&] {
            seen.push_back(var.get());
            var.set(100);  // in a copy
        });
        f.add_done_callback([&] { seen.push_back(var.get()); });
        var.set(2);
        const Context own = copy_context();
        f.add_done_callback([&] { var.set(50); }, {.context = &own});
        f.set_result();
        var.set(3);
        co_await sleep(0s);
        EXPECT_EQ(seen, (std::vector<int>{1, 1}));
        EXPECT_EQ(own.get(var), 50) << "a given context is used itself";
        EXPECT_EQ(var.get(), 3);
    });
}

// What `co_await` of an A gives.
template <class A>
using Awaited = detail::AwaitValue<A>;

// ---- awaiting ----------------------------------------------------------------------------------

TEST(AwaitFuture, DoneOneDoesNotSuspend) {  // S-18, S-30, B-10, F-11
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        const Future<int> f;
        f.set_result(1);
        EXPECT_EQ(co_await f, 1);
        const Future<> failed;
        failed.set_exception(ValueError("x"));
        EXPECT_TRUE((co_await as_result(failed)).holds<ValueError>());
        const Future<> cancelled;
        cancelled.cancel();
        EXPECT_TRUE((co_await as_result(cancelled)).holds<CancelledError>());
        EXPECT_EQ(iterations.count(), 0);
    });
}

TEST(AwaitFuture, PendingOneResumesOneIterationAfterItsEnd) {  // S-17, S-22
    run_virtual([]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        const Future<int> f;
        get_running_loop().call_soon([&] {
            iterations.passed();
            f.set_result(5);
        });
        EXPECT_EQ(co_await f, 5);
        EXPECT_EQ(iterations.passed(), 1);
    });
}

TEST(AwaitFuture, AwaitersAndCallbacksResumeInOrderOfRegistration) {  // S-17
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        Lines log;
        const auto waiter = [&](std::string name) -> Coroutine<> {
            log.push_back(name + std::to_string(co_await f));
        };
        const auto a = create_task(waiter("a"));
        co_await sleep(0s);
        f.add_done_callback([&] { log.push_back("callback"); });
        const auto b = create_task(waiter("b"));
        co_await sleep(0s);
        f.set_result(1);
        co_await sleep(0s);
        EXPECT_EQ(log, (Lines{"a1", "callback", "b1"}));
    });
}

TEST(AwaitFuture, LvalueGivesAReferenceRvalueTheValue) {
    run_virtual([]() -> Coroutine<> {
        Future<std::shared_ptr<int>> f;
        f.set_result(std::make_shared<int>(1));
        static_assert(std::is_same_v<Awaited<decltype((f))>, const std::shared_ptr<int>&>);
        static_assert(std::is_same_v<Awaited<decltype(std::move(f))>, std::shared_ptr<int>>);
        EXPECT_EQ(&(co_await f), &f.result());
        auto handle = f;
        const auto copy = co_await std::move(handle);
        EXPECT_EQ(copy.use_count(), 2) << "f still has it";
        const auto moved = co_await std::move(f);
        EXPECT_EQ(copy.use_count(), 2) << "the last handle gave it away";
    });
}

TEST(AwaitFuture, MoveOnlyAndReferenceResults) {
    run_virtual([]() -> Coroutine<> {
        Future<std::unique_ptr<int>> f;
        auto second = f;
        f.set_result(std::make_unique<int>(3));
        const std::unique_ptr<int> got = co_await std::move(f);
        EXPECT_EQ(*got, 3) << "moved though there is another handle, since it cannot be copied";
        int x = 1;
        const Future<int&> r;
        r.set_result(x);
        static_assert(std::is_same_v<Awaited<decltype((r))>, int&>);
        EXPECT_EQ(&(co_await r), &x);
    });
}

TEST(AwaitFuture, AnyFutureGivesNothingButRaises) {
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        const AnyFuture any = f;
        static_assert(std::is_void_v<Awaited<decltype((any))>>);
        get_running_loop().call_soon([&] { f.set_exception(ValueError("x")); });
        EXPECT_TRUE((co_await as_result(any)).holds<ValueError>());
    });
}

TEST(AwaitFuture, SharesOneExceptionObjectAmongAwaiters) {  // S-64
    run_virtual([]() -> Coroutine<> {
        const Future<> f;
        std::vector<const void*> seen;
        const auto waiter = [&]() -> Coroutine<> {
            const auto r = co_await as_result(f);
            seen.push_back(detail::find<ValueError>(r.error()));
        };
        const auto a = create_task(waiter());
        const auto b = create_task(waiter());
        co_await sleep(0s);
        f.set_exception(ValueError("x"));
        co_await a;
        co_await b;
        EXPECT_EQ(seen.size(), 2u);
        EXPECT_NE(seen[0], nullptr);
        EXPECT_EQ(seen[0], seen[1]);
    });
}

TEST(AwaitFuture, CancelOfTheTaskCancelsTheFuture) {  // S-40
    run_virtual([]() -> Coroutine<> {
        const Future<> f;
        Iterations iterations(get_running_loop());
        const auto task = create_task([&]() -> Coroutine<std::string> {
            const auto r = co_await as_result(f);
            co_return support::error_text<CancelledError>(r);
        });
        co_await sleep(0s);
        EXPECT_TRUE(task.cancel("message"));
        EXPECT_TRUE(f.cancelled());
        EXPECT_FALSE(task.done());
        iterations.passed();
        EXPECT_EQ(co_await task, "message");
        EXPECT_EQ(iterations.passed(), 2) << "CancelledError +1, its end +1";
    });
}

TEST(AwaitFuture, CancelledBeforeTheAwaitBegins) {  // S-45
    run_virtual([]() -> Coroutine<> {
        const Future<> f;
        const auto task = create_task([&]() -> Coroutine<> {
            current_task().cancel("self");
            co_await f;
        });
        const auto r = co_await as_result(task);
        EXPECT_EQ(support::error_text<CancelledError>(r), "self");
        EXPECT_TRUE(f.cancelled());
    });
}

TEST(AwaitFuture, CancelInTheIterationInWhichItEndsKeepsTheResult) {  // S-44, S-26, B-33
    run_virtual([]() -> Coroutine<> {
        const Future<int> f;
        const auto task = create_task([&]() -> Coroutine<int> { co_return co_await f; });
        co_await sleep(0s);
        f.set_result(9);
        EXPECT_TRUE(task.cancel("late"));
        EXPECT_EQ(support::error_text<CancelledError>(co_await as_result(task)), "late");
        EXPECT_EQ(f.result(), 9);
    });
}

TEST(AwaitFuture, CancelInTheIterationInWhichItFailsDropsTheException) {  // S-44
    const auto loop = VirtualTimeEventLoop::create();
    const ErrorCapture errors(*loop);
    loop->run_until_complete([]() -> Coroutine<> {
        const Future<int> f;
        const auto task = create_task([&]() -> Coroutine<int> { co_return co_await f; });
        co_await sleep(0s);
        f.set_exception(ValueError("dropped"));
        EXPECT_TRUE(task.cancel());
        EXPECT_TRUE((co_await as_result(task)).holds<CancelledError>());
    });
    EXPECT_EQ(errors.lines(), Lines{}) << "the await has looked at it";
}

TEST(AwaitFuture, OfACancelledOneLeavesTheTaskUnasked) {  // S-52
    run_virtual([]() -> Coroutine<> {
        const Future<> f;
        const auto task = create_task([&]() -> Coroutine<> { co_await f; });
        co_await sleep(0s);
        f.cancel("future");
        EXPECT_EQ(support::error_text<CancelledError>(co_await as_result(task)), "future");
        EXPECT_TRUE(task.cancelled());
        EXPECT_EQ(task.cancelling(), 0u);
    });
}

TEST(AwaitFuture, OfAnotherLoopIsRefusedAnIterationLater) {  // T-34, S-25
    const auto other = VirtualTimeEventLoop::create();
    const auto foreign = other->create_future<int>();
    run_virtual([&]() -> Coroutine<> {
        Iterations iterations(get_running_loop());
        const auto r = co_await as_result(foreign);
        EXPECT_EQ(iterations.count(), 1);
        const std::string text = support::masked(support::error_text<RuntimeError>(r));
        EXPECT_NE(text.find("Task <Task pending name='Task-"), std::string::npos) << text;
        EXPECT_NE(text.find(" got Future <Future pending> attached to a different loop"),
                  std::string::npos)
            << text;
    });
    foreign.set_result(1);
    run_virtual([&]() -> Coroutine<> { EXPECT_EQ(co_await foreign, 1) << "done: not looked at"; });
}

TEST(AwaitFuture, OfAnotherLoopIsRefusedEvenIfItEndsMeanwhile) {  // T-34
    const auto other = VirtualTimeEventLoop::create();
    const auto foreign = other->create_future<int>();
    run_virtual([&]() -> Coroutine<> {
        get_running_loop().call_soon([&] { foreign.set_result(1); });
        const auto r = co_await as_result(foreign);
        EXPECT_TRUE(r.holds<RuntimeError>());
    });
}

TEST(AwaitFuture, OfAnotherLoopGivesWayToACancel) {
    const auto other = VirtualTimeEventLoop::create();
    const auto foreign = other->create_future<int>();
    run_virtual([&]() -> Coroutine<> {
        const auto task = create_task([&]() -> Coroutine<> { co_await foreign; });
        co_await sleep(0s);
        task.cancel();
        EXPECT_TRUE((co_await as_result(task)).holds<CancelledError>());
        EXPECT_FALSE(foreign.done());
    });
}

// ---- exceptions that nobody looks at -----------------------------------------------------------

class Unretrieved : public testing::Test {
  protected:
    std::unique_ptr<EventLoop> loop_ = VirtualTimeEventLoop::create();
    ErrorCapture errors_{*loop_};

    Future<> failed() const {
        const auto f = loop_->create_future();
        f.set_exception(ValueError("lost"));
        return f;
    }
};

TEST_F(Unretrieved, IsReportedWhenTheLastHandleGoes) {  // F-12, S-63
    Future<> f = failed();
    auto second = f;
    f = nullptr;
    EXPECT_EQ(errors_.lines(), Lines{});
    second = nullptr;
    EXPECT_EQ(errors_.lines(), (Lines{"Future exception was never retrieved: ValueError('lost')"}));
}

TEST_F(Unretrieved, IsNotReportedIfSomebodyLooked) {
    {
        const auto f = failed();
        EXPECT_THROW(f.result(), ValueError);
    }
    {
        const auto f = failed();
        (void)f.exception();
    }
    {
        const auto f = failed();
        EXPECT_FALSE(f.cancel()) << "counts as looking, as in CPython";
    }
    loop_->run_until_complete([this]() -> Coroutine<> {
        const auto r = co_await as_result(failed());
        EXPECT_TRUE(r.holds<ValueError>());
    });
    EXPECT_EQ(errors_.lines(), Lines{});
}

TEST_F(Unretrieved, CarriesTheFutureWhichMayBeKept) {
    AnyFuture kept;
    loop_->set_exception_handler([&](EventLoop& loop, const ExceptionContext& context) {
        EXPECT_EQ(&loop, loop_.get());
        kept = context.future;
    });
    {
        const auto f = failed();
    }
    EXPECT_TRUE(kept.done());
    EXPECT_TRUE(detail::holds<ValueError>(kept.exception()));
}

TEST_F(Unretrieved, IsReportedOnceEvenIfTheHandlerDropsIt) {
    int calls = 0;
    loop_->set_exception_handler([&](EventLoop&, const ExceptionContext&) { ++calls; });
    {
        const auto f = failed();
    }
    EXPECT_EQ(calls, 1);
}

TEST_F(Unretrieved, AfterTheLoopIsClosedStillReachesTheHandler) {
    auto f = failed();
    loop_->close();
    f = nullptr;
    EXPECT_EQ(errors_.lines().size(), 1u);
}

TEST_F(Unretrieved, AfterTheLoopIsGoneIsLogged) {
    const LogCapture log;
    auto f = failed();
    loop_.reset();
    f = nullptr;
    EXPECT_EQ(log.lines(), (Lines{"Future exception was never retrieved\nValueError: lost"}));
}

TEST_F(Unretrieved, CancelledFuturesAreNoErrors) {
    loop_->create_future().cancel();
    EXPECT_EQ(errors_.lines(), Lines{});
}

// ---- leaving the list (L27)
// ----------------------------------------------------------------------

TEST(Callbacks, MayBeRemovedInAnyOrder) {  // L27, F-09
    for (unsigned seed = 0; seed < 200; ++seed) {
        std::mt19937 random(seed);
        run_virtual([&]() -> Coroutine<> {
            const Future<int> f;
            std::vector<int> ran;
            std::vector<std::pair<CallbackId, int>> ids;
            std::vector<Task<>> tasks;
            std::vector<int> expected;
            for (int i = 0; i < 12; ++i) {
                if (random() % 4 == 0) {
                    // A task knows nothing of the node before it.
                    tasks.push_back(create_task([&ran, &f, i]() -> Coroutine<> {
                        (void)co_await f;
                        ran.push_back(i);
                    }));
                    co_await sleep(0s);
                } else {
                    const auto id =
                        f.add_done_callback([&ran, i](const AnyFuture&) { ran.push_back(i); });
                    ids.emplace_back(id, i);
                }
                expected.push_back(i);
                while (!ids.empty() && random() % 3 == 0) {
                    const std::size_t which = random() % ids.size();
                    EXPECT_EQ(f.remove_done_callback(ids[which].first), 1u);
                    EXPECT_EQ(f.remove_done_callback(ids[which].first), 0u);
                    std::erase(expected, ids[which].second);
                    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(which));
                }
            }
            f.set_result(1);
            co_await sleep(0s);
            for (const auto& t : tasks) co_await t;
            EXPECT_EQ(ran, expected) << seed;
        });
    }
}

TEST(Callbacks, ManyMayBeRemovedFromEitherEnd) {  // L27
    static constexpr int kMany = 100'000;
    const auto loop = VirtualTimeEventLoop::create();
    const auto f = loop->create_future<int>();
    for (const bool forwards : {true, false}) {
        std::vector<CallbackId> ids;
        for (int i = 0; i < kMany; ++i) ids.push_back(f.add_done_callback([](const AnyFuture&) {}));
        if (!forwards) std::reverse(ids.begin(), ids.end());
        const std::clock_t begin = std::clock();
        std::size_t removed = 0;
        for (const CallbackId id : ids) removed += f.remove_done_callback(id);
        EXPECT_LT(std::clock() - begin, 5 * CLOCKS_PER_SEC);
        EXPECT_EQ(removed, static_cast<std::size_t>(kMany));
    }
}

}  // namespace
