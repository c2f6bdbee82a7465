// A timer that calls a member function of its owner, who may go while the timer sits in the ready
// queue.
#pragma once

#include "asyncio/detail/loop_core.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

class ASYNCIO_API CallTimer final : public Node, public Pooled {
  public:
    using Function = void (*)(void* owner);

    // Calls `fn(owner)` at loop time `when`, ns; in the next iteration if `soon`.
    CallTimer(LoopCore& core, std::int64_t when, bool soon, Function fn, void* owner);
    // Gives it another time, without memory. False: it is due, and is as it was.
    bool move_to(std::int64_t when, bool soon) noexcept;
    // Cancels it, if it has not run, and frees it. To be called once by the owner.
    void abandon() noexcept;

    void run() override;
    void drop() noexcept override;

  private:
    enum class State : unsigned char { kWaiting, kDone };
    ~CallTimer() = default;
    void arm(bool soon);

    LoopCore& core_;
    TimerEntry entry_;
    Function fn_;
    void* owner_;  // null once abandoned
    State state_ = State::kWaiting;
};

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
