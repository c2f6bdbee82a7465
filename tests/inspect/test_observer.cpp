// Who is told of the steps and tasks of a loop, and the figures of all loops.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>
#include <asyncio.hpp>
#include <asyncio/inspect.hpp>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using inspect::Observer;
using inspect::Outcome;
using inspect::Subscription;
using inspect::TaskInfo;

using Lines = std::vector<std::string>;

const char* text_of(Outcome outcome) {
    switch (outcome) {
        case Outcome::RETURNED:
            return "returned";
        case Outcome::RAISED:
            return "raised";
        case Outcome::CANCELLED:
            return "cancelled";
    }
    return "?";
}

// Writes down what it is told.
struct Writer : Observer {
    void task_made(const TaskInfo& task, const TaskInfo* maker) noexcept override {
        lines.push_back(task.name() + " made by " + (maker ? maker->name() : "nobody"));
    }
    void step_begins(const TaskInfo& task) noexcept override {
        lines.push_back(task.name() + " begins");
    }
    void step_ends(const TaskInfo& task, Duration took) noexcept override {
        EXPECT_GE(took, 0ns);
        longest = std::max(longest, took);
        lines.push_back(task.name() + " ends");
        if (then) std::exchange(then, nullptr)();
    }
    void task_ended(const TaskInfo& task, Outcome outcome) noexcept override {
        lines.push_back(task.name() + ' ' + text_of(outcome));
    }
    void loop_waits(EventLoop&) noexcept override { ++waits; }
    void loop_woke(EventLoop&, Duration slept) noexcept override {
        ++wakes;
        asleep += slept;
    }

    Lines lines;
    Duration longest{};
    Duration asleep{};
    int waits = 0;
    int wakes = 0;
    std::function<void()> then;  // once, at the end of a step
};

Coroutine<> nothing() { co_return; }
Coroutine<> yields() { co_await sleep(0s); }
Coroutine<> raises() {
    co_await sleep(0s);
    throw ValueError("no");
}
Coroutine<> sleeps() { co_await sleep(1h); }

TEST(Observer, IsToldOfTasksAndStepsInTheirOrder) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer writer;
    const Subscription watching = inspect::observe(loop, writer);
    loop.run_until_complete(loop.create_task(
        []() -> Coroutine<> {
            auto child = create_task(yields(), {.name = "child"});
            co_await child;
        }(),
        {.name = "main"}));
    EXPECT_EQ(writer.lines,
              (Lines{"main made by nobody", "main begins", "child made by main", "main ends",
                     "child begins", "child ends", "child begins", "child ends", "child returned",
                     "main begins", "main ends", "main returned"}));
}

TEST(Observer, IsToldHowTasksEnd) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer writer;
    const Subscription watching = inspect::observe(loop, writer);
    loop.run_until_complete([]() -> Coroutine<> {
        auto failing = create_task(raises(), {.name = "failing"});
        auto cancelled = create_task(sleeps(), {.name = "cancelled"});
        auto unbegun = create_task(sleeps(), {.name = "unbegun"});
        unbegun.cancel();
        co_await sleep(0s);
        cancelled.cancel();
        co_await wait(failing, cancelled, unbegun);
        (void)failing.exception();
    });
    const auto has = [&](const std::string& line) {
        return std::count(writer.lines.begin(), writer.lines.end(), line);
    };
    EXPECT_EQ(has("failing raised"), 1);
    EXPECT_EQ(has("cancelled cancelled"), 1);
    EXPECT_EQ(has("unbegun cancelled"), 1);
    EXPECT_EQ(has("unbegun begins"), has("unbegun ends"));
}

TEST(Observer, IsToldOfTheEndOfTasksThatWereThereBefore) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer writer;
    loop.run_until_complete([&]() -> Coroutine<> {
        auto before = create_task(yields(), {.name = "before"});
        co_await sleep(0s);
        {
            const Subscription watching = inspect::observe(get_running_loop(), writer);
            co_await before;
        }
        co_await create_task(yields(), {.name = "after"});
    });
    EXPECT_EQ(writer.lines.back().find("after"), std::string::npos);
    EXPECT_EQ(writer.lines,
              (Lines{"before begins", "before ends", "before returned", writer.lines.back()}));
}

TEST(Observer, AnEagerFirstStepIsPartOfItsMakers) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer writer;
    const Subscription watching = inspect::observe(loop, writer);
    loop.run_until_complete(loop.create_task(
        []() -> Coroutine<> {
            create_task(nothing(), {.name = "eager", .eager_start = true});
            co_return;
        }(),
        {.name = "main"}));
    EXPECT_EQ(writer.lines, (Lines{"main made by nobody", "main begins", "eager made by main",
                                   "eager returned", "main ends", "main returned"}));
}

TEST(Observer, TaskFactoriesAreCalledToo) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer writer;
    int calls = 0;
    loop.set_task_factory([&](EventLoop&, TaskOptions& options) {
        ++calls;
        options.name = "by factory";
    });
    {
        const Subscription watching = inspect::observe(loop, writer);
        loop.run_until_complete(nothing());
    }
    EXPECT_EQ(calls, 1);
    EXPECT_EQ(writer.lines.front(), "by factory made by nobody");
    loop.run_until_complete(nothing());
    EXPECT_EQ(calls, 2);
    loop.set_task_factory(nullptr);
    loop.run_until_complete(nothing());
    EXPECT_EQ(calls, 2);
}

