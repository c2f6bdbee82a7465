// The limits of stack and memory: a million awaits, chains of 100,000 frames and tasks, a million
// tasks at once. All with the default stack of 8 MiB, unoptimised and under the sanitizers too.
// ctest: timeout=300
// ctest: optimised
#include <asyncio/coroutines.hpp>
#include <asyncio/taskgroups.hpp>
#include <asyncio/tasks.hpp>
#include <asyncio/timeouts.hpp>
#include <asyncio/with.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using support::run_virtual;

constexpr int kDeep = 100'000;
constexpr int kMany = 1'000'000;

Coroutine<int> ready(int x) { co_return x & 1; }

Coroutine<int> many_awaits() {
    int sum = 0;
    for (int i = 0; i < kMany; ++i) sum += co_await ready(i);
    co_return sum;
}

TEST(Deep, AMillionAwaitsOfAReadyCoroutineUseNoStack) {  // AG-01
    EXPECT_EQ(run_virtual(many_awaits()), kMany / 2);
}

// Counts the frames that are alive by the objects in them.
struct Counted {
    static inline int alive = 0;
    static inline int last_destroyed = -1;
    static inline bool in_order = true;
    int depth;
    explicit Counted(int d) : depth(d) { ++alive; }
    Counted(const Counted&) = delete;
    Counted& operator=(const Counted&) = delete;
    ~Counted() {
        --alive;
        // Innermost first: depths go up as frames are unwound.
        if (depth <= last_destroyed) in_order = false;
        last_destroyed = depth;
    }
    static void reset() {
        alive = 0;
        last_destroyed = -1;
        in_order = true;
    }
};

// A chain of `depth` + 1 frames, each awaiting the next; the innermost (depth 0) waits for `f`.
Coroutine<int> chain(int depth, Future<int> f) {
    const Counted counted(depth);
    if (depth == 0) {
        const int value = co_await f;
        co_return value;
    }
    const int value = co_await chain(depth - 1, f);
    co_return value + 1;
}

struct ChainRun {
    std::unique_ptr<EventLoop> loop = VirtualTimeEventLoop::create();
    Future<int> future = loop->create_future<int>();
    Task<int> task = loop->create_task(chain(kDeep, future));

    ChainRun() {
        Counted::reset();
        while (Counted::alive <= kDeep) loop->run_once(0s);
    }
};

TEST(Deep, AChainOfSuspendedAwaitsRunsToItsEnd) {
    ChainRun run;
    run.future.set_result(1);
    EXPECT_EQ(run.loop->run_until_complete(run.task), kDeep + 1);
    EXPECT_EQ(Counted::alive, 0);
}

TEST(Deep, AChainOfSuspendedAwaitsIsThrownThrough) {
    ChainRun run;
    run.future.set_exception(ValueError("from the bottom"));
    EXPECT_EQ(support::raised<ValueError>([&] { run.loop->run_until_complete(run.task); }),
              "from the bottom");
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_TRUE(Counted::in_order);
}

TEST(Deep, AChainOfSuspendedAwaitsIsCancelled) {
    ChainRun run;
    EXPECT_TRUE(run.task.cancel("enough"));
    EXPECT_EQ(support::raised<CancelledError>([&] { run.loop->run_until_complete(run.task); }),
              "enough");
    EXPECT_TRUE(run.future.cancelled());
    EXPECT_EQ(Counted::alive, 0);
}

TEST(Deep, ClosingTheLoopDestroysAChainInnermostFirst) {
    ChainRun run;
    const support::LogCapture log;
    run.loop->close();
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_TRUE(Counted::in_order);
    EXPECT_NE(log.text().find("Task was destroyed but it is pending!"), std::string::npos);
}

Coroutine<int> recursive(int depth) {
    if (depth == 0) co_return 0;
    co_return co_await recursive(depth - 1) + 1;
}

TEST(Deep, RecursionThatNeverSuspendsUsesNoStack) {
    EXPECT_EQ(run_virtual(recursive(kDeep)), kDeep);
}

