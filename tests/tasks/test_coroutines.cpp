// coroutines.hpp: AG-01, AG-02, T-32, T-34, and what C++ adds: references, move-only results,
// callables, awaiters of other libraries, as_result.
// ctest: optimised
#include <asyncio/coroutines.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <coroutine>
#include <cstddef>
#include <memory>
#include <sstream>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::raised;
using support::run_virtual;

// ---- layout, which debuggers and tools rely on ----

static_assert(sizeof(detail::PromiseBase) == 16);
static_assert(std::is_same_v<decltype(detail::PromiseBase::link), std::uintptr_t>);
static_assert(sizeof(detail::TaskBase) <= 104);

Coroutine<int> plain() { co_return 1; }

TEST(PromiseLayout, FollowsTheTwoFunctionPointersOfTheFrame) {
    auto coroutine = plain();
    detail::PromiseOf<int>* promise = coroutine.release();
    auto handle = promise->handle();
    EXPECT_EQ(static_cast<char*>(handle.address()) + 2 * sizeof(void*),
              reinterpret_cast<char*>(static_cast<detail::PromiseBase*>(promise)));
    auto typed =
        std::coroutine_handle<Coroutine<int>::promise_type>::from_address(handle.address());
    EXPECT_EQ(static_cast<detail::PromiseBase*>(&typed.promise()),
              static_cast<detail::PromiseBase*>(promise));
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(promise) % 16, 0u);  // link keeps 4 bits of state
    handle.destroy();
}

// ---- concepts ----

struct Nothing {};

TEST(Concepts, TellWhatMayBeAwaited) {  // T-32, T-34, F-13: checked when this is compiled
    static_assert(Awaitable<Coroutine<int>>);
    static_assert(Awaitable<Task<int>&> && Awaitable<const Future<std::string>&>);
    static_assert(Awaitable<Coroutine<int> (*)()>);
    static_assert(!Awaitable<int> && !Awaitable<Nothing> && !Awaitable<int (*)()>);
    static_assert(CoroutineLike<Coroutine<int>> && !CoroutineLike<Task<int>>);
    static_assert(FutureLike<Task<int>> && FutureLike<AnyFuture> && !FutureLike<Coroutine<int>>);
    static_assert(std::is_same_v<await_result_t<Coroutine<int&>>, int&>);
    static_assert(std::is_same_v<await_result_t<Task<void>&>, void>);
    static_assert(!std::is_copy_constructible_v<Coroutine<int>>);
    SUCCEED();
}

// ---- calls ----

Coroutine<> record(std::vector<int>& order, int n) {
    order.push_back(n);
    co_return;
}

TEST(Coroutine, IsLazyAndRunsAtOnceWhenAwaited) {  // AG-01
    run_virtual([]() -> Coroutine<> {
        std::vector<int> order;
        get_running_loop().call_soon([&] { order.push_back(9); });
        auto c = record(order, 1);
        EXPECT_TRUE(order.empty());
        co_await c;
        co_await record(order, 2);
        EXPECT_EQ(order, (std::vector<int>{1, 2}));
        co_await sleep(0s);
        EXPECT_EQ(order, (std::vector<int>{1, 2, 9}));
    });
}

TEST(Coroutine, PrintsAsPythonDoes) {
    auto c = plain();
    EXPECT_TRUE(c.repr().starts_with("<coroutine object plain at 0x")) << c.repr();
    EXPECT_EQ(asyncio::repr(c), c.repr());
    std::ostringstream out;
    out << c;
    EXPECT_EQ(out.str(), c.repr());
    c.close();
    EXPECT_EQ(c.repr(), "<coroutine object (awaited)>");
}

TEST(Coroutine, IsAwaitedOnce) {
    run_virtual([]() -> Coroutine<> {
        auto c = plain();
        EXPECT_EQ(co_await c, 1);
        auto again = co_await as_result(c);
        EXPECT_EQ(support::error_text<RuntimeError>(again),
                  "cannot reuse already awaited coroutine");
        EXPECT_EQ(raised<RuntimeError>([&] { create_task(c); }),
                  "cannot reuse already awaited coroutine");
    });
}

struct NoDefault {
    explicit NoDefault(int v) : value(v) {}
    int value;
};

Coroutine<int&> reference_to(int& x) {
    co_await sleep(1s);
    co_return x;
}
Coroutine<std::unique_ptr<int>> move_only(int x) {
    co_await sleep(1s);
    co_return std::make_unique<int>(x);
}
Coroutine<NoDefault> no_default(int x) {
    co_await sleep(1s);
    co_return NoDefault(x);
}

TEST(Coroutine, GivesReferencesMoveOnlyAndNonDefaultConstructibleResults) {
    run_virtual([]() -> Coroutine<> {
        int x = 1;
        int& r = co_await reference_to(x);
        EXPECT_EQ(&r, &x);
        EXPECT_EQ(*co_await move_only(2), 2);
        EXPECT_EQ((co_await no_default(3)).value, 3);
        auto task = create_task(reference_to(x));
        EXPECT_EQ(&(co_await task), &x);
        auto owner = create_task(move_only(4));
        const auto& kept = co_await owner;
        EXPECT_EQ(*kept, 4);
        auto taken = co_await std::move(owner);
        EXPECT_EQ(*taken, 4);
        auto n = create_task(no_default(5));
        EXPECT_EQ((co_await n).value, 5);
    });
}

