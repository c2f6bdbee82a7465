// The steps of a loop, counted while somebody asks for it: what a tool finds, and that it ends.
#include "tasks/step_counts.hpp"

#include <gtest/gtest.h>
#include <asyncio.hpp>

#include <algorithm>
#include <limits>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "loop/loop.hpp"
#include "os/posix.hpp"
#include "support.hpp"

namespace asyncio::inline v1::detail {

// What a tool reads from outside.
struct OfThisTest;
template <>
struct DebugLayout<OfThisTest> {
    static const StepCounts* counts(EventLoop& loop) {
        return static_cast<const StepCounts*>(of(loop).step_counter_.get());
    }
    static Loop& of(EventLoop& loop) {
        Loop* found = loop_list.first;
        while (found && found->loop != &loop) found = found->following_loop;
        return *found;
    }
    static std::uint64_t steps(const StepCounts& c) { return c.steps_; }
    static std::uint64_t busy(const StepCounts& c) { return c.busy_; }
    static std::uint64_t longest(const StepCounts& c) { return c.longest_; }
    static std::uint64_t idle(const StepCounts& c) { return c.idle_; }
    static std::uint64_t late(const StepCounts& c) {
        std::uint64_t all = 0;
        for (const std::uint64_t n : c.late_) all += n;
        return all;
    }
    // By the number of the task.
    static std::map<std::uintptr_t, StepCount> tasks(const StepCounts& c) {
        std::map<std::uintptr_t, StepCount> found;
        for (const StepCount& count : c.tasks_) {
            if (count.task) found.emplace(count.name, count);
        }
        return found;
    }
    static std::uintptr_t name(const AnyTask& task) {
        return static_cast<const TaskBase&>(*task.state()).name_;
    }
};

}  // namespace asyncio::inline v1::detail

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using Seen = asyncio::detail::DebugLayout<asyncio::detail::OfThisTest>;
using asyncio::detail::watch_until;

// Asks for counting while it lives.
class Asked {
  public:
    explicit Asked(std::chrono::nanoseconds how_long = 30s) {
        watch_until.store(asyncio::detail::monotonic_ns() + how_long.count());
    }
    Asked(const Asked&) = delete;
    Asked& operator=(const Asked&) = delete;
    ~Asked() { watch_until.store(0); }
};

const asyncio::detail::StepCounts* counts() { return Seen::counts(get_running_loop()); }

Coroutine<> yields(int n) {
    for (int i = 0; i < n; ++i) co_await sleep(0s);
}

// A loop whose tasks never wait sees what is asked for after 1,024 iterations at most.
template <class F>
Coroutine<> soon(F so) {
    for (int i = 0; i < 1100 && !so(); ++i) co_await sleep(0s);
}
Coroutine<> begun() {
    co_await soon([] { return counts() != nullptr; });
    EXPECT_NE(counts(), nullptr);
    if (!counts()) throw std::runtime_error("nothing is counted");
}

class StepCounts : public testing::TestWithParam<bool> {
  protected:
    // Runs it on a loop of real or of virtual time.
    void run(Coroutine<> main) {
        const auto loop = new_loop();
        loop->run_until_complete(std::move(main));
        loop->close();
    }
    static std::unique_ptr<EventLoop> new_loop() {
        return GetParam() ? VirtualTimeEventLoop::create() : new_event_loop();
    }
};

TEST_P(StepCounts, AreNoneUntilSomebodyAsks) {
    run([]() -> Coroutine<> {
        co_await yields(10);
        EXPECT_EQ(counts(), nullptr);
    }());
}

TEST_P(StepCounts, TellHowOftenEachTaskRan) {
    run([]() -> Coroutine<> {
        const Asked asked;
        co_await begun();
        const auto* const c = counts();
        const auto five = create_task(yields(5));
        const auto ten = create_task(yields(10));
        const auto before = Seen::steps(*c);
        co_await gather(five, ten);
        const auto tasks = Seen::tasks(*c);
        EXPECT_EQ(tasks.at(Seen::name(five)).steps, 6u);  // the first one, and one for each sleep
        EXPECT_EQ(tasks.at(Seen::name(ten)).steps, 11u);
        EXPECT_GE(Seen::steps(*c) - before, 17u);
        EXPECT_GT(Seen::busy(*c), 0u);
        EXPECT_LE(tasks.at(Seen::name(ten)).busy, Seen::busy(*c));
        EXPECT_LE(tasks.at(Seen::name(ten)).longest, Seen::longest(*c));
        EXPECT_GE(tasks.at(Seen::name(ten)).longest * 11, tasks.at(Seen::name(ten)).busy);
    }());
}

TEST_P(StepCounts, EndWithTheTimeThatWasAskedFor) {
    run([]() -> Coroutine<> {
        watch_until.store(asyncio::detail::monotonic_ns() + 200'000'000);
        co_await begun();
        while (asyncio::detail::monotonic_ns() <= watch_until.load()) co_await sleep(0s);
        co_await soon([] { return counts() == nullptr; });
        EXPECT_EQ(counts(), nullptr);
        EXPECT_EQ(watch_until.load(), 0);  // so that nobody looks at the clock for it any more
    }());
}

