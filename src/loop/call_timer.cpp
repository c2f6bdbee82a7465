#include "asyncio/detail/call_timer.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

CallTimer::CallTimer(LoopCore& core, std::int64_t when, bool soon, Function fn, void* owner)
    : core_(core), fn_(fn), owner_(owner) {
    entry_.owner = this;
    entry_.when = when;
    arm(soon);
}

void CallTimer::arm(bool soon) {
    if (soon) {
        entry_.index = TimerEntry::kDue;
        core_.push_ready(this);
    } else {
        add_timer(core_, entry_);
    }
}

bool CallTimer::move_to(std::int64_t when, bool soon) noexcept {
    if (!entry_.queued()) return false;
    remove_timer(core_, entry_);
    entry_.when = when;
    arm(soon);  // safe because the room that it has left is there still
    return true;
}

void CallTimer::run() {
    entry_.index = TimerEntry::kNotQueued;
    if (!owner_) {
        delete this;
        return;
    }
    state_ = State::kDone;
    fn_(owner_);
}

void CallTimer::drop() noexcept {
    entry_.index = TimerEntry::kNotQueued;
    state_ = State::kDone;
    if (!owner_) delete this;
}

void CallTimer::abandon() noexcept {
    owner_ = nullptr;
    if (entry_.due()) return;  // in the ready queue, whose turn comes
    remove_timer(core_, entry_);
    delete this;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
