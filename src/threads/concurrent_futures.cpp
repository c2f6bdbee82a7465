// ConcurrentFuture: its states, and how a thread waits for one.
//
// Who ends it has claimed it (kEnding, a compare-exchange that one thread wins), writes the result
// and then exchanges the state, which releases; whoever reads the result has seen that state by a
// load that acquires. No sleeper is missed:
//   1. a waiter sets kWaited, holding the mutex of its place, and looks at the state under it;
//   2. the exchange gives what was there: both change one variable, so that one comes first;
//   3. if 1 did, the one that ends it sees kWaited, and takes the mutex to notify: by then the
//      waiter sleeps, or has seen the end; if 2 did, the waiter sees the end at its look.
// No callback is missed in the same way: adding one and taking all are read-modify-writes of one
// variable, and a done future leaves a mark in it.
#include "asyncio/threads/concurrent_futures.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <sstream>

#include "asyncio/component/process.hpp"
#include "asyncio/detail/thread_state.hpp"
#include "asyncio/exceptions.hpp"
#include "asyncio/log.hpp"
#include "asyncio/traceback.hpp"
#include "base/traces.hpp"
#include "threads/time_after.hpp"

namespace asyncio {
inline namespace v1 {

namespace detail {

namespace {

// Where threads sleep until a future is done: few do at a time, so that a mutex in every future
// would be wasted. Never destroyed, since threads may outlive the objects of main's thread.
struct Place {
    std::mutex mutex;
    std::condition_variable ended;
};

constexpr std::size_t kPlaces = 16;

Place* places() {
    static Place* const all = new Place[kPlaces];
    return all;
}

Place& place_of(const void* future) {
    // Safe because the number only picks a place: it is not used as an address.
    return places()[reinterpret_cast<std::uintptr_t>(future) / 64 % kPlaces];
}

// Stands in callbacks_ for "done".
class DoneMark final : public ConcurrentCallback {
  public:
    void call(ConcurrentBase&) noexcept override {}
    void drop() noexcept override {}
};
DoneMark done_mark;

void lock_places() noexcept {
    for (std::size_t i = 0; i < kPlaces; ++i) places()[i].mutex.lock();
}

void unlock_places() noexcept {
    for (std::size_t i = 0; i < kPlaces; ++i) places()[i].mutex.unlock();
}

void leave_sleepers_to_parent() noexcept {
    // Safe because nobody waits in them here: they count threads of the parent.
    for (std::size_t i = 0; i < kPlaces; ++i) std::construct_at(&places()[i].ended);
}

constexpr ForkGuard kPlaceGuard{lock_places, unlock_places, leave_sleepers_to_parent};
[[maybe_unused]] const bool guarded = guard_at_fork(ForkRank::kFutures, kPlaceGuard);

}  // namespace

const char ConcurrentBase::kJob = 0;

ConcurrentBase::ConcurrentBase() noexcept : made_after_(forks()) {}

void ConcurrentBase::check_has_source() const {
    if (!source_ || made_after_ == forks() || done()) return;
    throw RuntimeError("the thread that this result comes from is the parent's");
}

ConcurrentBase::~ConcurrentBase() = default;

bool ConcurrentBase::retain_if_alive() noexcept {
    std::uint32_t refs = refs_.load(std::memory_order_relaxed);
    while (refs > 0) {
        if (refs_.compare_exchange_weak(refs, refs + 1, std::memory_order_relaxed)) return true;
    }
    return false;
}

// All handles are gone: nobody will end it, and nothing calls its callbacks.
void ConcurrentBase::abandon() noexcept {
    ConcurrentCallback* c = callbacks_.exchange(&done_mark);
    while (c && c != &done_mark) {
        ConcurrentCallback* next = c->next_;
        c->drop();
        c = next;
    }
    release_object();
}

// Changes the state from `from` to `to`, whether somebody waits or not.
bool ConcurrentBase::move_to(State from, State to) noexcept {
    std::uint32_t old = state_.load(std::memory_order_acquire);
    while ((old & kStateBits) == from) {
        if (state_.compare_exchange_weak(old, (old & kWaited) | to)) return true;
    }
    return false;
}

bool ConcurrentBase::cancel() noexcept {
    if (!move_to(kPending, kCancelled)) return cancelled();
    was_cancelled();
    finish(kCancelled);
    return true;
}

bool ConcurrentBase::set_running_or_notify_cancel() {
    if (move_to(kPending, kRunning)) return true;
    if (cancelled()) return false;
    throw RuntimeError("Future in unexpected state");
}

void ConcurrentBase::begin_end() {
    if (move_to(kRunning, kEnding) || move_to(kPending, kEnding)) return;
    throw InvalidStateError((cancelled() ? "CANCELLED: " : "FINISHED: ") + repr());
}

void ConcurrentBase::set_exception(std::exception_ptr error) {
    if (!error) throw TypeError("invalid exception object");
    begin_end();
    finish_error(std::move(error));
}

void ConcurrentBase::finish_error(std::exception_ptr error) noexcept {
    traced_ = frames_noted(error);
    error_ = std::move(error);
    finish(kFailed);
}

// By the one who has made it kEnding or kCancelled and holds a reference.
void ConcurrentBase::finish(State state) noexcept {
    if (state_.exchange(state) & kWaited) {
        Place& place = place_of(this);
        const std::lock_guard lock(place.mutex);
        place.ended.notify_all();
    }
    ConcurrentCallback* stack = callbacks_.exchange(&done_mark);
    ConcurrentCallback* in_order = nullptr;
    while (stack) {
        ConcurrentCallback* next = stack->next_;
        stack->next_ = in_order;
        in_order = stack;
        stack = next;
    }
    while (in_order) {
        ConcurrentCallback* next = in_order->next_;
        in_order->call(*this);
        in_order = next;
    }
}

void ConcurrentBase::add_callback(ConcurrentCallback* callback) noexcept {
    ConcurrentCallback* head = callbacks_.load(std::memory_order_acquire);
    do {
        if (head == &done_mark) return callback->call(*this);
        callback->next_ = head;
    } while (!callbacks_.compare_exchange_weak(head, callback));
}

bool ConcurrentBase::wait_until_done(std::int64_t timeout) const {
    if (done()) return true;
    if (timeout <= 0) return false;
    Place& place = place_of(this);
    std::unique_lock lock(place.mutex);
    state_.fetch_or(kWaited);
    const auto ended = [this] { return done(); };
    if (timeout != kNever) return place.ended.wait_until(lock, time_after(timeout), ended);
    place.ended.wait(lock, ended);
    return true;
}

void ConcurrentBase::wait(Delay timeout) const {
    check_has_source();
    if (timeout.is_none() && !done() && source_ && source_ == thread_state.loop) {
        throw RuntimeError(
            "this thread runs the loop that the result comes from: "
            "it would wait for ever");
    }
    if (!wait_until_done(timeout.count())) throw TimeoutError();
}

std::exception_ptr ConcurrentBase::exception(Delay timeout) const {
    wait(timeout);
    if (cancelled()) throw CancelledError();
    return state() == kFailed ? error_ : nullptr;
}

void ConcurrentBase::check(Delay timeout) const {
    std::exception_ptr e = exception(timeout);
    if (!e) return;
    // F-02: whoever takes it has its own way on from here.
    cut_trace(e, traced_);
    std::rethrow_exception(std::move(e));
}

std::string ConcurrentBase::repr() const {
    std::ostringstream text;
    text << "<Future at " << static_cast<const void*>(this) << " state=";
    switch (state()) {
        case kPending:
            text << "pending";
            break;
        case kRunning:
        case kEnding:
            text << "running";
            break;
        case kFinished:
            text << "finished returned " << value_repr();
            break;
        case kFailed:
            text << "finished raised " << type_name(error_);
            break;
        case kCancelled:
            text << "cancelled";
            break;
    }
    return text.str() + '>';
}

void report_callback_error(ConcurrentBase& future, const std::exception_ptr& error) {
    log::write(log::Level::ERROR,
               "exception calling callback for " + future.repr() + '\n' + format_exception(error));
}

void throw_empty_concurrent() {
    throw RuntimeError("this handle is empty: it refers to no object");
}

}  // namespace detail

}  // namespace v1
}  // namespace asyncio
