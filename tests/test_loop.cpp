// How the loop shares its time between callbacks, the kernel and the timers: on a back end whose
// clock is set by the test.
#include <asyncio/detail/call_timer.hpp>
#include <asyncio/events.hpp>
#include <asyncio/tasks.hpp>

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "loop.hpp"

namespace {

using asyncio::detail::Backend;
using asyncio::detail::Channel;
using asyncio::detail::kNever;
using asyncio::detail::Loop;
using asyncio::detail::Node;
using asyncio::detail::NodeQueue;
using asyncio::detail::TimerEntry;
using asyncio::detail::Transferred;

// A system whose clock stands still until a test moves it. It has a descriptor to watch, so that
// the loop has a reason to ask.
class Scripted final : public Backend {
  public:
    std::int64_t time = 1'000'000'000;
    int clock_reads = 0;
    std::vector<std::int64_t> waits;          // their timeouts, ns
    std::function<void(NodeQueue&)> in_wait;  // what a wait does

    void received() { called_ = true; }  // as the receive of a channel says it

    void wait(std::int64_t timeout, NodeQueue& ready) override {
        waits.push_back(timeout);
        if (in_wait) return in_wait(ready);
        if (timeout > 0) time += timeout;
    }
    std::int64_t now() noexcept override {
        ++clock_reads;
        return time;
    }
    bool watches() const noexcept override { return true; }
    void wake() noexcept override {}
    void leave_to_parent() noexcept override {}
    const char* name() const noexcept override { return "scripted"; }
    const char* class_name() const noexcept override { return "ScriptedEventLoop"; }

    void watch(int, Node*, Node*) override {}
    void open(Channel&, int, asyncio::detail::ChannelKind) override {}
    void hand_over(Channel&, Channel&, asyncio::detail::ChannelKind) noexcept override {}
    void close(Channel&) noexcept override {}
    Channel* channel_of(int) const noexcept override { return nullptr; }
    void close_channels() noexcept override {}
    void await_room(Channel&) noexcept override {}
    asyncio::detail::Received receive(Channel&) noexcept override { return {}; }
    Transferred receive_into(Channel&, std::span<char>) noexcept override { return {}; }
    Transferred send(Channel&, std::string_view) noexcept override { return {}; }
    Transferred send(Channel&, std::span<const std::string_view>) noexcept override { return {}; }
    asyncio::detail::ReceivedDatagrams receive_datagrams(Channel&, asyncio::detail::DatagramRoom&,
                                                         bool, std::size_t) noexcept override {
        return {{}, 0};
    }
    Transferred send_datagrams(Channel&,
                               std::span<const asyncio::detail::DatagramToSend>) noexcept override {
        return {};
    }
    int accept(Channel&, asyncio::SocketAddress&) noexcept override { return -1; }
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

}  // namespace
