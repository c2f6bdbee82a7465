// Who looks at the steps of a loop, and for how long: a tool outside of the process asks for it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

namespace asyncio {
inline namespace v1 {
namespace detail {

class Node;

// Told of each entry that a loop runs, on its thread. A loop that has one runs each entry by the
// way that debug mode takes, and no other loop pays for it.
class StepWatch {
  public:
    StepWatch() = default;
    StepWatch(const StepWatch&) = delete;
    StepWatch& operator=(const StepWatch&) = delete;
    virtual ~StepWatch() = default;

    virtual void step_begins(Node& node) noexcept = 0;
    // What ran may be gone.
    virtual void step_ended() noexcept = 0;
    // Around each sleep of the loop.
    virtual void wait_begins() noexcept = 0;
    virtual void wait_ended() noexcept = 0;
    // The loop is about to run what timers wake: the first of them `late` ns after it was due.
    virtual void timer_is_due(std::int64_t late) noexcept = 0;
    // The loop has looked at its clocks: once an iteration.
    virtual void look() noexcept = 0;
};

// Until when tools want the steps of all loops counted, ns of CLOCK_MONOTONIC; 0: nobody does. A
// tool writes it into the process (process_vm_writev(2)) and writes a later time before it is over:
// so counting ends by itself with the tool, however that ends.
extern constinit std::atomic<std::int64_t> watch_until;

// A tool that asks for more than this at once is not believed, ns: no counting for ever.
inline constexpr std::int64_t kLongestLease = 60'000'000'000;

// tasks/step_counts.cpp. Null without memory.
std::unique_ptr<StepWatch> make_step_counts() noexcept;

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
