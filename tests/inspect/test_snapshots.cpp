// What a program is told of its own loops and tasks.
#include <gtest/gtest.h>
#include <asyncio.hpp>
#include <asyncio/inspect.hpp>

#include <algorithm>
#include <string>

#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using inspect::LoopSnapshot;
using inspect::TaskSnapshot;
using inspect::TaskState;

const TaskSnapshot& named(const LoopSnapshot& loop, const std::string& name) {
    const auto found = std::find_if(loop.tasks.begin(), loop.tasks.end(),
                                    [&](const TaskSnapshot& t) { return t.name == name; });
    if (found == loop.tasks.end()) throw std::runtime_error("no task " + name);
    return *found;
}

Coroutine<> inner() { co_await sleep(1h); }
Coroutine<> outer() { co_await inner(); }

TEST(Snapshot, TellsWhereTasksWaitAndForWhat) {
    auto loop = new_event_loop();
    loop->run_until_complete([]() -> Coroutine<> {
        Queue<int> queue(10);
        auto sleeping = create_task(outer(), {.name = "sleeping"});
        auto getting = create_task([](Queue<int>& q) -> Coroutine<> { co_await q.get(); }(queue),
                                   {.name = "getting"});
        auto waiting =
            create_task([](Task<> t) -> Coroutine<> { co_await t; }(sleeping), {.name = "waiting"});
        co_await sleep(1ms);
        auto fresh = create_task(inner(), {.name = "fresh"});
        sleeping.cancel();
        const LoopSnapshot snapshot = inspect::snapshot(get_running_loop());
        EXPECT_TRUE(snapshot.running);
        EXPECT_TRUE(snapshot.exact);
        EXPECT_FALSE(snapshot.asleep);
        EXPECT_EQ(snapshot.backend, get_running_loop().backend());
        EXPECT_EQ(snapshot.tasks.size(), 5u);
        EXPECT_GE(snapshot.steps, 4u);
        const TaskSnapshot& q = named(snapshot, "getting");
        EXPECT_EQ(q.state, TaskState::WAITING);
        EXPECT_NE(q.waits_for.find("Queue.get of 0x"), std::string::npos) << q.waits_for;
        const TaskSnapshot& s = named(snapshot, "sleeping");
        EXPECT_EQ(s.stack.size(), 2u);
        EXPECT_EQ(s.stack.at(0).function, "outer");
        EXPECT_EQ(s.stack.at(1).function, "inner");
        EXPECT_GT(s.stack.at(1).line, 0u);
        EXPECT_EQ(s.awaited_by, (std::vector<std::uint64_t>{named(snapshot, "waiting").id}));
        EXPECT_EQ(named(snapshot, "fresh").state, TaskState::READY);
        EXPECT_EQ(std::count_if(snapshot.tasks.begin(), snapshot.tasks.end(),
                                [](const auto& t) { return t.state == TaskState::RUNNING; }),
                  1);
        getting.cancel();
        fresh.cancel();
    });
}

TEST(Snapshot, TellsHowLongASleepLasts) {
    auto loop = new_event_loop();
    loop->run_until_complete([]() -> Coroutine<> {
        auto sleeping = create_task(inner(), {.name = "sleeping"});
        co_await sleep(0s);
        const auto task = named(inspect::snapshot(get_running_loop()), "sleeping");
        EXPECT_TRUE(task.until && *task.until > 59min && *task.until <= 1h);
        sleeping.cancel();
    });
}

TEST(Snapshot, OfAllLoops) {
    auto one = new_event_loop();
    const auto owned_two = VirtualTimeEventLoop::create();
    EventLoop& two = *owned_two;
    const auto all = inspect::snapshots();
    EXPECT_EQ(all.size(), 2u);
    EXPECT_LT(all.at(0).number, all.at(1).number);
    EXPECT_EQ(all.at(1).backend, "virtual");
    EXPECT_FALSE(all.at(0).running);
    EXPECT_EQ(inspect::snapshot(two).number, all.at(1).number);
}

TEST(Snapshot, OfAClosedLoopIsRefused) {
    const auto owned = VirtualTimeEventLoop::create();
    EventLoop& loop = *owned;
    loop.close();
    EXPECT_THROW((void)inspect::snapshot(loop), RuntimeError);
    EXPECT_TRUE(inspect::snapshots().empty());
}

}  // namespace
