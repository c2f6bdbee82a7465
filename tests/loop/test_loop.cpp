// How the loop shares its time between callbacks, the kernel and the timers: on a back end whose
// clock is set by the test.
#include <asyncio/detail/call_timer.hpp>
#include <asyncio/events.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "loop/loop.hpp"

namespace {

using asyncio::detail::Backend;
using asyncio::detail::IoChannel;
using asyncio::detail::kNever;
using asyncio::detail::Loop;
using asyncio::detail::Node;
using asyncio::detail::ReadyQueue;
using asyncio::detail::TimerEntry;
using asyncio::detail::Transferred;

// A system whose clock stands still until a test moves it. It has a descriptor to watch, unless a
// test says otherwise, so that the loop has a reason to ask.
class Scripted final : public Backend {
  public:
    std::int64_t time = 1'000'000'000;
    int clock_reads = 0;
    bool watched = true;
    bool calls = false;                        // a wait receives something by a system call
    std::vector<std::int64_t> waits;           // their timeouts, ns
    std::function<void(ReadyQueue&)> in_wait;  // what a wait does

    void received() { called_ = true; }  // as the receive of a channel says it

    void wait(std::int64_t timeout, ReadyQueue& ready) override {
        waits.push_back(timeout);
        if (calls) called_ = true;
        if (in_wait) return in_wait(ready);
        if (timeout > 0) time += timeout;
    }
    std::int64_t now() noexcept override {
        ++clock_reads;
        return time;
    }
    bool watches() const noexcept override { return watched; }
    void wake() noexcept override {}
    void leave_to_parent() noexcept override {}
    const char* name() const noexcept override { return "scripted"; }
    const char* class_name() const noexcept override { return "ScriptedEventLoop"; }

    void watch(int, Node*, Node*) override {}
    void open(IoChannel&, int, asyncio::detail::ChannelKind) override {}
    void hand_over(IoChannel&, IoChannel&, asyncio::detail::ChannelKind) noexcept override {}
    void close(IoChannel&) noexcept override {}
    IoChannel* channel_of(int) const noexcept override { return nullptr; }
    void close_channels() noexcept override {}
    void await_room(IoChannel&) noexcept override {}
    asyncio::detail::Received receive(IoChannel&, std::size_t) noexcept override { return {}; }
    Transferred receive_into(IoChannel&, std::span<char>) noexcept override { return {}; }
    Transferred send(IoChannel&, std::string_view) noexcept override { return {}; }
    Transferred send(IoChannel&, std::span<const std::string_view>) noexcept override { return {}; }
    asyncio::detail::ReceivedDatagrams receive_datagrams(IoChannel&, asyncio::detail::DatagramRoom&,
                                                         bool, std::size_t) noexcept override {
        return {{}, 0};
    }
    Transferred send_datagrams(IoChannel&,
                               std::span<const asyncio::detail::DatagramToSend>) noexcept override {
        return {};
    }
    int accept(IoChannel&, asyncio::SocketAddress&) noexcept override { return -1; }
};

// An entry that is ready in each iteration until it has run `times` times.
class Again final : public Node {
  public:
    Again(Loop& loop, int times, std::function<void()> action)
        : loop_(loop), left_(times), action_(std::move(action)) {
        loop_.push_ready(this);
    }
    void run() override {
        action_();
        if (--left_ > 0) return loop_.push_ready(this);
        loop_.stop();
    }
    void drop() noexcept override {}

  private:
    Loop& loop_;
    int left_;
    std::function<void()> action_;
};

class Fires final : public Node {
  public:
    explicit Fires(std::function<void()> action) : action_(std::move(action)) {
        entry.owner = this;
    }
    void run() override {
        entry.index = TimerEntry::kNotQueued;
        action_();
    }
    void drop() noexcept override {}

    TimerEntry entry;

  private:
    std::function<void()> action_;
};

class LoopTurns : public testing::Test {
  protected:
    LoopTurns() : system_(*new Scripted), loop_(std::unique_ptr<Backend>(&system_)) {}
    ~LoopTurns() override { loop_.close(); }

