#include "asyncio/detail/waiter.hpp"

#include <cassert>

#include "asyncio/exceptions.hpp"
#include "tasks/debug_block.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

bool SoleWaiter::cancel_wait(const std::exception_ptr& error) {
    if (done()) return false;
    state_ = State::kCancelled;
    error_ = error;
    task_->wake();
    return true;
}

bool Waiter::cancel_wait(const std::exception_ptr& error) {
    if (!SoleWaiter::cancel_wait(error)) return false;
    if (line_) --line_->not_cancelled_;
    return true;
}

std::exception_ptr SoleWaiter::resume_error() noexcept {
    assert(done());  // else the wait has ended by itself: the task was queued twice
    const bool due = (task_->flags_ & FutureBase::kMustCancel) != 0;
    std::exception_ptr cancel;
    if (due) cancel = task_->take_cancel();
    if (state_ != State::kCancelled) return cancel;
    return error_ ? error_ : cancelled_error(nullptr);
}

const char* name_of(WaitKind kind) noexcept {
    const char* const name = debug_wait(kind).name;
    return name[0] ? name : nullptr;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
