// What is between two hosts, in one direction.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <functional>
#include <utility>

#include "../chance.hpp"
#include "asyncio/testing_network.hpp"

namespace asyncio {
inline namespace v1 {
namespace testing {

// What arrives, as the receiver's side does it.
using Arrival = std::function<void()>;

// When something that is sent arrives. A stream loses nothing: a loss is a delay, until it is sent
// again, and what was sent later waits for it.
class Direction {
  public:
    static constexpr std::int64_t kNever = -1;
    // How often a piece of a stream is sent at most, as Linux does by default: tcp(7),
    // tcp_retries2.
    static constexpr int kMostTries = 16;

    explicit Direction(LinkOptions options = {}) : options_(options) {}
    LinkOptions& options() { return options_; }

    // `bytes` of a stream that leave at `now`, behind all that left before. `lost`: the first time.
    std::int64_t in_order(std::int64_t now, std::size_t bytes, bool lost, Numbers& numbers) {
        std::int64_t at = left_at(now, bytes) + latency(numbers);
        std::int64_t again = kFirstTimeout;
        if (lost) {
            at += again;
            again *= 2;
        }
        for (int tries = 1; options_.loss > 0 && numbers.part() < options_.loss; ++tries) {
            if (tries == kMostTries) return kNever;
            at += again;
            again = std::min(again * 2, kLongestTimeout);
        }
        return last_ = std::max(at, last_);
    }
    // A datagram; kNever: it is lost.
    std::int64_t alone(std::int64_t now, std::size_t bytes, Numbers& numbers) {
        const std::int64_t left = left_at(now, bytes);
        if (options_.loss > 0 && numbers.part() < options_.loss) return kNever;
        std::int64_t at = left + latency(numbers);
        // One that is overtaken by those behind it.
        if (options_.reorder > 0 && numbers.part() < options_.reorder) {
            at += latency(numbers) + options_.latency.count();
        }
        return at;
    }
    bool duplicates(Numbers& numbers) const {
        return options_.duplicate > 0 && numbers.part() < options_.duplicate;
    }

    // Nothing is under way, so that what leaves now may arrive at once.
    bool idle() const { return held_ == 0 && under_way_ == 0; }
    void left() { ++under_way_; }
    void arrived() { --under_way_; }

    // What is sent, and what is under way, stays on the way until release().
    bool held() const { return held_ > 0; }
    void hold() { ++held_; }
    // Returns what waited, in order, once nobody holds it any more.
    std::deque<Arrival> release() {
        if (held_ == 0 || --held_ > 0) return {};
        return std::exchange(waiting_, {});
    }
    void wait(Arrival arrival) { waiting_.push_back(std::move(arrival)); }

  private:
    static constexpr std::int64_t kFirstTimeout = 200'000'000;        // ns
    static constexpr std::int64_t kLongestTimeout = 120'000'000'000;  // ns

    // When the last byte has left, behind what leaves already.
    std::int64_t left_at(std::int64_t now, std::size_t bytes) {
        free_at_ = std::max(free_at_, now);
        if (options_.bandwidth > 0) {
            const double seconds =
                static_cast<double>(bytes) / static_cast<double>(options_.bandwidth);
            free_at_ += static_cast<std::int64_t>(seconds * 1e9);
        }
        return free_at_;
    }
    std::int64_t latency(Numbers& numbers) const {
        const std::int64_t jitter = options_.jitter.count();
        if (jitter <= 0) return options_.latency.count();
        return options_.latency.count() +
               static_cast<std::int64_t>(numbers.part() * static_cast<double>(jitter));
    }

    LinkOptions options_;
    std::int64_t free_at_ = 0;  // when what leaves has left
    std::int64_t last_ = 0;     // of streams: when the last piece arrives
    std::size_t under_way_ = 0;
    int held_ = 0;
    std::deque<Arrival> waiting_;
};

}  // namespace testing
}  // namespace v1
}  // namespace asyncio
