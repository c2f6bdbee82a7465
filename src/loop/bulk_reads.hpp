// Streams of which more is there than one receive takes: uploads. If each of them were received
// from in each round of the loop, whoever else is ready would wait for all of them. So they take
// turns: one in a round, or as many as take no longer than what else the round does.
#pragma once

#include <cstddef>
#include <cstdint>

#include "asyncio/detail/loop_core.hpp"
#include "backend/backend.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class BulkReads {
  public:
    // Whoever receives as much at once takes turns, until it receives as little. Bytes.
    static constexpr std::size_t kMuch = std::size_t{32} * 1024;
    static constexpr std::size_t kLittle = std::size_t{8} * 1024;

    // The most that one receive takes in this round, bytes. A copy of 64 KiB is short beside a
    // system call or two; a long one does no harm where the rest of the round takes far longer.
    std::size_t most() const noexcept { return most_; }
    // Those whose turn comes.
    ReadyQueue& waiting() noexcept { return waiting_; }
    bool empty() const noexcept { return waiting_.empty(); }
    // One has run, in so many ns.
    void ran(std::int64_t time) noexcept {
        spent_ += time;
        ++runs_;
    }

    // A round of the loop is over. `round`: how long it took, ns, these reads included; 0 if the
    // loop slept. Moves those whose turn it is to `ready`.
    void next_round(std::int64_t round, ReadyQueue& ready) noexcept {
        const std::int64_t others = round - spent_;
        most_ = others >= kLong ? Backend::kReceive : kShort;
        if (runs_ > 0) cost_ = spent_ / runs_;
        spent_ = runs_ = 0;
        if (waiting_.empty()) return;
        std::int64_t left = others;
        do {
            ready.push(waiting_.pop());
            left -= cost_;
        } while (!waiting_.empty() && cost_ > 0 && left >= cost_);
    }

  private:
    static constexpr std::size_t kShort = std::size_t{64} * 1024;
    static constexpr std::int64_t kLong = 250'000;  // ns, for the rest of a round

    ReadyQueue waiting_;
    std::size_t most_ = kShort;
    std::int64_t spent_ = 0;  // in this round, ns
    std::int64_t runs_ = 0;
    std::int64_t cost_ = 0;  // of one, ns; 0 before any has run
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