Coroutine<int> yielder(int i) {
    co_await sleep(0s);
    co_return i & 1;
}

Coroutine<int> many_tasks() {
    std::vector<Task<int>> tasks;
    tasks.reserve(kMany);
    for (int i = 0; i < kMany; ++i) tasks.push_back(create_task(yielder(i)));
    int sum = 0;
    for (const auto& t : tasks) sum += co_await t;
    co_return sum;
}

TEST(Deep, AMillionTasksAtOnce) { EXPECT_EQ(run_virtual(many_tasks()), kMany / 2); }

Coroutine<> forever() { co_await sleep(std::nullopt); }

Coroutine<int> cancel_many() {
    std::vector<Task<>> tasks;
    for (int i = 0; i < kDeep; ++i) tasks.push_back(create_task(forever()));
    co_await sleep(0s);
    for (const auto& t : tasks) t.cancel();
    int cancelled = 0;
    for (const auto& t : tasks) {
        const auto result = co_await as_result(t);
        if (result.holds<CancelledError>()) ++cancelled;
    }
    co_return cancelled;
}

TEST(Deep, AHundredThousandTasksCancelledAtOnce) { EXPECT_EQ(run_virtual(cancel_many()), kDeep); }

Coroutine<int> await_task(Task<int> inner) {
    const int value = co_await inner;
    co_return value + 1;
}

Coroutine<int> chain_of_tasks(bool cancel) {
    auto f = get_running_loop().create_future<int>();
    Task<int> last = create_task(chain(0, f));
    for (int i = 0; i < kDeep; ++i) last = create_task(await_task(last));
    co_await sleep(1s);
    if (cancel) {
        last.cancel();  // S-41: walks down 100,000 tasks
    } else {
        f.set_result(0);
    }
    const auto result = co_await as_result(last);
    co_return cancel ? (result.holds<CancelledError>() ? -1 : 0) : result.value();
}

TEST(Deep, AChainOfTasksThatAwaitEachOther) {
    EXPECT_EQ(run_virtual(chain_of_tasks(false)), kDeep);
}

TEST(Deep, AChainOfTasksIsCancelledWithoutRecursion) {
    EXPECT_EQ(run_virtual(chain_of_tasks(true)), -1);
}

TEST(Deep, ClosingTheLoopWithAHundredThousandWaitersOfOneFuture) {
    const auto loop = VirtualTimeEventLoop::create();
    auto f = loop->create_future<int>();
    Counted::reset();
    std::vector<Task<int>> tasks;
    for (int i = 0; i < kDeep; ++i) tasks.push_back(loop->create_task(chain(0, f)));
    loop->run_once(0s);
    ASSERT_EQ(Counted::alive, kDeep);
    const support::ErrorCapture errors(*loop);
    loop->close();
    EXPECT_EQ(Counted::alive, 0);
    EXPECT_EQ(errors.lines().size(), static_cast<std::size_t>(kDeep));
}

// ---- nested gathers, shields, groups (L13)
// -------------------------------------------------------

Coroutine<> gather_down(int depth) {
    if (depth == 0) {
        co_await sleep(std::nullopt);
    } else {
        co_await gather(gather_down(depth - 1));
    }
}

TEST(Deep, NestedGathersAreCancelledWithoutRecursion) {  // L13
    run_virtual([]() -> Coroutine<> {
        const auto outermost = create_task(gather_down(kDeep));
        co_await sleep(1s);
        EXPECT_TRUE(outermost.cancel());
        EXPECT_TRUE((co_await as_result(outermost)).holds<CancelledError>());
        EXPECT_EQ(all_tasks().size(), 1u);
    });
}

// `depth` of what `wrap` makes of a future, around `innermost`.
template <class F>
AnyFuture nested(AnyFuture innermost, int depth, F wrap) {
    for (int i = 0; i < depth; ++i) innermost = wrap(std::move(innermost));
    return innermost;
}

const auto kGatherOne = [](AnyFuture f) -> AnyFuture {
    std::vector<AnyFuture> one;
    one.push_back(std::move(f));
    return gather(std::move(one));
};
const auto kShieldOne = [](AnyFuture f) -> AnyFuture { return shield(std::move(f)); };

