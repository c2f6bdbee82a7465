// What of the queues does not depend on their items. The order of wake-ups is CPython's
// (asyncio/queues.py): a Waiter stands for the future that a task there awaits; a wake-up takes it
// out of its line.
#include "asyncio/queues.hpp"

#include <cstdio>

namespace asyncio::inline v1::detail {

void throw_queue_empty() { throw QueueEmpty(); }
void throw_queue_full() { throw QueueFull(); }
void throw_queue_shut_down() { throw QueueShutDown(); }

// ---- the queue ------------------------------------------------------------------------------

void QueueBase::task_done() {
    if (unfinished_ == 0) throw ValueError("task_done() called too many times");
    if (--unfinished_ == 0) finished_.set();
}

void QueueBase::shut_down(bool immediate) noexcept {
    if (immediate && unfinished_ == 0) finished_.set();
    wake_all(getters_);
    wake_all(putters_);
}

void QueueBase::wake_all(WaiterList& line) noexcept {
    while (!line.empty()) wake_next(line);
}

std::string QueueBase::repr_with(const char* name, const std::string& items) const {
    char address[32];
    std::snprintf(address, sizeof address, "%p", static_cast<const void*>(this));
    std::string text =
        std::string("<") + name + " at " + address + " maxsize=" + std::to_string(maxsize());
    if (!empty()) text += " _queue=[" + items + ']';
    if (!getters_.empty()) text += " _getters[" + std::to_string(getters_.size()) + ']';
    if (!putters_.empty()) text += " _putters[" + std::to_string(putters_.size()) + ']';
    if (unfinished_ > 0) text += " tasks=" + std::to_string(unfinished_);
    if (shutdown_) text += " shutdown";
    return text + '>';
}

// ---- waiting for it -------------------------------------------------------------------------

namespace {

// What a task's stack says that it is in.
std::source_location get() noexcept { return std::source_location::current(); }
std::source_location put() noexcept { return std::source_location::current(); }

}  // namespace

QueueWait::QueueWait(QueueBase& queue, Kind kind) noexcept
    : FrameHead{&step, &ignore, Promise(kind == Kind::kGet ? get() : put())},
      queue_(&queue),
      kind_(kind) {}

bool QueueWait::begin(WaitSlot<QueueWait>& slot, QueueBase& queue, Kind kind,
                      PromiseBase& frame) noexcept {
    if (!queue.loop_.bind()) {
        slot.refuse();
        return false;
    }
    QueueWait& wait = slot.wait(queue, kind);
    wait.promise.set_parent(frame);
    wait.promise.link &= ~PromiseBase::kNested;  // nobody waits for it on the machine stack
    wait.join_line();
    return true;
}

void QueueWait::join_line() noexcept {
    line().push_back(waiter_);
    waiter_.suspend(promise);
}

WaiterList& QueueWait::line() const noexcept {
    return kind_ == Kind::kGet ? queue_->getters_ : queue_->putters_;
}

// Safe even if the queue is gone, because then only addresses are compared: its end took the waiter
// out of the list.
bool QueueWait::woken() const noexcept { return queue_->woken_.contains(waiter_); }

bool QueueWait::may_go() const noexcept {
    return kind_ == Kind::kGet ? !queue_->empty() : !queue_->full();
}

// The task's step, in place of the frame that waits.
void QueueWait::step(void* frame) noexcept {
    auto& w = *static_cast<QueueWait*>(static_cast<FrameHead*>(frame));
    const bool cancelled = (w.waiter_.task()->flags_ & FutureBase::kMustCancel) != 0;
    if (cancelled || !w.woken() || w.may_go() || w.queue_->shutdown_) {
        thread_state.next = w.promise.parent();
        return;
    }
    // It was overtaken.
    w.queue_->woken_.remove(w.waiter_);
    w.waiter_.reset();
    w.join_line();
}

std::exception_ptr QueueWait::finish() noexcept {
    std::exception_ptr error = waiter_.resume();
    if (waiter_.cancelled()) {
        if (line().contains(waiter_)) line().remove(waiter_);
        return error;
    }
    if (!woken()) return error ? error : destroyed_meanwhile("Queue");
    queue_->woken_.remove(waiter_);
    // S-54: woken, but cancelled before it ran: the next one can have what is there.
    if (error && may_go()) queue_->wake_next(line());
    return error;
}

}  // namespace asyncio::inline v1::detail
