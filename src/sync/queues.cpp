// What of the queues does not depend on their items. The order of wake-ups is CPython's
// (asyncio/queues.py): a Waiter stands for the future that a task there awaits; a wake-up takes it
// out of its line.
#include "asyncio/queues.hpp"

#include <cstdio>

namespace asyncio {
inline namespace v1 {
namespace detail {

void throw_queue_empty() { throw QueueEmpty(); }
void throw_queue_full() { throw QueueFull(); }
void throw_queue_shut_down() { throw QueueShutDown(); }

// ---- the queue ------------------------------------------------------------------------------

void QueueBase::task_done() {
    check_thread();
    if (unfinished_ == 0) throw ValueError("task_done() called too many times");
    if (--unfinished_ == 0) finished_.raise_flag();
}

void QueueBase::check_threads() const {
    loop_.check_thread();
    finished_.loop_.check_thread();
}

void QueueBase::shut_down(bool immediate) noexcept {
    if (immediate && unfinished_ == 0) finished_.raise_flag();
    while (getters_.waiting()) getters_.wake_next();
    while (putters_.waiting()) putters_.wake_next();
}

std::string QueueBase::repr_with(const char* name, const std::string& items) const {
    char address[32];
    std::snprintf(address, sizeof address, "%p", static_cast<const void*>(this));
    std::string text =
        std::string("<") + name + " at " + address + " maxsize=" + std::to_string(maxsize());
    if (!empty()) text += " _queue=[" + items + ']';
    if (getters_.waiting()) text += " _getters[" + std::to_string(getters_.count_waiting()) + ']';
    if (putters_.waiting()) text += " _putters[" + std::to_string(putters_.count_waiting()) + ']';
    if (unfinished_ > 0) text += " tasks=" + std::to_string(unfinished_);
    if (shutdown_) text += " shutdown";
    return text + '>';
}

// ---- waiting for it -------------------------------------------------------------------------

void QueueLine::overtake_woken() noexcept {
    // Safe because only QueueWaits stand in a queue's lines.
    WaitingLine::overtake_woken([](Waiter& w) { static_cast<QueueWait&>(w).overtake(); });
}

namespace {

// What a task's stack says that it is in.
std::source_location get() noexcept { return std::source_location::current(); }
std::source_location put() noexcept { return std::source_location::current(); }

void ignore(void*) noexcept {}

}  // namespace

bool QueueWait::begin(WaitSlot<QueueWait>& slot, QueueBase& queue, WaitKind kind,
                      PromiseBase& frame, ThreadState& t) noexcept {
    if (!queue.loop_.bind(t.loop)) {
        slot.refuse();
        return false;
    }
    QueueWait& wait = slot.wait(kind);
    (kind == WaitKind::kQueueGet ? queue.getters_ : queue.putters_).push_back(wait);
    wait.suspend(frame, *t.task);
    return true;
}

// Its task has been woken, and is in the ready queue.
void QueueWait::overtake() noexcept {
    if (overtaken_ || cancelled()) return;
    overtaken_ = true;
    const auto place = kind() == WaitKind::kQueueGet ? get() : put();
    std::construct_at(&frame_, Frame{&look_again, &ignore, Frame::Promise(place), this});
    frame_.promise.set_parent(*task()->leaf_);
    frame_.promise.link &= ~PromiseBase::kNested;  // nobody waits for it on the machine stack
    task()->leaf_ = &frame_.promise;
}

// The step of a task that was overtaken.
void QueueWait::look_again(void* frame) noexcept {
    QueueWait& w = *static_cast<Frame*>(frame)->wait;
    PromiseBase& parent = *w.frame_.promise.parent();
    w.overtaken_ = false;
    const bool cancelled = (w.task()->flags_ & FutureBase::kMustCancel) != 0;
    QueueLine* const line = w.queue_line();
    if (cancelled || !line || line->queue().shutdown_ || line->queue().may_go(w.kind())) {
        thread_state.next = &parent;
        return;
    }
    line->remove(w);
    w.reset();
    line->push_back(w);
    w.suspend(parent);
}

std::exception_ptr QueueWait::error() noexcept {
    std::exception_ptr error = resume();
    QueueLine* const line = queue_line();
    if (!line) return error ? error : destroyed_meanwhile("Queue");
    // S-54: woken, but cancelled before it ran: the next one can have what is there.
    if (!cancelled() && line->queue().may_go(kind())) line->wake_next();
    line->remove(*this);
    return error;
}

}  // namespace detail
}  // namespace v1
}  // namespace asyncio