TEST(Deep, NestedGathersOfFuturesAreCancelledAndDroppedWithoutRecursion) {  // L13
    run_virtual([]() -> Coroutine<> {
        const Future<> innermost;
        AnyFuture outermost = nested(innermost, kDeep, kGatherOne);
        EXPECT_TRUE(outermost.cancel());
        EXPECT_TRUE(innermost.cancelled());
        EXPECT_TRUE((co_await as_result(outermost)).holds<CancelledError>());
        outermost = nullptr;
        // Dropped while it is pending.
        const Future<> pending;
        nested(pending, kDeep, kGatherOne) = nullptr;
        EXPECT_EQ(repr(pending), "<Future pending>");
    });
}

TEST(Deep, NestedShieldsAreCancelledAndDroppedWithoutRecursion) {  // L13
    run_virtual([]() -> Coroutine<> {
        const Future<> innermost;
        AnyFuture outermost = nested(innermost, kDeep, kShieldOne);
        EXPECT_TRUE(outermost.cancel());
        outermost = nullptr;
        co_await sleep(1s);
        EXPECT_FALSE(innermost.done());
        nested(innermost, kDeep, kShieldOne) = nullptr;
        // One that ends, with all of them alive.
        AnyFuture whole = nested(innermost, kDeep, kShieldOne);
        innermost.set_result();
        co_await whole;
        EXPECT_TRUE(whole.done());
    });
}

enum class By { kWaitFor, kWait, kAsCompleted, kShield, kGroup };

Coroutine<> nest(int depth, By by);

Coroutine<> nest_in_group(TaskGroup& group, int depth) {
    group.create_task(nest(depth - 1, By::kGroup));
    co_return;
}

Coroutine<> nest(int depth, By by) {
    if (depth == 0) {
        co_await sleep(std::nullopt);
        co_return;
    }
    if (by == By::kGroup) {
        auto body = [depth](TaskGroup& group) { return nest_in_group(group, depth); };
        co_await with(TaskGroup{}, body);
        co_return;
    }
    const auto inner = create_task(nest(depth - 1, by));
    if (by == By::kWaitFor) co_await wait_for(inner, 1h);
    if (by == By::kShield) co_await shield(inner);
    if (by == By::kWait) (void)co_await wait(inner);
    if (by == By::kAsCompleted) {
        auto items = as_completed(std::vector{inner});
        (void)co_await items.next();
    }
}

TEST(Deep, OtherNestsOfTasksAreCancelledWithoutRecursion) {  // L13
    for (const By by : {By::kWaitFor, By::kWait, By::kAsCompleted, By::kShield, By::kGroup}) {
        const auto loop = VirtualTimeEventLoop::create();
        loop->set_exception_handler([](EventLoop&, const ExceptionContext&) {});
        loop->run_until_complete([by]() -> Coroutine<> {
            const auto outermost = create_task(nest(kDeep, by));
            co_await sleep(1s);
            EXPECT_TRUE(outermost.cancel());
            EXPECT_TRUE((co_await as_result(outermost)).holds<CancelledError>());
            // wait_for and TaskGroup take what is inside with them.
            const bool all = by == By::kWaitFor || by == By::kGroup;
            EXPECT_EQ(all_tasks().size() == 1, all);
        });
        loop->close();
    }
}

Coroutine<> fail_in_groups(int depth) {
    if (depth == 0) throw ValueError("innermost");
    auto body = [depth](TaskGroup& group) -> Coroutine<> {
        group.create_task(fail_in_groups(depth - 1));
        co_return;
    };
    co_await with(TaskGroup{}, body);
}

TEST(Deep, ANestOfExceptionGroupsIsDroppedWithoutRecursion) {  // L13
    run_virtual([]() -> Coroutine<> {
        Result<void> r = co_await as_result(create_task(fail_in_groups(kDeep)));
        EXPECT_TRUE(r.holds<ExceptionGroup>());
    });
}

}  // namespace
