// src/loop/timers.hpp, detail/call_timer.hpp: the heap of deadlines. S-07, SC-06, and what is
// removed from the middle.
#include <asyncio/detail/call_timer.hpp>
#include <asyncio/detail/loop_core.hpp>
#include <asyncio/events.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "loop/timers.hpp"
#include "support.hpp"

namespace {

using namespace asyncio;
using namespace std::chrono_literals;
using detail::TimerEntry;
using detail::TimerHeap;

TEST(TimerHeap, GivesEqualDeadlinesInTheOrderOfPushing) {  // S-07
    TimerHeap heap;
    std::vector<TimerEntry> entries(50);
    for (std::size_t i = 0; i < entries.size(); ++i) {
        entries[i].when = static_cast<std::int64_t>(i % 3);
        heap.push(entries[i]);
    }
    std::vector<std::pair<std::int64_t, const TimerEntry*>> popped;
    while (!heap.empty()) {
        const std::int64_t earliest = heap.earliest();
        const TimerEntry& e = heap.pop();
        EXPECT_EQ(e.when, earliest);
        EXPECT_TRUE(e.due());
        popped.emplace_back(e.when, &e);
    }
    ASSERT_EQ(popped.size(), entries.size());
    EXPECT_TRUE(std::is_sorted(popped.begin(), popped.end())) << "by deadline, then by address";
}

TEST(TimerHeap, AgreesWithASortedListOverRandomPushesRemovalsAndPops) {
    std::mt19937 random(20240229);
    TimerHeap heap;
    std::vector<std::unique_ptr<TimerEntry>> in;  // in the order of pushing
    const auto earliest = [&] {
        return std::min_element(in.begin(), in.end(), [](const auto& a, const auto& b) {
            return a->when < b->when;  // the first of equal ones
        });
    };
    for (int step = 0; step < 20'000; ++step) {
        const unsigned action = random() % (step < 10'000 ? 5 : 7);
        if (in.empty() || action < 3) {
            in.push_back(std::make_unique<TimerEntry>());
            in.back()->when = static_cast<std::int64_t>(random() % 64);
            heap.push(*in.back());
            EXPECT_TRUE(in.back()->queued());
        } else if (action == 3) {
            const auto victim = in.begin() + static_cast<std::ptrdiff_t>(random() % in.size());
            heap.remove(**victim);
            EXPECT_FALSE((*victim)->queued() || (*victim)->due());
            in.erase(victim);
        } else {
            const auto expected = earliest();
            ASSERT_EQ(heap.earliest(), (*expected)->when);
            ASSERT_EQ(&heap.pop(), expected->get());
            in.erase(expected);
        }
        ASSERT_EQ(heap.size(), in.size());
    }
    heap.clear();
    for (const auto& e : in) EXPECT_FALSE(e->queued());
    EXPECT_TRUE(heap.empty());
}

// ---- a timer that calls its owner --------------------------------------------------------------

struct Owner {
    int calls = 0;
    detail::CallTimer* timer = nullptr;
    bool goes_when_called = false;

    static void called(void* self) {
        auto& o = *static_cast<Owner*>(self);
        ++o.calls;
        if (o.goes_when_called) std::exchange(o.timer, nullptr)->abandon();
    }
    void start(EventLoop& loop, Duration when, bool soon) {
        timer = new detail::CallTimer(loop.core(), when.count(), soon, &called, this);
    }
};

TEST(CallTimer, CallsItsOwnerOnceAndIsThenAbandoned) {
    const auto loop = VirtualTimeEventLoop::create();
    Owner later;
    Owner soon;
    Owner goes;
    goes.goes_when_called = true;
    later.start(*loop, 1s, false);
    soon.start(*loop, 0s, true);
    goes.start(*loop, 1s, false);
    loop->run_until_complete(sleep(2s));
    EXPECT_EQ(later.calls, 1);
    EXPECT_EQ(soon.calls, 1);
    EXPECT_EQ(goes.calls, 1);
    later.timer->abandon();
    soon.timer->abandon();
}

TEST(CallTimer, AbandonedBeforeOrWhileItIsInTheReadyQueueNeverCalls) {
    const auto loop = VirtualTimeEventLoop::create();
    Owner before;
    Owner queued;
    before.start(*loop, 1s, false);
    queued.start(*loop, 0s, true);
    before.timer->abandon();
    queued.timer->abandon();
    Owner due;
    loop->call_at(TimePoint(1s), [&] { due.timer->abandon(); });
    due.start(*loop, 1s, false);
    loop->run_until_complete(sleep(2s));
    EXPECT_EQ(before.calls + queued.calls + due.calls, 0);
}

TEST(CallTimer, GoesWithItsLoopBeforeOrAfterItsOwner) {
    const auto loop = VirtualTimeEventLoop::create();
    Owner abandoned;
    Owner keeps;
    abandoned.start(*loop, 0s, true);
    abandoned.timer->abandon();
    keeps.start(*loop, 1h, false);
    loop->close();
    keeps.timer->abandon();
    EXPECT_EQ(abandoned.calls + keeps.calls, 0);
}

}  // namespace