TEST(Observer, SeveralAreToldInTheOrderTheyCame) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer first;
    Writer second;
    Lines all;
    const Subscription one = inspect::observe(loop, first);
    std::optional<Subscription> two = inspect::observe(loop, second);
    loop.run_until_complete(loop.create_task(yields(), {.name = "t"}));
    EXPECT_EQ(first.lines, second.lines);
    two.reset();
    loop.run_until_complete(loop.create_task(yields(), {.name = "u"}));
    EXPECT_GT(first.lines.size(), second.lines.size());
}

TEST(Observer, MayEndItsSubscriptionInTheMiddleOfACall) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer first;
    Writer second;
    std::optional<Subscription> one = inspect::observe(loop, first);
    const Subscription two = inspect::observe(loop, second);
    first.then = [&] { one.reset(); };
    loop.run_until_complete(loop.create_task(yields(), {.name = "t"}));
    EXPECT_EQ(first.lines, (Lines{"t made by nobody", "t begins", "t ends"}));
    EXPECT_EQ(second.lines.back(), "t returned");
}

TEST(Observer, MayEndTheNextOnesSubscription) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer first;
    Writer second;
    const Subscription one = inspect::observe(loop, first);
    std::optional<Subscription> two = inspect::observe(loop, second);
    first.then = [&] { two.reset(); };
    loop.run_until_complete(loop.create_task(yields(), {.name = "t"}));
    EXPECT_EQ(second.lines, (Lines{"t made by nobody", "t begins"}));
    EXPECT_EQ(first.lines.back(), "t returned");
}

TEST(Observer, MayMakeTasks) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer writer;
    const Subscription watching = inspect::observe(loop, writer);
    writer.then = [&] { loop.create_task(nothing(), {.name = "made"}); };
    loop.run_until_complete(loop.create_task(yields(), {.name = "t"}));
    EXPECT_NE(std::find(writer.lines.begin(), writer.lines.end(), "made made by nobody"),
              writer.lines.end());
    EXPECT_NE(std::find(writer.lines.begin(), writer.lines.end(), "made returned"),
              writer.lines.end());
}

TEST(Observer, SeesWhereATaskWillGoOn) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    struct Places final : Observer {
        void step_begins(const TaskInfo& task) noexcept override {
            places.push_back(task.where().line());
            defined = task.place().line();
            EXPECT_NE(task.id(), 0u);
        }
        std::vector<unsigned> places;
        unsigned defined = 0;
    } places;
    const Subscription watching = inspect::observe(loop, places);
    const unsigned line = std::source_location::current().line();
    loop.run_until_complete([]() -> Coroutine<> {
        co_await sleep(0s);
        co_await sleep(0s);
    }());
    EXPECT_EQ(places.places, (std::vector<unsigned>{places.defined, line + 2, line + 3}));
}

TEST(Observer, IsToldOfSleepsAndLongSteps) {
    auto loop = new_event_loop();
    Writer writer;
    const Subscription watching = inspect::observe(*loop, writer);
    loop->run_until_complete([]() -> Coroutine<> {
        co_await sleep(20ms);
        std::this_thread::sleep_for(10ms);  // a step that takes long
    });
    EXPECT_GE(writer.longest, 10ms);
    EXPECT_GE(writer.asleep, 15ms);
    EXPECT_GE(writer.waits, 1);
    EXPECT_EQ(writer.waits, writer.wakes);
}

TEST(Observer, OfAClosedLoopIsRefused) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    loop.close();
    Writer writer;
    EXPECT_THROW((void)inspect::observe(loop, writer), RuntimeError);
}

TEST(Observer, OnAnotherThreadIsRefused) {
    auto loop = new_event_loop();
    Writer writer;
    loop->run_until_complete([&]() -> Coroutine<> {
        co_await to_thread(
            [&] { EXPECT_THROW((void)inspect::observe(*loop, writer), RuntimeError); });
    });
}

TEST(Observer, MayOutliveItsLoop) {
    Writer writer;
    Subscription watching;
    {
        const auto owned = VirtualTimeEventLoop::create();
        EventLoop& loop = *owned;
        watching = inspect::observe(loop, writer);
        loop.run_until_complete(yields());
        loop.create_task(sleeps());
        loop.run_until_complete(yields());
    }
    const std::size_t before = writer.lines.size();
    watching = Subscription();
    EXPECT_EQ(writer.lines.size(), before);
}

TEST(Observer, EndsOnAnotherThread) {
    auto loop = new_event_loop();
    struct Counts final : Observer {
        void step_begins(const TaskInfo&) noexcept override { ++steps; }
        std::atomic<int> steps{0};
    } counts;
    Subscription watching = inspect::observe(*loop, counts);
    int after = 0;
    loop->run_until_complete([&]() -> Coroutine<> {
        co_await to_thread([&] { watching = Subscription(); });
        after = counts.steps;
        for (int i = 0; i < 10; ++i) co_await sleep(0s);
    });
    EXPECT_EQ(counts.steps, after);
    // Of a loop that does not run just now.
    watching = inspect::observe(*loop, counts);
    std::thread([&] { watching = Subscription(); }).join();
    loop->run_until_complete(yields());
    EXPECT_EQ(counts.steps, after);
}

TEST(Observer, IsToldTheEndOfAStepThatLeavesTheLoop) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    Writer writer;
    const Subscription watching = inspect::observe(loop, writer);
    loop.create_task(
        []() -> Coroutine<> {
            throw KeyboardInterrupt();
            co_return;
        }(),
        {.name = "t"});
    EXPECT_THROW(loop.run_forever(), KeyboardInterrupt);
    EXPECT_EQ(writer.lines, (Lines{"t made by nobody", "t begins", "t ends", "t raised"}));
}

}  // namespace
