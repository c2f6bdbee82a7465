// What of the locks is not on the fast path. The order of wake-ups is CPython's (asyncio/locks.py):
// a Waiter stands for the future that a task there awaits, and stays in the line until the task
// runs again.
#include "asyncio/locks.hpp"

#include <cstdio>
#include <limits>

#include "asyncio/log.hpp"

namespace asyncio {
inline namespace v1 {
namespace detail {

std::string repr_object(const char* name, const void* object, const std::string& extra) {
    char address[32];
    std::snprintf(address, sizeof address, "%p", object);
    return std::string("<asyncio.locks.") + name + " object at " + address + " [" + extra + "]>";
}

std::exception_ptr bound_elsewhere(const std::string& repr) {
    return std::make_exception_ptr(RuntimeError(repr + " is bound to a different event loop"));
}

std::exception_ptr destroyed_meanwhile(const char* name) {
    return std::make_exception_ptr(
        RuntimeError(std::string(name) + " was destroyed before a task that it woke could run"));
}

void throw_awaited_twice() { throw RuntimeError("cannot reuse already awaited coroutine"); }

namespace {

std::string with_waiters(std::string text, const WaitingLine& waiters) {
    if (!waiters.empty()) text += ", waiters:" + std::to_string(waiters.size());
    return text;
}

// True while the object that `waiters` belongs to lives: only its end takes a waiter out of the
// line before the task runs again. Safe because only addresses are compared.
bool alive(const WaitingLine& waiters, const Waiter& waiter) noexcept {
    return waiters.contains(waiter);
}

void report_unlocked_guard(const char* text) noexcept {
    // When a loop closes, frames go that had given the lock away for a while (Condition::wait).
    if (!thread_state.loop) return;
    log::write(log::Level::ERROR, text);
}

// Suspends the task on a waiter of its own frame; gives the CancelledError to raise, or null.
class Suspended {
  public:
    using asyncio_native = void;

    explicit Suspended(Waiter& waiter) noexcept : waiter_(waiter) {}

    bool await_ready() const noexcept { return false; }
    template <std::derived_from<PromiseBase> P>
    void await_suspend(std::coroutine_handle<P> h) noexcept {
        waiter_.suspend(h.promise());
    }
    std::exception_ptr await_resume() noexcept { return waiter_.resume(); }

  private:
    Waiter& waiter_;
};

}  // namespace
}  // namespace detail

using detail::Waiter;
using detail::WaitKind;

// ---- Lock -----------------------------------------------------------------------------------

// A task that had to wait runs again: it takes the lock, unless it was cancelled.
std::exception_ptr Lock::settle(Waiter& waiter) noexcept {
    std::exception_ptr error = waiter.resume();
    if (!detail::alive(waiters_, waiter)) {
        return error ? error : detail::destroyed_meanwhile("Lock");
    }
    waiters_.remove(waiter);
    if (!error) {
        locked_ = true;
        return nullptr;
    }
    // S-54: the wake-up may have been meant for this task.
    if (!locked_ && !waiters_.empty()) wake_first();
    return error;
}

void Lock::throw_not_acquired() { throw RuntimeError("Lock is not acquired."); }

void Lock::report_released_twice() const noexcept {
    detail::report_unlocked_guard("A guard found its lock released: Lock is not acquired.");
}

std::string Lock::repr() const {
    const std::string state = locked_ ? "locked" : "unlocked";
    return detail::repr_object("Lock", this, detail::with_waiters(state, waiters_));
}

// ---- Event ----------------------------------------------------------------------------------

// An event that went away right after set() has still done its work.
std::exception_ptr Event::settle(Waiter& waiter) noexcept {
    if (detail::alive(waiters_, waiter)) waiters_.remove(waiter);
    return waiter.resume();
}

std::string Event::repr() const {
    const std::string state = set_ ? "set" : "unset";
    return detail::repr_object("Event", this, detail::with_waiters(state, waiters_));
}

// ---- Condition --------------------------------------------------------------------------------

Coroutine<bool> Condition::wait() {
    if (!locked()) throw RuntimeError("cannot wait on un-acquired lock");
    if (!loop_.bind()) std::rethrow_exception(detail::bound_elsewhere(repr()));
    Waiter waiter(WaitKind::kCondition);
    lock_->release();
    waiters_.push_back(waiter);
    std::exception_ptr error = co_await detail::Suspended(waiter);
    if (detail::alive(waiters_, waiter)) {
        waiters_.remove(waiter);
        returning_.push_back(waiter);
    } else if (!error) {
        error = detail::destroyed_meanwhile("Condition");
    }
    // S-55: the lock is taken again whatever happens; of several cancels the last one counts.
    // Without the condition there is no lock either.
    while (detail::alive(returning_, waiter)) {
        Result<bool> taken = co_await as_result(lock_->acquire());
        if (taken.has_value()) break;
        error = taken.error();
        if (!detail::is_cancelled_error(error)) break;
    }
    if (!detail::alive(returning_, waiter)) std::rethrow_exception(std::move(error));
    returning_.remove(waiter);
    if (!error) co_return true;
    // A notify may have reached this task: another one gets it (L-07).
    wake(1);
    std::rethrow_exception(std::move(error));
}

void Condition::notify_up_to(std::size_t n) {
    loop_.check_thread();
    if (!locked()) throw RuntimeError("cannot notify on un-acquired lock");
    wake(n);
}

void Condition::notify_all() { notify_up_to(std::numeric_limits<std::size_t>::max()); }

Coroutine<bool> Condition::wait_again(bool woken) {
    try {
        return wait();
    } catch (...) {
        if (woken) wake(1);
        throw;
    }
}

void Condition::wake(std::size_t n) noexcept {
    while (n > 0 && waiters_.wake_next()) --n;
}

std::string Condition::repr() const {
    const std::string state = locked() ? "locked" : "unlocked";
    return detail::repr_object("Condition", this, detail::with_waiters(state, waiters_));
}

// ---- Semaphore --------------------------------------------------------------------------------

bool Semaphore::wake_next() noexcept {
    if (!waiters_.wake_next()) return false;
    --value_;
    return true;
}

// A task that had to wait runs again: it has its unit, unless it was cancelled.
std::exception_ptr Semaphore::settle(Waiter& waiter) noexcept {
    std::exception_ptr error = waiter.resume();
    if (!detail::alive(waiters_, waiter)) {
        return error ? error : detail::destroyed_meanwhile("Semaphore");
    }
    waiters_.remove(waiter);
    // S-54: it had been granted a unit before it was cancelled.
    if (error && !waiter.cancelled()) ++value_;
    // Units may have come while newcomers queued behind this task.
    while (value_ > 0 && wake_next()) {
    }
    return error;
}

void Semaphore::throw_negative() { throw ValueError("Semaphore initial value must be >= 0"); }
void Semaphore::throw_too_large() {
    throw ValueError("Semaphore initial value must be <= " + std::to_string(kMost));
}
void Semaphore::throw_too_often() const {
    throw ValueError(std::string(name()) + " released too many times");
}

void Semaphore::report_released_twice() const noexcept {
    detail::report_unlocked_guard(
        bounded_ ? "A guard could not give its unit back: BoundedSemaphore released too many times"
                 : "A guard could not give its unit back: Semaphore released too many times");
}

std::string Semaphore::repr() const {
    const std::string state = locked() ? "locked" : "unlocked, value:" + std::to_string(value_);
    return detail::repr_object(name(), this, detail::with_waiters(state, waiters_));
}

// ---- Barrier ----------------------------------------------------------------------------------

namespace detail {

class Inside;

struct BarrierState {
    enum class Phase { kFilling, kDraining, kResetting, kBroken };

    explicit BarrierState(int n) : parties(n) {}

    bool let_out() const noexcept { return phase != Phase::kFilling; }
    bool let_in() const noexcept { return phase != Phase::kDraining && phase != Phase::kResetting; }
    // One task leaves; the last one opens the barrier to who waits for that.
    void leave() noexcept {
        if (--count > 0) return;
        if (!let_in()) phase = Phase::kFilling;
        // Not locked when a loop closes and destroys the task.
        if (changed.locked()) changed.notify_all();
    }

    Condition changed;
    const int parties;
    Phase phase = Phase::kFilling;
    int count = 0;            // tasks inside
    Inside* first = nullptr;  // they, in the order they came
    Inside* last = nullptr;
};

using Phase = BarrierState::Phase;

// A task that counts as being inside, however it leaves. Under the lock.
class Inside {
  public:
    explicit Inside(BarrierState& s) noexcept : s_(s), previous_(s.last) {
        (previous_ ? previous_->following_ : s.first) = this;
        s.last = this;
        ++s.count;
    }
    Inside(const Inside&) = delete;
    Inside& operator=(const Inside&) = delete;
    ~Inside() {
        (previous_ ? previous_->following_ : s_.first) = following_;
        (following_ ? following_->previous_ : s_.last) = previous_;
        s_.leave();
    }

    // Numbers all who are inside, once no more come: some that came may have been cancelled.
    static void number(const BarrierState& s) noexcept {
        int n = 0;
        for (Inside* i = s.first; i; i = i->following_) i->index_ = n++;
    }
    int index() const noexcept { return index_; }

  private:
    BarrierState& s_;
    Inside* previous_;
    Inside* following_ = nullptr;
    int index_ = 0;
};

namespace {

// Safe because a Barrier holds nothing else.
std::shared_ptr<BarrierState> state_of(const std::shared_ptr<void>& held) {
    return std::static_pointer_cast<BarrierState>(held);
}

Coroutine<int> wait_at(std::shared_ptr<BarrierState> state) {
    BarrierState& s = *state;
    const auto guard = co_await s.changed.scoped();
    auto let_in = [&s] { return s.let_in(); };
    co_await s.changed.wait_for(let_in);
    if (s.phase == Phase::kBroken) throw BrokenBarrierError("Barrier aborted");
    const Inside inside(s);
    if (s.count == s.parties) {
        s.phase = Phase::kDraining;
        Inside::number(s);
        s.changed.notify_all();
        co_return inside.index();
    }
    auto let_out = [&s] { return s.let_out(); };
    co_await s.changed.wait_for(let_out);
    if (s.phase != Phase::kDraining) {
        throw BrokenBarrierError("Abort or reset of barrier");
    }
    co_return inside.index();
}

Coroutine<void> reset_barrier(std::shared_ptr<BarrierState> state) {
    const auto guard = co_await state->changed.scoped();
    state->phase = state->count > 0 ? Phase::kResetting : Phase::kFilling;
    state->changed.notify_all();
}

Coroutine<void> abort_barrier(std::shared_ptr<BarrierState> state) {
    const auto guard = co_await state->changed.scoped();
    state->phase = Phase::kBroken;
    state->changed.notify_all();
}

const char* phase_name(Phase phase) noexcept {
    switch (phase) {
        case Phase::kFilling:
            return "filling";
        case Phase::kDraining:
            return "draining";
        case Phase::kResetting:
            return "resetting";
        case Phase::kBroken:
            break;
    }
    return "broken";
}

}  // namespace
}  // namespace detail

Barrier::Barrier(Checked c) : state_(std::make_shared<detail::BarrierState>(c.parties)) {}
Barrier::~Barrier() = default;

void Barrier::throw_too_few() { throw ValueError("parties must be >= 1"); }
void Barrier::throw_too_many() {
    throw ValueError("parties must be <= " + std::to_string(std::numeric_limits<int>::max()));
}

// Safe because the constructor makes nothing else.
detail::BarrierState& Barrier::state() const noexcept {
    return *static_cast<detail::BarrierState*>(state_.get());
}

Coroutine<int> Barrier::wait() { return detail::wait_at(detail::state_of(state_)); }
Coroutine<void> Barrier::reset() { return detail::reset_barrier(detail::state_of(state_)); }
Coroutine<void> Barrier::abort() { return detail::abort_barrier(detail::state_of(state_)); }

int Barrier::parties() const noexcept { return state().parties; }
int Barrier::n_waiting() const noexcept { return state().let_out() ? 0 : state().count; }
bool Barrier::broken() const noexcept {
    return state().phase == detail::BarrierState::Phase::kBroken;
}

std::string Barrier::repr() const {
    std::string text = detail::phase_name(state().phase);
    if (!broken()) {
        text += ", waiters:" + std::to_string(n_waiting()) + '/' + std::to_string(parties());
    }
    return detail::repr_object("Barrier", this, text);
}

}  // namespace v1
}  // namespace asyncio