TEST_P(StepCounts, AreNotBegunByATimeThatNoToolWrites) {
    run([]() -> Coroutine<> {
        const std::int64_t now = asyncio::detail::monotonic_ns();
        for (const std::int64_t until :
             {now - 1, now + 3'600'000'000'000, std::int64_t{1}, std::int64_t{-1},
              std::numeric_limits<std::int64_t>::max(), std::numeric_limits<std::int64_t>::min()}) {
            watch_until.store(until);
            co_await soon([] { return watch_until.load() == 0; });
            EXPECT_EQ(counts(), nullptr) << until;
            EXPECT_EQ(watch_until.load(), 0) << until;
        }
    }());
}

TEST_P(StepCounts, BeginAnewWhenAskedForAgain) {
    run([]() -> Coroutine<> {
        for (int i = 0; i < 3; ++i) {
            {
                const Asked asked;
                co_await begun();
            }
            co_await soon([] { return counts() == nullptr; });
            EXPECT_EQ(counts(), nullptr);
        }
    }());
}

TEST_P(StepCounts, ChangeNoOrder) {
    const auto order = [](bool asked) -> Coroutine<std::string> {
        std::optional<Asked> asking;
        if (asked) {
            asking.emplace();
            co_await begun();
        }
        std::string text;
        const auto work = [&text](char name) -> Coroutine<> {
            for (int i = 0; i < 5; ++i) {
                text += name;
                co_await sleep(i % 2 ? 0s : 1ms);
            }
        };
        auto& loop = get_running_loop();
        loop.call_soon([&] { text += 's'; });
        const auto a = create_task(work('a')), b = create_task(work('b'));
        loop.call_later(1ms, [&] { text += 'l'; });
        co_await gather(a, b);
        co_return text;
    };
    std::string with, without;
    run([](auto& order, std::string& with, std::string& without) -> Coroutine<> {
        without = co_await order(false);
        with = co_await order(true);
    }(order, with, without));
    // Timers of a real clock come when they come.
    if (GetParam()) {
        EXPECT_EQ(with, without);
    } else {
        EXPECT_EQ(with.size(), without.size());
    }
}

TEST_P(StepCounts, TellHowLateTimersCame) {
    run([]() -> Coroutine<> {
        const Asked asked;
        co_await begun();
        for (int i = 0; i < 5; ++i) co_await sleep(1ms);
        EXPECT_GE(Seen::late(*counts()), 5u);
    }());
}

TEST_P(StepCounts, OfMoreTasksThanThereAreBoundedAndRight) {
    run([]() -> Coroutine<> {
        const Asked asked;
        co_await begun();
        std::vector<Task<>> tasks;
        for (int i = 0; i < 10'000; ++i) tasks.push_back(create_task(yields(3)));
        for (const auto& task : tasks) co_await task;
        const auto seen = Seen::tasks(*counts());
        EXPECT_LE(seen.size(), asyncio::detail::StepCounts::kTasks);
        EXPECT_GT(seen.size(), asyncio::detail::StepCounts::kTasks / 2);
        for (const auto& [name, count] : seen) EXPECT_GE(count.steps, 1u);
        EXPECT_GE(Seen::steps(*counts()), 40'000u);
    }());
}

TEST_P(StepCounts, StayWhereAnExceptionLeavesTheLoop) {
    const Asked asked;
    const auto loop = new_loop();
    loop->call_soon([] { throw SystemExit(3); });
    EXPECT_THROW(loop->run_forever(), SystemExit);
    loop->run_until_complete(begun());
    loop->close();
}

TEST_P(StepCounts, GoWithDebugMode) {
    const auto loop = new_loop();
    loop->set_debug(true);
    loop->run_until_complete([]() -> Coroutine<> {
        const Asked asked;
        co_await begun();
        co_await yields(2);
        EXPECT_GE(Seen::steps(*counts()), 2u);
    }());
    loop->close();
}

INSTANTIATE_TEST_SUITE_P(Of, StepCounts, testing::Bool(),
                         [](const auto& info) { return info.param ? "VirtualTime" : "RealTime"; });

TEST(StepCountsOfARealClock, TellHowLongTheLoopSlept) {
    asyncio::run([]() -> Coroutine<> {
        const Asked asked;
        co_await begun();
        co_await sleep(20ms);
        EXPECT_GT(Seen::idle(*counts()), Seen::busy(*counts()));
    }());
}

// A task that has got the memory of one that was counted begins at nothing.
TEST(StepCountsOfARealClock, ATaskInAnothersPlaceInheritsNothing) {
    asyncio::run([]() -> Coroutine<> {
        const Asked asked;
        co_await begun();
        for (int i = 0; i < 100; ++i) {
            const auto task = create_task(yields(2));
            co_await task;
            EXPECT_EQ(Seen::tasks(*counts()).at(Seen::name(task)).steps, 3u);
        }
    }());
}

}  // namespace