TEST(Coroutine, ItsParametersGoWhenItsTaskEnds) {
    run_virtual([]() -> Coroutine<> {
        auto object = std::make_shared<int>(1);
        auto hold = [](std::shared_ptr<int> p) -> Coroutine<int> {
            co_await sleep(1s);
            co_return *p;
        };
        auto task = create_task(hold(object));
        EXPECT_EQ(object.use_count(), 2);
        co_await task;
        EXPECT_EQ(object.use_count(), 1);  // though the task's handle is here
    });
}

TEST(Coroutine, ACallableLivesAsLongAsItsCoroutine) {
    run_virtual([]() -> Coroutine<> {
        auto object = std::make_shared<int>(7);
        Task<int> task;
        {
            auto work = [object]() -> Coroutine<int> {
                co_await sleep(1s);
                co_return *object;
            };
            task = create_task(callable(std::move(work)));
        }
        EXPECT_EQ(co_await task, 7);
        EXPECT_EQ(object.use_count(), 1);
    });
}

TEST(Make, MakesAggregatesForUseInsideCoAwait) {
    struct Job {
        std::string name;
        int size;
    };
    run_virtual([]() -> Coroutine<> {
        auto take = [](Job job) -> Coroutine<std::string> {
            co_await sleep(0s);
            co_return job.name + std::to_string(job.size);
        };
        EXPECT_EQ(co_await take(make<Job>("a name that is not short", 20)),
                  "a name that is not short20");
    });
}

// ---- awaiters of other libraries ----

struct Switch {  // resumed by hand, on the loop's thread
    std::coroutine_handle<> waiting;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> h) { waiting = h; }
    int await_resume() const { return 5; }
};

struct ReadyBool {
    bool await_ready() const { return false; }
    bool await_suspend(std::coroutine_handle<>) const { return false; }
    int await_resume() const { return 6; }
};

struct HasOperator {
    ReadyBool operator co_await() const { return {}; }
};

struct BackToCaller {
    bool await_ready() const { return false; }
    std::coroutine_handle<> await_suspend(std::coroutine_handle<> h) const { return h; }
    int await_resume() const { return 7; }
};

TEST(ForeignAwaiter, QueuesTheTasksStep) {
    run_virtual([]() -> Coroutine<> {
        Switch s;
        bool woken = false;
        get_running_loop().call_later(1s, [&] {
            s.waiting.resume();
            EXPECT_FALSE(woken);  // not in the middle of the callback
        });
        EXPECT_EQ(co_await s, 5);
        woken = true;
        EXPECT_EQ(co_await ReadyBool(), 6);
        EXPECT_EQ(co_await HasOperator(), 6);
        EXPECT_EQ(co_await BackToCaller(), 7);
        EXPECT_EQ(co_await create_task(HasOperator()), 6);
    });
}

TEST(ForeignAwaiter, ACancelWaitsUntilItResumes) {
    run_virtual([]() -> Coroutine<> {
        Switch s;
        auto wait_for_it = [&]() -> Coroutine<int> { co_return co_await s; };
        auto task = create_task(wait_for_it);
        co_await sleep(0s);
        EXPECT_TRUE(task.cancel("stop"));
        co_await sleep(1s);
        EXPECT_FALSE(task.done());
        s.waiting.resume();
        const auto result = co_await as_result(task);
        EXPECT_EQ(support::error_text<CancelledError>(result), "stop");
    });
}

// ---- as_result ----

Coroutine<int> failing() {
    co_await sleep(1s);
    throw ValueError("bad");
}

TEST(AsResult, GivesValuesAndErrorsOfEveryAwaitable) {
    run_virtual([]() -> Coroutine<> {
        auto value = co_await as_result(plain());
        EXPECT_TRUE(value.has_value());
        EXPECT_EQ(value.value(), 1);
        EXPECT_EQ(value.error(), nullptr);
        auto error = co_await as_result(failing());
        EXPECT_FALSE(error.has_value());
        EXPECT_TRUE(error.holds<ValueError>() && error.holds<std::exception>());
        EXPECT_FALSE(error.holds<CancelledError>());
        EXPECT_EQ(raised<ValueError>([&] { (void)error.value(); }), "bad");
        auto task = create_task(failing());
        EXPECT_TRUE((co_await as_result(task)).holds<ValueError>());
        auto nothing = co_await as_result(sleep(1s));
        static_assert(std::is_same_v<decltype(nothing), Result<void>>);
        EXPECT_TRUE(nothing.has_value());
        EXPECT_EQ(*(co_await as_result(move_only(3))).value(), 3);
        auto by_callable = co_await as_result([] { return plain(); });
        EXPECT_EQ(by_callable.value(), 1);
    });
}

TEST(AsResult, HoldsTheCancelAlreadyDueWhileWaitingAndInTheSameTick) {
    run_virtual([]() -> Coroutine<> {
        auto body = [](Future<int> f) -> Coroutine<bool> {
            auto r = co_await as_result(f);
            co_return r.holds<CancelledError>();
        };
        auto f = get_running_loop().create_future<int>();
        auto waiting = create_task(body(f));
        co_await sleep(0s);
        waiting.cancel();
        EXPECT_TRUE(co_await waiting);

        auto g = get_running_loop().create_future<int>();
        auto same_tick = create_task(body(g));
        co_await sleep(0s);
        g.set_result(1);
        same_tick.cancel();
        EXPECT_TRUE(co_await same_tick);  // S-44
        EXPECT_EQ(g.result(), 1);

        auto before = create_task(body(get_running_loop().create_future<int>()));
        before.cancel();
        auto r = co_await as_result(before);
        EXPECT_TRUE(r.holds<CancelledError>());  // S-43: the body never ran
    });
}

}  // namespace
