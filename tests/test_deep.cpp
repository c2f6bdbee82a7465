// The limits of stack and memory: a million awaits, chains of 100,000 frames and tasks, a million
// tasks at once. All with the default stack of 8 MiB, unoptimised and under the sanitizers too.
// ctest: timeout=300
#include <asyncio/coroutines.hpp>
#include <asyncio/tasks.hpp>

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

}  // namespace
