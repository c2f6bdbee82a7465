#include "asyncio/timeouts.hpp"

#include <cmath>
#include <ostream>

#include "asyncio/detail/call_timer.hpp"
#include "asyncio/events.hpp"
#include "asyncio/repr.hpp"
#include "loop/loop.hpp"
#include "tasks/awaiters.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

// ---- the scope ----------------------------------------------------------------------------------

void TimeoutScope::arm_after(std::int64_t delay) {
    LoopCore& core = task_->core();
    timer_ = new CallTimer(
        core, saturating_add(loop_now(core), delay), false,
        [](void* self) { static_cast<TimeoutScope*>(self)->fire(); }, this);
}

void TimeoutScope::arm_at(std::int64_t when, bool ahead) {
    if (when == kNever) {
        if (timer_) disarm();
        return;
    }
    LoopCore& core = task_->core();
    // A scope that was made ahead of its entry and is overdue by now fires when the loop next looks
    // at its timers; with virtual time, which other steps may have moved, it is exact.
    const bool look = !ahead || static_cast<Loop&>(core).backend->is_virtual();
    const bool soon = look && when <= loop_now(core);
    if (timer_ && timer_->move_to(when, soon)) return;
    auto* const timer = new CallTimer(
        core, when, soon, [](void* self) { static_cast<TimeoutScope*>(self)->fire(); }, this);
    if (timer_) disarm();  // only now: without memory the limit of before holds
    timer_ = timer;
}

void TimeoutScope::disarm() noexcept { std::exchange(timer_, nullptr)->abandon(); }

// S-71. The timer stays until the scope is left.
void TimeoutScope::fire() {
    task_->cancel_wait(nullptr);
    state_ = State::kExpiring;
}

namespace {

// Raises: std::bad_alloc.
std::exception_ptr timeout_error(std::exception_ptr cancelled) {
    return with_cause(TimeoutError(), std::move(cancelled));
}

// B-30: the first CancelledError among the causes of another error that leaves an expired scope
// becomes a TimeoutError.
void insert_timeout_error(const std::exception_ptr& error) {
    const auto* nested = find<std::nested_exception>(error);
    while (nested && nested->nested_ptr()) {
        std::exception_ptr cause = nested->nested_ptr();
        if (!is_cancelled_error(cause)) {
            nested = find<std::nested_exception>(cause);
            continue;
        }
        // Safe because an exception object is never const, and is reached on this thread only: its
        // holders belong to this loop.
        set_nested(const_cast<std::nested_exception&>(*nested), timeout_error(std::move(cause)));
        return;
    }
}

}  // namespace

void TimeoutScope::expire(std::exception_ptr& error) noexcept {
    state_ = State::kExpired;
    if (uncancel(*task_) > requests_ || !error) return;
    try {
        if (is_cancelled_error(error)) {
            error = timeout_error(error);
            return;
        }
        insert_timeout_error(error);
        if (const auto* group = find<ExceptionGroup>(error)) {
            for (const auto& member : group->exceptions()) insert_timeout_error(member);
        }
    } catch (...) {
        // No memory for the TimeoutError: then that is what goes on.
        error = std::current_exception();
    }
}

// ---- wait_for with no time ----------------------------------------------------------------------

void CancelAndWait::begin(FutureBase& future, PromiseBase& frame) {
    future_ = Ref<FutureBase>::share(&future);
    future.add_node(this, true);
    future.cancel_wait(nullptr);
    waiter_.suspend(frame);
}

void CancelAndWait::run() {
    queued_ = false;
    if (abandoned_) {
        delete this;
        return;
    }
    if (!waiter_.done()) waiter_.set();
}

void CancelAndWait::drop() noexcept {
    queued_ = false;
    if (abandoned_) delete this;
}

void CancelAndWait::abandon() noexcept {
    if (queued_) {
        abandoned_ = true;  // its turn comes
        return;
    }
    future_->remove_node(this);
    delete this;
}

std::exception_ptr overdue_error(FutureBase& future, bool waited) noexcept {
    std::exception_ptr error = future.take_error();
    if (!waited || !error || !is_cancelled_error(error)) return error;
    try {
        return timeout_error(std::move(error));
    } catch (...) {
        return std::current_exception();  // no memory for it
    }
}

}  // namespace detail

// ---- Timeout ------------------------------------------------------------------------------------

using State = detail::TimeoutScope::State;

namespace {

const char* name_of(State s) {
    switch (s) {
        case State::kCreated:
            return "created";
        case State::kActive:
            return "active";
        case State::kExpiring:
            return "expiring";
        case State::kExpired:
            return "expired";
        case State::kFinished:
            return "finished";
    }
    return "";
}

[[noreturn]] void throw_not_active(State s) {
    if (s == State::kCreated) throw RuntimeError("Timeout has not been entered");
    throw RuntimeError(std::string("Cannot change state of ") + name_of(s) + " Timeout");
}

}  // namespace

void Timeout::throw_entered() { throw RuntimeError("Timeout has already been entered"); }

std::optional<TimePoint> Timeout::when() const noexcept {
    if (when_.is_none()) return std::nullopt;
    return when_.time_point();
}

void Timeout::reschedule(Deadline when) {
    if (scope_.state() != State::kActive) throw_not_active(scope_.state());
    if (!when.is_none()) detail::running_core();
    detail::check_thread_if_debug(task_->core());
    scope_.arm_at(when.count());
    when_ = when;
}

bool Timeout::expired() const noexcept {
    return scope_.state() == State::kExpiring || scope_.state() == State::kExpired;
}

std::string Timeout::repr() const {
    const State s = scope_.state();
    std::string text = std::string("<Timeout [") + name_of(s) + ']';
    if (s != State::kActive) return text + '>';
    if (when_.is_none()) return text + " when=None>";
    const double seconds = static_cast<double>(when_.count()) / 1e9;
    return text + " when=" + detail::repr_double(std::round(seconds * 1000) / 1000) + '>';
}

Timeout& Timeout::asyncio_enter() {
    if (scope_.state() != State::kCreated) throw_entered();
    detail::TaskBase* task = detail::thread_state.task;
    if (!task) {
        detail::running_core();
        throw RuntimeError("Timeout should be used inside a task");
    }
    task_ = detail::Ref<detail::FutureBase>::share(task);
    scope_.enter();
    scope_.arm_at(when_.count(), ahead_);
    return *this;
}

bool Timeout::asyncio_leave(std::exception_ptr& error) {
    if (!task_) throw_not_active(scope_.state());
    scope_.leave(error);
    task_ = nullptr;
    return false;
}

std::ostream& operator<<(std::ostream& out, const Timeout& t) { return out << t.repr(); }

Timeout timeout(Delay delay) {
    detail::LoopCore& core = detail::running_core();
    if (delay.is_none()) return Timeout(std::nullopt);
    const std::int64_t when = detail::saturating_add(detail::loop_now(core), delay.count());
    return Timeout(TimePoint(Duration(when)), delay.count() > 0);
}

}  // namespace v1
}  // namespace asyncio