    // Runs an entry so many times, each a turn of the loop.
    void turns(int times, std::function<void()> action) {
        Again again(loop_, times, std::move(action));
        loop_.run_forever();
    }

    Scripted& system_;
    Loop loop_;
};

TEST(NewEventLoop, NeedsABackEnd) {
    EXPECT_THROW(asyncio::component::new_event_loop(nullptr), asyncio::ValueError);
    EXPECT_THROW(asyncio::component::ForwardingBackend(nullptr), asyncio::ValueError);
}

TEST(NewEventLoop, RunsOnTheOneGiven) {
    auto scripted = std::make_unique<Scripted>();
    const Scripted& system = *scripted;
    const auto loop = asyncio::component::new_event_loop(
        std::make_unique<asyncio::component::ForwardingBackend>(std::move(scripted)));
    EXPECT_STREQ(loop->backend(), "scripted");
    bool called = false;
    loop->call_later(std::chrono::hours(1), [&] { called = true; });
    loop->run_once(std::nullopt);
    loop->run_once(std::chrono::nanoseconds(0));
    EXPECT_TRUE(called);
    EXPECT_FALSE(system.waits.empty());
    loop->close();
}

TEST(NewEventLoop, RefusesAWrapperThatGivesNoBackEnd) {
    asyncio::component::wrap_backends(
        [](std::unique_ptr<Backend>) -> std::unique_ptr<Backend> { return nullptr; });
    EXPECT_THROW(asyncio::EpollEventLoop::create(), asyncio::ValueError);
    EXPECT_THROW(asyncio::VirtualTimeEventLoop::create(), asyncio::ValueError);
    asyncio::component::wrap_backends(nullptr);
    EXPECT_NE(asyncio::EpollEventLoop::create(), nullptr);
}

// What the one behind has called is told once, or clients that are busy would keep others waiting.
TEST(ForwardingBackends, TellOfTheCallsOfTheOtherOne) {  // S-04
    auto scripted = std::make_unique<Scripted>();
    Scripted& system = *scripted;
    asyncio::component::ForwardingBackend forwarding(std::move(scripted));
    ReadyQueue ready;
    forwarding.wait(0, ready);
    EXPECT_FALSE(forwarding.called());
    system.calls = true;
    forwarding.wait(0, ready);
    EXPECT_TRUE(forwarding.called());
    EXPECT_FALSE(system.called());
    forwarding.forget_calls();
    system.calls = false;
    forwarding.wait(0, ready);
    EXPECT_FALSE(forwarding.called());
}

TEST_F(LoopTurns, ThatComputeAreEachFollowedByAPoll) {  // L2, S-04
    turns(100, [&] { system_.time += 1'000'000; });
    EXPECT_GE(system_.waits.size(), 99u);
}

TEST_F(LoopTurns, ThatReceiveAreEachFollowedByAPoll) {  // L1, S-04
    turns(100, [&] { system_.received(); });
    EXPECT_GE(system_.waits.size(), 99u);
}

TEST_F(LoopTurns, ThatAreQuickReadTheClockEightTimesIn64) {  // L2
    int turn = 0;
    int before = 0;
    turns(65, [&] {
        if (++turn == 1) before = system_.clock_reads;
    });
    EXPECT_LE(system_.clock_reads - before, 8);
    EXPECT_EQ(system_.waits.size(), 1u) << "that before the first turn";
}

TEST_F(LoopTurns, WithNothingToLookForReadNoClock) {  // L2
    system_.watched = false;
    int turn = 0;
    int before = 0;
    turns(5000, [&] {
        if (++turn == 1) before = system_.clock_reads;
    });
    EXPECT_EQ(system_.clock_reads, before);
}

TEST_F(LoopTurns, ATimerThatComesWhereNothingWasIsNoticedAtOnce) {  // L2
    system_.watched = false;
    int turn = 0;
    int fired = 0;
    Fires timer([&] { fired = turn; });
    turns(4000, [&] {
        system_.time += 1'000'000;
        if (++turn != 3000) return;
        timer.entry.when = loop_.now() + 1'500'000;
        loop_.add_timer(timer.entry);
    });
    EXPECT_EQ(fired, 3003)
        << "due within turn 3002: it runs in the next one, behind what was ready";
}

TEST_F(LoopTurns, ThatAreQuickArePolledAfterFiftyMicroseconds) {  // L1, L2
    std::vector<std::int64_t> polled;
    std::size_t seen = 0;
    turns(10'000, [&] {
        system_.time += 100;
        if (system_.waits.size() == seen) return;
        seen = system_.waits.size();
        polled.push_back(system_.time);
    });
    ASSERT_GE(polled.size(), 10u);
    for (std::size_t i = 1; i < polled.size(); ++i) {
        EXPECT_GE(polled[i] - polled[i - 1], 50'000);
        EXPECT_LE(polled[i] - polled[i - 1], 50'000 + 17 * 100);
    }
}

TEST_F(LoopTurns, ThatBecomeSlowAreNoticedWithinSixteen) {  // L2
    int turn = 0;
    std::size_t before = 0;
    int late = -1;
    turns(300, [&] {
        if (++turn <= 200) {
            before = system_.waits.size();
            return;
        }
        if (late < 0 && system_.waits.size() > before) late = turn - 201;
        system_.time += 1'000'000;
    });
    EXPECT_GE(late, 0);
    EXPECT_LE(late, 16);
}

TEST_F(LoopTurns, DueAtOnceFiresInTheNextOne) {  // L38, S-06
    for (const std::int64_t delay :
         {std::int64_t{0}, std::int64_t{-1}, -std::int64_t{86'400'000'000'000}, -kNever}) {
        int turn = 0;
        int armed = 0;
        int fired = 0;
        Fires timer([&] { fired = turn; });
        turns(200, [&] {
            system_.time += 20;
            if (++turn != 100) return;
            armed = turn;
            timer.entry.when = asyncio::detail::saturating_add(loop_.now(), delay);
            loop_.add_timer(timer.entry);
        });
        EXPECT_EQ(fired, armed + 1) << "behind what was queued in this turn; delay " << delay;
    }
}

TEST_F(LoopTurns, DueInAMomentFiresInTheFirstOneAfterwards) {  // L38: timeout(1ns)
    int turn = 0;
    int fired = 0;
    Fires timer([&] { fired = turn; });
    turns(200, [&] {
        system_.time += 20;
        if (++turn != 100) return;
        timer.entry.when = loop_.now() + 50;
        loop_.add_timer(timer.entry);
    });
    EXPECT_EQ(fired, 104) << "20, 40, 60 ns later, and behind what was queued in that turn";
}

TEST_F(LoopTurns, ATimerThatIsOverdueByAnythingIsDue) {  // L3
    for (const std::int64_t when :
         {std::numeric_limits<std::int64_t>::min(), -kNever, std::int64_t{0}, std::int64_t{1}}) {
        bool fired = false;
        Fires timer([&] {
            fired = true;
            loop_.stop();
        });
        timer.entry.when = when;
        loop_.add_timer(timer.entry);
        system_.waits.clear();
        loop_.run_forever();
        EXPECT_TRUE(fired);
        for (const std::int64_t waited : system_.waits) EXPECT_EQ(waited, 0);
    }
}

TEST_F(LoopTurns, ATimerWaitsForItsTimeAndNoLonger) {
    Fires timer([&] { loop_.stop(); });
    timer.entry.when = system_.time + 12'345;
    loop_.add_timer(timer.entry);
    loop_.run_forever();
    EXPECT_EQ(system_.waits, std::vector<std::int64_t>{12'345});
}

// ---- a node enters the ready queue once (L36) --------------------------------------------------

#ifdef ASYNCIO_READY_ONCE

const char* const kTwice = "a node entered the ready queue twice: Nothing";

class Nothing final : public Node {
  public:
    void run() override {}
    void drop() noexcept override {}
};

class ReadyQueueOnce : public LoopTurns {
  protected:
    // What `action` does in a turn of the loop, in which the node of the argument is queued.
    void in_a_turn(std::function<void(Nothing&)> action) {
        Nothing node;
        Again again(loop_, 2, [&] { action(node); });
        loop_.push_ready(&node);
        loop_.run_forever();
    }
};

TEST_F(ReadyQueueOnce, TwiceInTheSameTurn) {
    EXPECT_DEATH(in_a_turn([&](Nothing&) {
                     Nothing node;
                     loop_.push_ready(&node);
                     loop_.push_ready(&node);
                 }),
                 kTwice);
}

TEST_F(ReadyQueueOnce, AgainBeforeItHasRunInThisOne) {
    EXPECT_DEATH(in_a_turn([&](Nothing& queued) { loop_.push_ready(&queued); }), kTwice);
    EXPECT_DEATH(in_a_turn([&](Nothing& queued) { loop_.run_next(queued); }), kTwice);
}

TEST_F(ReadyQueueOnce, ByAFuturesCallbacks) {
    EXPECT_DEATH(in_a_turn([&](Nothing& queued) {
                     queued.next_ = &queued;
                     loop_.ready.push_ring(&queued);
                 }),
                 kTwice);
}

TEST_F(ReadyQueueOnce, ByAnotherThread) {
    EXPECT_DEATH(in_a_turn([&](Nothing& queued) {
                     loop_.push_from_thread(queued);
                     loop_.take_posted();
                 }),
                 kTwice);
}

TEST_F(ReadyQueueOnce, ByTheBackEnd) {
    Nothing node;
    system_.in_wait = [&](ReadyQueue& ready) {
        ready.push(&node);
        ready.push(&node);
    };
    EXPECT_DEATH(loop_.run_once(0), kTwice);
}

TEST_F(ReadyQueueOnce, ByATimer) {
    EXPECT_DEATH(in_a_turn([&](Nothing& queued) {
                     static TimerEntry entry;
                     entry.owner = &queued;
                     entry.when = 0;
                     loop_.add_timer(entry);
                     system_.time += 1'000'000;
                     loop_.push_ready(&queued);
                 }),
                 kTwice);
}

// What is no second time: as it runs, and after it was taken out, dropped or put back.
TEST_F(ReadyQueueOnce, OnceEachTurnIsFine) {
    Nothing node;
    int turn = 0;
    turns(1000, [&] {
        if (++turn % 3 == 0) loop_.push_ready(&node);
        if (turn % 6 == 0) loop_.forget(node);
        if (turn % 6 == 5) loop_.run_next(node);
    });
}

TEST_F(ReadyQueueOnce, AnExceptionThatLeavesTheLoopPutsTheOthersBack) {
    Nothing behind;
    int turn = 0;
    Again again(loop_, 3, [&] {
        if (++turn == 2) throw std::runtime_error("leaves");
    });
    loop_.push_ready(&behind);
    EXPECT_THROW(loop_.run_forever(), std::runtime_error);
    EXPECT_DEATH(
        {
            loop_.push_ready(&behind);
            loop_.push_ready(&behind);
        },
        kTwice);
    loop_.push_ready(&again);
    loop_.run_forever();
    EXPECT_EQ(turn, 4);
}

// The set itself, against the standard library's: with few slots, so that they collide and move.
TEST(ReadyNodes, HoldsWhatWasInsertedAndNotErased) {
    std::vector<Nothing> nodes(300);
    std::set<Node*> expected;
    asyncio::detail::ReadyNodes set;
    std::minstd_rand random(7);
    for (int i = 0; i < 100'000; ++i) {
        const std::size_t most = i % 20'000 < 10'000 ? nodes.size() : 20;
        Nothing& node = nodes[random() % most];
        if (random() % 2 == 0) {
            ASSERT_EQ(set.insert(node), expected.insert(&node).second) << i;
        } else {
            set.erase(node);
            expected.erase(&node);
        }
    }
}

#else

TEST(ReadyQueueOnce, IsLookedAtInDebugBuilds) {
    GTEST_SKIP() << "this build does not look whether a node enters the ready queue twice";
}

#endif

}  // namespace
