// When a wait of a thread is over.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace asyncio {
inline namespace v1 {
namespace detail {

// The point that many nanoseconds from now; at most some centuries, where the clock ends.
inline std::chrono::steady_clock::time_point time_after(std::int64_t ns) {
    using Clock = std::chrono::steady_clock;
    const auto now = Clock::now();
    const auto room = Clock::time_point::max() - now;
    return now + std::min<Clock::duration>(std::chrono::nanoseconds(ns), room);
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
